"""Self-checking questions about unlabelled videos: decoding, frame sampling, the pretext tasks, recipes.

`pretext.folder.scan` finds the videos, `pretext.dataset.make_recipe` makes a recipe and
`pretext.dataset.render` turns it into a question with its clips.
"""

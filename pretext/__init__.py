"""Self-checking questions about unlabelled videos: decoding, frame sampling, the pretext tasks, recipes.

`pretext.video.inspect_video.inspect` looks at a video, `pretext.stream.make_recipe` makes a recipe and
`pretext.stream.render` turns it into a question with its clips.
"""

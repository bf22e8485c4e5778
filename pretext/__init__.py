"""Self-checking questions about unlabelled videos: decoding, frame sampling, recipes and the pretext tasks.

From the bottom up, each importing only those before it:

- `recipe`: the data types Recipe, Clip and Sample
- `randomness`: the one place where random generators are made
- `video/`: video files to frames
- `tasks/`: the pretext tasks, which make recipes and render them
- `images`: samples whose frames others have rendered to image files
- `stream`: `make_recipe` makes any recipe of an endless stream from its number, `render` turns it into a sample
- `source`: where a run takes its recipes from
- `scenes`: the demo's drawn videos

Stored datasets are in `dataset/`, and the scoring rules in `reward/`.
"""

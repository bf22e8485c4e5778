"""Stored datasets of recipes: building, viewing, measuring, importing and exporting them.

From the bottom up, each importing only those before it:

- `store`: the files of a dataset, read and written
- `sandbox`, `sandbox_child`: inspecting a video in a child process, which may hang or die
- `scan`: inspecting a folder on one machine, for runs that train on a folder
- `source`: a dataset as the source of a run's recipes
- `build`: building a dataset with Ray Data, on all nodes
- `stats/`: the report of `videossr data stats`, and the rewards of answers given without watching
- `view/`: contact sheets and thumbnails of samples
- `interchange/`: import from and export to other trainers' formats

Recipes are made in `pretext/`; the commands `videossr data ...` are in `cluster/cli/data.py`.
"""

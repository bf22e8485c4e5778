"""The statistics of a dataset, and the rewards that can be earned without watching.

- `baselines`: the rewards of constant and random answers
- `jigsaw_shortcut`: the reward in the jigsaw of comparing the ends of clips
- `report`: the report with all numbers; `text` prints it, `plot` draws it

`videossr data stats` shows the report. Training reports (`cluster/training/report.py`) and VIUBench
(`evaluation/viubench.py`) use the baselines as well.
"""

"""The statistics of a dataset, and what can be earned without watching.

- `baselines`: what constant and random answers earn
- `jigsaw_shortcut`: what comparing the ends of clips earns in the jigsaw
- `stats`: the report with all numbers; `text` prints it, `plot` draws it

`videossr data stats` shows the report. Training reports (`cluster/training/report.py`) and VIUBench
(`evaluation/viubench.py`) use the baselines as well.
"""

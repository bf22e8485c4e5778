"""A training run in the driver, from a checked configuration to its report.

- `train`: the recipe: check, prepare, start, run, drain, report.
- `prepare`: check the reward function, the model and the videos; draw scenes, make a tiny model, try one
  prompt of each task, warm the model up.
- `processes`: start the actors and the learner group, each with its own sections of the configuration.
- `placement`: which processes a run has, what each asks Ray for, and how much memory it needs.
- `ray_session`: join or start a Ray cluster, and refuse one that is too small.
- `progress_display`: the progress bar, or lines for a log file.
- `report`: report.json, report.png and the table at the end.
- `dry_run`: show configuration, placement and memory, and start nothing.

Related parts: `cluster/runs/` claims the run's folder and keeps its row in the run store; `actors/controller/` decides
what happens in the run; `learner/loop.py` is what Ray Train runs.
"""

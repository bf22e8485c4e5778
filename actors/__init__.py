"""The Ray actors of a run, and the data they exchange.

- `controller/`: decides what happens next: pushes, steps, evaluations, checkpoints.
- `workers/`: the processes that do the work (prompts, rollouts, rewards), and the pools that call them.
- `record/`: writes the run's record: files, the run store, metrics.
- `messages`: the data that actors exchange.
- `config`: the sections `train`, `evaluation` and `reward` of the configuration.
- `process_info`: where a process runs.

`cluster/training/processes.py` starts the actors. The learner is not an actor of ours but a Ray Train group
(`learner/loop.py`), which talks to the controller through `workers/learner_port.py`.
"""

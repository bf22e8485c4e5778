"""The controller: one actor that decides what happens next in a run, and in which order.

- `actor`: the controller as a Ray actor.
- `controller`: sessions, steps, evaluations and checkpoints. `Controller._step` is one RL step.
- `batches`: the groups of a step; `sampler`: from prompts to scored groups; `held_out`: evaluation.
- `command_queue`: the commands for the learner, and its reports.
- `weight_sync`: when weights are pushed, and to whom. `weight_sync/__init__.py` names the other parts.
- `step_metrics`: the metrics of a step's groups; `worker_monitor`: the state of all workers, for people.

The commands are in `learner/commands.py`; the pools of workers are in `actors/workers/`.
"""

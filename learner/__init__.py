"""The learner: from scored groups to new weights. Every module runs on every rank of the Ray Train group.

From bottom to top, so that each imports only from those named before it:

- `config.py`: sections `grpo`, `learner` and `warmup` of the configuration.
- `commands.py`: what the controller tells the learner to do, and the groups to train on.
- `batch.py`: groups planned over ranks and packed into micro-batches.
- `algorithm/`: advantages, loss, parity check, learning rate, metrics: pure functions.
- `modeling/`: the model: packed attention, logprobs of completions, adapters, DeepSpeed's configuration, tiny models.
- `policy.py`: one update under DeepSpeed (`DeepSpeedPolicy`).
- `checkpoint.py`: saving and restoring through Ray Train.
- `warmup.py`: the supervised start of a random model, before any Ray process exists.
- `loop.py`: what a rank runs: commands in, reports out.

`weight_sync/` sends the weights to the engines. The controller's side of the commands is in `actors/`.
"""

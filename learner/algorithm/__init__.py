"""The algorithm as pure functions. Each names its paper and has a test.

- `advantages.py`: from rewards to advantages, for every estimator.
- `loss.py`: logprobs of sampled tokens, ratios, clipping, KL, importance weights, token weights, the loss.
- `parity.py`: the largest difference between the engine's logprobs and the learner's, and when it stops the run.
- `schedule.py`: the learning rate over a run.
- `metrics.py`: the metrics of an update.

`learner/policy.py` calls them. `tests/unit/learner/algorithm/` compares them with the papers and with other trainers.
"""

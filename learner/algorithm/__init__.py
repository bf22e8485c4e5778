"""The algorithm as pure functions, each with its paper and a test.

- `advantages.py`: from rewards to advantages, for every estimator.
- `loss.py`: logprobs of sampled tokens, ratios, clipping, KL, importance weights, token weights, the loss.
- `parity.py`: the largest difference between the engine's logprobs and the learner's, and when it stops the run.
- `schedule.py`: the learning rate over a run.
- `metrics.py`: the metrics of an update.

`learner/policy.py` puts them together. `tests/unit/learner/algorithm/` holds them against the papers and trainers.
"""

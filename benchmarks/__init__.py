"""Benchmarks: each module measures one thing, prints a table and stores its figures in `results/`.

- `update`: forward and backward of one group. `push`: a weight push. `rollout`: rollouts through actors.
- `overhead`: what a step costs besides rollout and update. `overlap`: rollout and update at the same time.
- `against_trl`: a learner step of ours (`ours_step`) and of TRL (`trl_step`, `trl/`), on the same `job`.
- `data`: making pretext data, against `published`. `damaged`: damaged videos.
- `store`, `dashboard`: queries and HTTP requests of the page.
- `table`: prints and stores figures. `house`: sizes and imports of the source tree.

README.md explains the figures.
"""

"""What the driver and the commands know about a run: its folder, its row in the run store, what it ran with.

- `folder`: where runs are (`runs/NAME`), which run a name means, and the bucket for checkpoints and frames.
- `claim`: take a run's folder for one process, and refuse what must not change on resume.
- `stored_run`: the driver's handle on the run's row in the run store: launch, state, end, and requests of people.
- `lookup`: open the run store for a command and find a run in it.
- `environment`: commit, package versions and machine, for the run's record.

Related parts: `actors/record/` writes what happens in a run (metrics, rollouts, events); `store/` is the run store;
`cluster/checkpoints/` finds a run's checkpoints; `cluster/jobs/` starts and stops runs.
"""

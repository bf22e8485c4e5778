"""Starting and stopping runs as other processes of this machine, or as jobs of a Ray cluster.

- `launchers`: start, resume and end runs for the dashboard, and record the end of runs that died before they could.
- `submit`: check a configuration for another cluster, and send a run there as a job.
- `checkout`: pack the files of this checkout for a job.
- `ray_jobs`: start, follow, list and stop the jobs of a Ray cluster, and translate its errors.
- `stop`: end a run's processes at once.
- `dashboard_process`: find the dashboard that serves a folder of runs, or start one for as long as a run lasts.

Related parts: `dashboard/launching/` has the interface that the launchers implement; in `cluster/runs/stored_run.py` a
launched run takes over its row in the run store; `cluster/cli/` has the commands.
"""

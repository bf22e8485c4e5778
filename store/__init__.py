"""The run store: the database of all runs, SQLite or PostgreSQL, which the dashboard and commands read.

Bottom to top; each part imports only from those above it in this list:

- `records`: the records that are written and read.
- `files`: files under a folder or in a bucket (pictures of a group's frames, checkpoints).
- `schema/`: tables, and migrations from older versions.
- `database`: opening a store; transactions; errors.
- `writing/`: `RunWriter`, through which a run writes without ever waiting for the database.
- `reading/`: `RunReader`, through which everything else reads.
- `requests`: requests to a run (stop, write a checkpoint) and their outcomes.
- `runs`: creates, renames, queues and ends a run's row.

Writers of the store: `actors/record/store_sink.py` (a run's record), `cluster/runs/stored_run.py` (its row). Readers:
`dashboard/` and `videossr runs`. Steps count from 0, as the learner's do. Times are seconds since the epoch, UTC.
"""

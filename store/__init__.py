"""The run store: what runs record, in SQLite or PostgreSQL, for pages and commands that show runs.

Bottom to top; each part imports only from those above it in this list:

- `records`: what goes into the store and comes out of it.
- `files`: files under a folder or in a bucket (pictures of a group's frames, checkpoints).
- `schema/`: tables, and migrations from older versions.
- `database`: opening a store; transactions; errors in plain words.
- `writing/`: `RunWriter`, through which a run writes without ever waiting for the database.
- `reading/`: `RunReader`, through which everybody else reads.
- `requests`: what people ask of a run (stop, write a checkpoint), and what came of it.
- `runs`: a run's row: created, renamed, queued, ended.

Writers of the store: `actors/record/store_sink.py` (a run's record), `cluster/runs/stored_run.py` (its row). Readers:
`dashboard/` and `videossr runs`. Steps count from 0, as the learner's do. Times are seconds since the epoch, UTC.
"""

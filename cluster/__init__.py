"""The `videossr` command and everything it starts.

    terminal.py   printing, exit statuses, progress bars
    logs.py       where log lines go
    config/       settings of a run: schema, reading, refusals
    runs/         run folders, and the driver's part of the run store
    checkpoints/  finding and exporting checkpoints
    training/     one training run
    evaluation/   one evaluation on a bench
    jobs/         runs as Ray jobs and as processes of the dashboard
    cli/          the command line

Each room imports only those above it.
"""

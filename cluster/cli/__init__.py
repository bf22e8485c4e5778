"""The command line: one file for each group of commands, which parses options and prints.

    main.py       the parser, exit statuses, the environment of every command
    train.py, submit.py, runs.py, export.py, data.py, bench.py (`bench` and `eval`), dashboard.py
    options.py    options that several commands share
    runs_text.py  `runs list` and `runs show` as text

A command imports what it needs when it runs, so that --help and refusals are quick;
`tests/unit/cluster/cli/test_quick.py`
holds which packages must not be loaded.
"""

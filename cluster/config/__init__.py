"""The configuration of a run.

    schema.py  all settings, with defaults, descriptions and what may be set over HTTP
    load.py    reading YAML and overrides
    rules.py   rules between settings
    errors.py  what is wrong with a setting or an option, as data and as text

Each package that reads settings owns its section: actors/config.py, learner/config.py, rollout/config.py and
pretext/tasks. Example configurations stand in configs/; docs/training.md explains the settings.
"""

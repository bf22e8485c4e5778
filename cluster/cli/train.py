"""`videossr train`."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.cli.options import add_dashboard
from cluster.config.load import load_config

_STOPPED = 130  # what a shell reports for Ctrl-C


def add_command(commands: Any) -> None:
    """Add it to the subparsers of `videossr`. What is heavy is imported when it runs."""
    train = commands.add_parser("train", help="train a model as a configuration says")
    train.add_argument(
        "config", type=Path, metavar="CONFIG", help="a YAML file, for example configs/demo.yaml"
    )
    train.add_argument(
        "overrides", nargs="*", metavar="key=value", help="settings to change, dotted: train.steps=10"
    )
    train.add_argument(
        "--dry-run", action="store_true", help="show the configuration, placement and memory; start nothing"
    )
    train.add_argument("--resume", metavar="RUN", help="go on with this run from its last checkpoint")
    add_dashboard(train)
    train.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> int:
    return train_here(
        options.config,
        options.overrides,
        resume=options.resume,
        dashboard=options.dashboard,
        dry=options.dry_run,
    )


def train_here(
    file: Path, overrides: Sequence[str], *, resume: str | None, dashboard: bool, dry: bool = False
) -> int:
    """Train in this process; the exit status.

    Args:
        resume: the name or folder of the run that goes on.
        dashboard: show the run on a page, if this is no Ray job.
        dry: only show what would be done.

    Raises:
        ConfigError: something that the user can mend, found before anything was started.
    """
    named = list(overrides)
    if resume is not None:
        run = Path(resume)
        named += [f"name={run.name}", *([f"runs_dir={run.parent}"] if run.parent != Path() else [])]
    config = load_config(file, named)
    if dry:
        from cluster.training.dry_run import dry_run

        return dry_run(config)
    from cluster.jobs.dashboard_process import dashboard_beside
    from cluster.runs.folder import runs_folder
    from cluster.training.train import RunFailed, train

    how_to_go_on = _how_to_go_on(file, overrides, resume, config.name)
    try:
        with dashboard_beside(runs_folder(config), _say, enabled=dashboard):
            train(config, resume=resume is not None, say=_say)
    except RunFailed as error:
        print(f"The run failed: {error}\n{how_to_go_on}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nStopped. {how_to_go_on}", file=sys.stderr)
        return _STOPPED
    return 0


def _how_to_go_on(file: Path, overrides: Sequence[str], resume: str | None, name: str) -> str:
    words = ["videossr", "train", str(file), *overrides, "--resume", resume or name]
    return f"Go on from the last checkpoint with:\n  {shlex.join(words)}"


def _say(text: str) -> None:
    print(text, flush=True)

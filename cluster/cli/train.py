"""`videossr train`."""

import argparse
import logging
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.cli.options import add_command_parser, add_dashboard
from cluster.config.errors import ConfigError
from cluster.logs import DriverLog
from cluster.terminal import DONE, FAILED, STOPPED, say, say_error
from vocabulary.text import first_line

if TYPE_CHECKING:
    from cluster.config.schema import Config

logger = logging.getLogger(__name__)


def add_command(commands: Any) -> None:
    """Add `train` to the subparsers of `videossr`."""
    train = add_command_parser(commands, "train", "train a model as a configuration file says")
    train.add_argument(
        "config", type=Path, metavar="CONFIG", help="a YAML file, for example configs/demo.yaml"
    )
    train.add_argument(
        "overrides", nargs="*", metavar="key=value", help="settings to change, such as train.steps=10"
    )
    train.add_argument(
        "--dry-run",
        action="store_true",
        help="print the configuration, the placement and the expected memory; start nothing",
    )
    train.add_argument(
        "--resume", metavar="RUN", help="name or folder of a run to resume from its last checkpoint"
    )
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
    """Train in this process. Return the exit status.

    Args:
        resume: name or folder of the run to resume.
        dashboard: serve the dashboard during the run, unless this is a Ray job.
        dry: print the plan and start nothing.

    Raises:
        ConfigError: the configuration is refused; nothing was started.
    """
    from cluster.config.load import load_config

    named = list(overrides)
    if resume is not None:
        run = Path(resume)
        named += [f"name={run.name}", *([f"runs_dir={run.parent}"] if run.parent != Path() else [])]
    config = load_config(file, named)
    if dry:
        from cluster.training.dry_run import dry_run

        return dry_run(config)
    return _run(config, _how_to_resume(file, overrides, resume, config.name), resume is not None, dashboard)


def _run(config: "Config", how_to_resume: str, resume: bool, dashboard: bool) -> int:
    """Train with the output of libraries in the run's log file. Return the exit status."""
    log = DriverLog()
    try:
        with log:
            from cluster.jobs.dashboard_process import dashboard_during_run
            from cluster.runs.environment import version_text
            from cluster.runs.folder import runs_folder
            from cluster.training.train import train

            logger.info("%s: %s run %s", version_text(), "resuming" if resume else "starting", config.name)
            with dashboard_during_run(runs_folder(config), say, enabled=dashboard):
                train(config, resume=resume, say=say, keep_log_in=log.keep_in)
    except ConfigError:
        raise
    except KeyboardInterrupt:
        say_error(f"\nStopped. {how_to_resume}")
        return STOPPED
    except Exception as error:
        if log.path is None:  # there is no file for the traceback
            raise
        say_error(f"The run failed: {_reason(error)}\nDetails: {log.path}\n{how_to_resume}")
        return FAILED
    return DONE


def _reason(error: Exception) -> str:
    """Return why the run failed, in one line."""
    from cluster.training.train import RunFailed

    return str(error) if isinstance(error, RunFailed) else f"{type(error).__name__}: {first_line(error)}"


def _how_to_resume(file: Path, overrides: Sequence[str], resume: str | None, name: str) -> str:
    """Return the command that resumes the run, as a sentence."""
    words = ["videossr", "train", str(file), *overrides, "--resume", resume or name]
    return f"Resume from the last checkpoint with:\n  {shlex.join(words)}"

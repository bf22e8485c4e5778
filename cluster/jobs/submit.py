"""`videossr submit`: a run on a Ray that is somewhere else, as a job of it."""

import argparse
import getpass
import os
import shlex
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.cli.options import add_address, add_follow
from cluster.config.load import ConfigError, build_config, read_text, settings_of, validated
from cluster.config.schema import Config
from cluster.jobs.checkout import packed
from cluster.runs.environment import commit_variable
from cluster.runs.record import LAUNCH
from store.runs import Launch

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

Say = Callable[[str], None]

_STOPPED = 130  # what a shell reports for Ctrl-C


def add_command(commands: Any) -> None:
    """Add it to the subparsers of `videossr`. What is heavy is imported when it runs."""
    submit = commands.add_parser("submit", help="train on a Ray that is somewhere else, as a job of it")
    submit.add_argument("config", type=Path, metavar="CONFIG", help="a YAML file")
    submit.add_argument("overrides", nargs="*", metavar="key=value", help="settings to change, dotted")
    add_address(submit, required=True)
    submit.add_argument("--name", metavar="NAME", help="the run's name, in place of the configuration's")
    add_follow(submit)
    submit.set_defaults(run=_submit)


def _submit(options: argparse.Namespace) -> int:
    overrides = [*options.overrides, *([f"name={options.name}"] if options.name is not None else [])]
    text = read_text(options.config)
    config = checked_for_elsewhere(settings_of(text, str(options.config), overrides), _say)
    return run_job(
        text, config.name, overrides, file=options.config, address=options.address, follow=options.follow
    )


def run_job(
    text: str,
    name: str,
    overrides: Sequence[str] = (),
    *,
    address: str,
    follow: bool,
    file: Path | None = None,
    resume: str | None = None,
) -> int:
    """Send run `name` to the Ray at `address`, and follow it if wanted; the exit status. Raises ConfigError."""
    from cluster.jobs.ray_jobs import JobError, connect, follow_job, new_job_id, sent_environment

    client, job_id = connect(address), new_job_id(name)
    try:
        check_name(client, name)
        send(client, text, name, overrides, job_id=job_id, file=file, resume=resume, by=who(), say=_say)
        _say(f"Job {job_id}: run {name!r}. Look at it here: {address.rstrip('/')}/#/jobs/{job_id}")
        if sent := sent_environment():
            _say(f"Sent along from the environment: {', '.join(sorted(sent))}.")
        if not follow:
            _say(_later(address, job_id))
            return 0
        try:
            return follow_job(client, job_id, _write)
        except KeyboardInterrupt:
            _say(f"\nNo longer followed; the job goes on.\n{_later(address, job_id)}")
            return _STOPPED
    except JobError as error:
        print(f"{address}: {error}", file=sys.stderr)
        return 1


def check_name(client: "JobSubmissionClient", name: str) -> None:
    """Raises ConfigError where a run of that name is going on, and JobError."""
    from cluster.jobs.ray_jobs import runs_going_on

    if other := runs_going_on(client).get(name):
        raise ConfigError(
            f"name={name!r}: a run of that name is going on there (job {other}). Stop it, or choose another name=..."
        )


def send(
    client: "JobSubmissionClient",
    text: str,
    name: str,
    overrides: Sequence[str] = (),
    *,
    job_id: str,
    by: str,
    say: Say,
    file: Path | None = None,
    resume: str | None = None,
    launch: Launch | None = None,
) -> None:
    """Pack and start a job.

    Args:
        text: the configuration, checked.
        file: where it was read, if it was.
        resume: the folder of the run that goes on, as the cluster sees it.
        launch: that the job is of, if a run of the store is queued for it.

    Raises:
        ConfigError: the checkout cannot be sent.
        JobError: Ray refused the job.
    """
    from cluster.jobs.ray_jobs import sent_environment, start_job

    with packed(text, name, file=file) as (folder, config):
        files = sum(path.is_file() for path in folder.rglob("*"))
        if files > 1:
            say(f"Sending {files} files of this checkout ...")
        else:
            say("There is no checkout here to send, so the cluster's own videossr trains.")
        going_on = ["--resume", resume] if resume is not None else []
        words = ["videossr", "train", config, *overrides, *going_on, "--no-dashboard"]
        environment = sent_environment() | commit_variable()
        environment |= {LAUNCH: str(launch)} if launch is not None else {}
        start_job(client, job_id, words, name=name, folder=folder, environment=environment, by=by)


def checked_for_elsewhere(settings: dict[str, Any], say: Say) -> Config:
    """As build_config, but a dataset that cannot be read here is left for the cluster to look at."""
    try:
        return build_config(settings)
    except ConfigError as error:
        config = validated(Config, settings)
        if config.data.dataset is None or not str(error).startswith("data.dataset="):
            raise
        say(f"Not checked, as only the cluster may have it: {error}")
        return config


def who() -> str:
    """Whose process this is, for the log of what was asked of runs."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number without a name
        user = f"user {os.getuid()}"
    return f"{user} at {socket.gethostname()}"


def _later(address: str, job_id: str) -> str:
    words = f"--address {shlex.quote(address)} {job_id}"
    return f"Follow it:  ray job logs --follow {words}\nStop it:    ray job stop {words}"


def _say(text: str) -> None:
    print(text, flush=True)


def _write(text: str) -> None:
    print(text, end="", flush=True)

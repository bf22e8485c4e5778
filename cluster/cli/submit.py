"""`videossr submit`."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.cli.options import add_address, add_command_parser, add_follow
from cluster.terminal import DONE, FAILED, STOPPED, say, say_error, write


def add_command(commands: Any) -> None:
    """Add `submit` to the subparsers of `videossr`."""
    submit = add_command_parser(commands, "submit", "train on another Ray cluster, as a Ray job")
    submit.add_argument(
        "config", type=Path, metavar="CONFIG", help="a YAML file, for example configs/demo.yaml"
    )
    submit.add_argument(
        "overrides", nargs="*", metavar="key=value", help="settings to change, such as train.steps=10"
    )
    add_address(submit, required=True)
    submit.add_argument("--name", metavar="NAME", help="name of the run; replaces the configuration's")
    add_follow(submit)
    submit.set_defaults(run=_submit)


def _submit(options: argparse.Namespace) -> int:
    from cluster.config.load import read_text, settings_of
    from cluster.jobs.submit import build_config_for_cluster

    overrides = [*options.overrides, *([f"name={options.name}"] if options.name is not None else [])]
    text = read_text(options.config)
    config = build_config_for_cluster(settings_of(text, str(options.config), overrides), say)
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
    """Send run `name` to a Ray cluster and print what its job prints. Return the exit status.

    Args:
        text: the configuration, checked.
        address: URL of the Ray cluster's dashboard.
        follow: print the job's output until it ends; otherwise return after starting it.
        file: file that the configuration was read from, or None.
        resume: folder of the run to resume, as a path on the cluster.

    Raises:
        ConfigError: the cluster cannot be reached, or the run cannot be sent.
    """
    from cluster.jobs.ray_jobs import JobError, connect, follow_job, forwarded_environment, new_job_id
    from cluster.jobs.submit import check_name, current_user, send_job

    client, job_id = connect(address), new_job_id(name)
    try:
        check_name(client, name)
        send_job(
            client, text, name, overrides, job_id=job_id, file=file, resume=resume, by=current_user(), say=say
        )
        say(f"Job {job_id}: run {name!r}. Look at it here: {address.rstrip('/')}/#/jobs/{job_id}")
        if sent := forwarded_environment():
            say(f"Sent along from the environment: {', '.join(sorted(sent))}.")
        if not follow:
            say(_later(address, job_id))
            return DONE
        try:
            return follow_job(client, job_id, write)
        except KeyboardInterrupt:
            say(f"\nNo longer followed; the job continues.\n{_later(address, job_id)}")
            return STOPPED
    except JobError as error:
        say_error(f"{address}: {error}")
        return FAILED


def _later(address: str, job_id: str) -> str:
    """Return the commands by which the user follows or stops the job later."""
    words = f"--address {shlex.quote(address)} {job_id}"
    return f"Follow it:  ray job logs --follow {words}\nStop it:    ray job stop {words}"

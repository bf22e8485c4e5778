"""Sending a run to another Ray cluster as a Ray job."""

import getpass
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.config.errors import ConfigError
from cluster.config.load import build_config, validated
from cluster.config.schema import Config
from cluster.jobs.checkout import pack_checkout
from cluster.runs.claim import name_taken
from cluster.runs.environment import commit_variable
from cluster.runs.stored_run import LAUNCH_ENV
from cluster.terminal import Say
from store.runs import Launch

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient


def check_name(client: "JobSubmissionClient", name: str) -> None:
    """Refuse the name of a run that is running on the cluster.

    Raises:
        ConfigError: a run of that name is running there.
        JobError: the cluster does not list its jobs.
    """
    from cluster.jobs.ray_jobs import running_jobs

    if other := running_jobs(client).get(name):
        raise name_taken(name, f" there (job {other})")


def send_job(
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
    """Pack the checkout and start `videossr train` as a job.

    Args:
        text: the configuration, checked.
        file: file that the configuration was read from, or None.
        resume: folder of the run to resume, as a path on the cluster.
        launch: launch of the queued run that the job is for, or None.

    Raises:
        ConfigError: the checkout cannot be sent.
        JobError: Ray refused the job.
    """
    from cluster.jobs.ray_jobs import forwarded_environment, start_job

    with pack_checkout(text, name, file=file) as (folder, config):
        num_files = sum(path.is_file() for path in folder.rglob("*"))
        if num_files > 1:
            say(f"Sending {num_files} files of this checkout ...")
        else:
            say("There is no checkout here to send, so the cluster uses its own videossr.")
        options = ["--resume", resume] if resume is not None else []
        words = ["videossr", "train", config, *overrides, *options, "--no-dashboard"]
        environment = forwarded_environment() | commit_variable()
        environment |= {LAUNCH_ENV: str(launch)} if launch is not None else {}
        start_job(client, job_id, words, name=name, folder=folder, environment=environment, by=by)


def build_config_for_cluster(settings: dict[str, Any], say: Say) -> Config:
    """Return the checked configuration. A dataset that cannot be read here is left for the cluster to check.

    Raises:
        ConfigError: as `build_config`, except for `data.dataset`.
    """
    try:
        return build_config(settings)
    except ConfigError as error:
        config = validated(Config, settings)
        if config.data.dataset is None or any(problem.name != "data.dataset" for problem in error.problems):
            raise
        say(f"Not checked here, because the cluster may have it: {error}")
        return config


def current_user() -> str:
    """Return "USER at HOST" of this process, for the log of requests."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # in a container, the user's number may have no name
        user = f"user {os.getuid()}"
    return f"{user} at {socket.gethostname()}"

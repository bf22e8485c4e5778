"""Ending a run's processes at once, if they can be reached from here."""

import os
import signal
import socket
from pathlib import Path

from cluster.config.errors import ConfigError
from cluster.runs.claim import is_running
from cluster.runs.environment import process_start
from store.records import RunDetail


def stop_now(run: RunDetail, address: str | None) -> str:
    """End the run's processes without a checkpoint. Return a sentence that says what was done.

    Args:
        address: Ray dashboard address of the cluster that runs the job, for a run that is a job.

    Raises:
        ConfigError: the processes cannot be reached from here, or have ended.
    """
    if run.job_id is not None:
        return _stop_job(run, run.job_id, address)
    if run.started_at is None or run.state == "queued":
        raise ConfigError(
            "RUN", run.name, "is being started, and no process of it is known yet", "Wait a moment"
        )
    pid, host = run.environment.get("pid"), run.environment.get("host")
    if host != socket.gethostname() or not isinstance(pid, int):
        raise ConfigError(
            "RUN",
            run.name,
            f"its process is not on this machine but on {host or 'one that it did not name'}",
            "Run this command there, or let the run stop after its step",
        )
    # Another process may have this number: a newer one, or one on a machine or container with the same host name.
    started = run.environment.get("pid_started")
    if not is_running(Path(run.folder)) or started not in (None, process_start(pid)):
        raise ConfigError("RUN", run.name, f"no process of it is left (it was {pid})", "Resume it")
    try:
        os.kill(pid, signal.SIGTERM)
    except OSError as error:
        raise ConfigError(
            "RUN",
            run.name,
            f"its process {pid} cannot be ended from here ({error.strerror})",
            "Let it stop after its step, or ask its owner",
        ) from None
    return f"{run.name}: its process {pid} was told to end."


def _stop_job(run: RunDetail, job_id: str, address: str | None) -> str:
    from cluster.jobs.ray_jobs import JobError, connect, stop_job

    if address is None:
        raise ConfigError(
            "RUN",
            run.name,
            f"is job {job_id} of a Ray cluster",
            "Name that cluster by --address, or let the run stop after its step",
        )
    try:
        stopped = stop_job(connect(address), job_id)
    except JobError as error:
        raise ConfigError("--address", address, str(error)) from None
    return f"{run.name}: its job {job_id} " + ("is being stopped." if stopped else "had ended already.")

"""Ending a run's processes at once, where they can be reached from here."""

import os
import signal
import socket
from pathlib import Path

from cluster.config.load import ConfigError
from cluster.runs.environment import process_start
from cluster.runs.folder import is_going_on
from store.records import RunDetail


def stop_now(run: RunDetail, address: str | None) -> str:
    """End the run's processes, without a checkpoint; what was done, in words.

    Args:
        address: of the Ray that its job is on, if it is one.

    Raises:
        ConfigError: they cannot be reached from here, or are gone.
    """
    if run.job_id is not None:
        return _stop_job(run, run.job_id, address)
    if run.started_at is None or run.state == "queued":
        raise ConfigError(
            f"RUN={run.name!r}: is being started, and no process of it is known yet. Wait a moment."
        )
    pid, host = run.environment.get("pid"), run.environment.get("host")
    if host != socket.gethostname() or not isinstance(pid, int):
        raise ConfigError(
            f"RUN={run.name!r}: its process is not on this machine but on {host or 'one that it did not name'}. Say it "
            "there, or let it stop after its step."
        )
    # That number may be another process's by now, or a process's of another machine or container of that name.
    started = run.environment.get("pid_started")
    if not is_going_on(Path(run.folder)) or started not in (None, process_start(pid)):
        raise ConfigError(f"RUN={run.name!r}: no process of it is left (it was {pid}). Resume it.")
    try:
        os.kill(pid, signal.SIGTERM)
    except OSError as error:
        raise ConfigError(
            f"RUN={run.name!r}: its process {pid} cannot be ended from here ({error.strerror}). Let it stop after its "
            "step, or ask its owner."
        ) from None
    return f"{run.name}: its process {pid} was told to end."


def _stop_job(run: RunDetail, job_id: str, address: str | None) -> str:
    from cluster.jobs.ray_jobs import JobError, connect, stop_job

    if address is None:
        raise ConfigError(
            f"RUN={run.name!r}: is job {job_id} of a Ray. Name that Ray by --address, or let the run stop after its "
            "step."
        )
    try:
        stopped = stop_job(connect(address), job_id)
    except JobError as error:
        raise ConfigError(f"--address={address!r}: {error}.") from None
    return f"{run.name}: its job {job_id} " + ("is being stopped." if stopped else "had ended already.")

"""Jobs of a Ray that is somewhere else: starting, following and stopping them, with errors in words."""

import asyncio
import os
import secrets
import shlex
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

from cluster.config.load import ConfigError
from store.records import StoredState

# What a run elsewhere needs to know of this machine. Ray keeps it with the job, so it is never printed.
SENT = ("VIDEOSSR_DB", "VIDEOSSR_RUNS", "VIDEOSSR_BUCKET", "HF_TOKEN", "WANDB_API_KEY", "MLFLOW_TRACKING_URI")
_RUN = "videossr_run"  # of a job's metadata: the run's name
_ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
_REACH_S = 10.0
_START_S = 60.0  # that a Ray which has just been started may take until it takes jobs
_LOOK_EVERY_S = 3.0  # at a job that is only waited for
_LOST_S = 120.0  # that a followed Ray may be out of reach
_STOPPED = 130  # as a shell has it
_TROUBLE = (
    AuthenticationError,
    OSError,
    RuntimeError,
)  # that Ray's client raises; those of `requests` are OSErrors


class JobError(RuntimeError):
    """The Ray was reached, and did not do as it was asked; or it is lost. Says so in words."""


def connect(address: str) -> JobSubmissionClient:
    """A client of the Ray whose dashboard is at `address`.

    Raises:
        ConfigError: no Ray is there, or it wants another token.
    """
    # With another scheme Ray would import a module of that name.
    parts = urlsplit(address)
    try:
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        host, port = None, 0
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(
            f"--address={address!r}: is not the address of a Ray's dashboard. Write it as http://HOST:8265."
        )
    try:
        socket.create_connection((host, port), _REACH_S).close()
    except OSError as error:
        raise ConfigError(_nobody(address, error.strerror or str(error))) from None
    for name in _ADDRESSES:  # Ray would take these before what it is told
        os.environ.pop(name, None)
    try:
        return JobSubmissionClient(f"{parts.scheme}://{parts.netloc}")
    except AuthenticationError as error:
        raise ConfigError(_token(address, error)) from None
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise ConfigError(_nobody(address, f"what answers is no Ray: {_first_line(error)}")) from None


def _nobody(address: str, reason: str) -> str:
    return (
        f"--address={address!r}: no Ray's dashboard answers there ({reason}). Start one with `ray start --head`, or "
        "name the right one; it is at port 8265 unless that was changed."
    )


def _token(address: str, error: Exception) -> str:
    given = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    wrong = "the token given is not its own" if given else "it asks for a token, and none was given"
    return (
        f"--address={address!r}: {wrong} ({_first_line(error)}). Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the "
        "token that the cluster was started with."
    )


def new_job_id(name: str) -> str:
    """For a job of run `name`."""
    return f"videossr-{name}-{secrets.token_hex(4)}"


def start_job(
    client: JobSubmissionClient,
    job_id: str,
    words: Sequence[str],
    *,
    name: str,
    folder: Path,
    environment: Mapping[str, str],
    by: str,
) -> None:
    """Start `words` in a copy of `folder` as the job of run `name`. Raises JobError."""
    with _words("could not be started"):
        _patiently(
            lambda: client.submit_job(
                entrypoint=shlex.join(words),  # Ray hands it to a shell
                submission_id=job_id,
                runtime_env={"working_dir": str(folder), "env_vars": dict(environment)},
                metadata={_RUN: name, "videossr_by": by},
            )
        )


def sent_environment() -> dict[str, str]:
    """What of SENT is set here."""
    return {name: os.environ[name] for name in SENT if os.environ.get(name)}


def _patiently(submit: Callable[[], str]) -> str:
    """Ray's head answers before the process that takes jobs is up."""
    deadline = time.monotonic() + _START_S
    while True:
        try:
            return submit()
        except RuntimeError as error:
            if "No available agent" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(1)


def runs_going_on(client: JobSubmissionClient) -> dict[str, str]:
    """Job ids of the runs that are going on, by the run's name. Raises JobError."""
    with _words("did not list its jobs"):
        jobs = client.list_jobs()
    return {
        job.metadata[_RUN]: job.submission_id
        for job in jobs
        if job.metadata and _RUN in job.metadata and not job.status.is_terminal()
    }


def stop_job(client: JobSubmissionClient, job_id: str) -> bool:
    """Tell a job to end now; False: it had ended. Raises JobError."""
    with _words(f"did not stop job {job_id}"):
        return bool(client.stop_job(job_id))


def wait_for_job(
    client: JobSubmissionClient, job_id: str, *, meanwhile: Callable[[], None]
) -> tuple[StoredState, str]:
    """Wait until a job has ended, whatever becomes of the connection; how it ended, and why in words.

    Args:
        meanwhile: called now and then.
    """
    while True:
        try:
            job = client.get_job_info(job_id)
        except _TROUBLE as error:  # mostly no news of the job
            if "404" in str(error):
                return "failed", f"Ray knows nothing of job {job_id} any more: was its head replaced?"
        else:
            if job.status == JobStatus.SUCCEEDED:
                return "done", f"Job {job_id} ended."
            if job.status == JobStatus.STOPPED:
                return "stopped", f"Job {job_id} was stopped."
            if job.status == JobStatus.FAILED:
                return "failed", f"Job {job_id} failed: {job.message}"
            meanwhile()
        time.sleep(_LOOK_EVERY_S)


class _Log:
    """Writes a job's log on, though every connection begins with its first character."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write, self._written, self._place = write, 0, 0

    async def follow(self, client: Any, job_id: str) -> None:
        self._place = 0
        async for text in client.tail_job_logs(job_id):
            new = text[max(0, self._written - self._place) :]
            self._place += len(text)
            self._written = max(self._written, self._place)
            if new:
                self._write(new)


def follow_job(client: JobSubmissionClient, job_id: str, write: Callable[[str], None]) -> int:
    """Hand what the job prints to `write` until it ends; returns its exit status. Raises JobError."""
    log, lost_at = _Log(write), None
    while True:
        # A connection that broke is no news of the job; whether it goes on is asked next.
        with suppress(aiohttp.ClientError, OSError, RuntimeError):
            asyncio.run(log.follow(client, job_id))
        try:
            job = client.get_job_info(job_id)
        except _TROUBLE as error:
            lost_at = lost_at or time.monotonic()
            if time.monotonic() - lost_at > _LOST_S:
                raise JobError(
                    f"the Ray is out of reach ({_first_line(error)}); the job may go on."
                ) from None
        else:
            lost_at = None
            if job.status.is_terminal():
                return _exit_status(job, write)
        time.sleep(1)


def _exit_status(job: Any, write: Callable[[str], None]) -> int:
    if job.status == JobStatus.SUCCEEDED:
        return 0
    if job.status == JobStatus.STOPPED:
        return _STOPPED
    if job.driver_exit_code is None:  # it never ran, so nothing of it says why
        write(f"The job failed: {job.message}\n")
    return job.driver_exit_code or 1


@contextmanager
def _words(what: str) -> Iterator[None]:
    try:
        yield
    except _TROUBLE as error:
        raise JobError(f"Ray {what}: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).strip().splitlines() if line]
    return lines[0].rstrip(".") if lines else type(error).__name__

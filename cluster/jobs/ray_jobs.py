"""The jobs of another Ray cluster: start, follow, list and stop them, with errors in plain words."""

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

from cluster.config.errors import ConfigError
from cluster.terminal import STOPPED
from vocabulary.run_states import StoredState
from vocabulary.text import first_line

# Environment variables of this machine that a job gets too. Ray stores them with the job, so they are not printed.
FORWARDED_VARIABLES = (
    "VIDEOSSR_DB",
    "VIDEOSSR_RUNS",
    "VIDEOSSR_BUCKET",
    "VIDEOSSR_LOG",
    "HF_TOKEN",
    "WANDB_API_KEY",
    "MLFLOW_TRACKING_URI",
)
_RUN_KEY = "videossr_run"  # key of a job's metadata: the run's name
_REQUESTED_BY_KEY = "videossr_by"  # key of a job's metadata: who started it
_ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
_CONNECT_TIMEOUT_S = 10.0
_START_TIMEOUT_S = 60.0  # until a cluster that was just started accepts jobs
_POLL_S = 1.0
_WAIT_POLL_S = 3.0  # time between two requests for the state of a job that is not followed
_UNREACHABLE_TIMEOUT_S = 120.0  # for the cluster of a followed job
# What Ray's client raises; the errors of its `requests` are OSErrors.
_CLIENT_ERRORS = (AuthenticationError, OSError, RuntimeError)


class JobError(RuntimeError):
    """An error of a Ray cluster that was reached: it refused a request, or cannot be reached any more."""


def connect(address: str) -> JobSubmissionClient:
    """Return a client for the jobs of a Ray cluster.

    Args:
        address: address of the cluster's Ray dashboard, as http://HOST:8265.

    Raises:
        ConfigError: no Ray dashboard answers there, or it requires another token.
    """
    # Ray would import a module named like any other scheme, so only http and https are allowed.
    parts = urlsplit(address)
    try:
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        host, port = None, 0
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(
            "--address", address, "is not the address of a Ray dashboard", "Write it as http://HOST:8265"
        )
    try:
        socket.create_connection((host, port), _CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise _no_dashboard(address, error.strerror or str(error)) from None
    for name in _ADDRESS_VARIABLES:  # Ray would prefer these to the address that it is given
        os.environ.pop(name, None)
    try:
        return JobSubmissionClient(f"{parts.scheme}://{parts.netloc}")
    except AuthenticationError as error:
        raise _wrong_token(address, error) from None
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise _no_dashboard(address, f"what answers is not Ray: {first_line(error)}") from None


def _no_dashboard(address: str, reason: str) -> ConfigError:
    return ConfigError(
        "--address",
        address,
        f"no Ray dashboard answers there ({reason})",
        "Start one with `ray start --head`, or name the right one; it is at port 8265 unless that was changed",
    )


def _wrong_token(address: str, error: Exception) -> ConfigError:
    given = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    wrong = (
        "the token is not the one of this cluster"
        if given
        else "the cluster requires a token, and none was given"
    )
    return ConfigError(
        "--address",
        address,
        f"{wrong} ({first_line(error)})",
        "Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the token that the cluster was started with",
    )


def new_job_id(name: str) -> str:
    """Return a new id for a job of run `name`."""
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
    """Start the command `words` in a copy of `folder`, as a job of run `name`.

    Raises:
        JobError: Ray refused the job.
    """
    with _job_errors("did not start the job"):
        _submit_with_retries(
            lambda: client.submit_job(
                entrypoint=shlex.join(words),  # Ray passes it to a shell
                submission_id=job_id,
                runtime_env={"working_dir": str(folder), "env_vars": dict(environment)},
                metadata={_RUN_KEY: name, _REQUESTED_BY_KEY: by},
            )
        )


def forwarded_environment() -> dict[str, str]:
    """Return those of FORWARDED_VARIABLES that are set here."""
    return {name: os.environ[name] for name in FORWARDED_VARIABLES if os.environ.get(name)}


def _submit_with_retries(submit: Callable[[], str]) -> str:
    """Submit a job to a cluster that may have just been started: its head answers before it accepts jobs."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            return submit()
        except RuntimeError as error:
            if "No available agent" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(_POLL_S)


def running_jobs(client: JobSubmissionClient) -> dict[str, str]:
    """Return the job ids of runs that are running, by the run's name. Raises JobError."""
    with _job_errors("did not list its jobs"):
        jobs = client.list_jobs()
    return {
        job.metadata[_RUN_KEY]: job.submission_id
        for job in jobs
        if job.metadata and _RUN_KEY in job.metadata and not job.status.is_terminal()
    }


def stop_job(client: JobSubmissionClient, job_id: str) -> bool:
    """Stop a job at once. Return False if it had ended already. Raises JobError."""
    with _job_errors(f"did not stop job {job_id}"):
        return bool(client.stop_job(job_id))


def wait_for_job(
    client: JobSubmissionClient, job_id: str, *, meanwhile: Callable[[], None]
) -> tuple[StoredState, str]:
    """Wait until a job has ended, through failures of the connection. Return its last state and the reason.

    Args:
        meanwhile: called every few seconds.
    """
    while True:
        try:
            job = client.get_job_info(job_id)
        except _CLIENT_ERRORS as error:  # a failed connection does not mean that the job failed
            if "404" in str(error):
                return (
                    "failed",
                    f"Ray does not know job {job_id} any more. Was the head of the cluster replaced?",
                )
        else:
            if job.status == JobStatus.SUCCEEDED:
                return "done", f"Job {job_id} ended."
            if job.status == JobStatus.STOPPED:
                return "stopped", f"Job {job_id} was stopped."
            if job.status == JobStatus.FAILED:
                return "failed", f"Job {job_id} failed: {job.message}"
            meanwhile()
        time.sleep(_WAIT_POLL_S)


class _JobLog:
    """The log of a job. Every connection sends it from the beginning; the text that was written before is skipped."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._num_written, self._num_read = 0, 0  # characters, the latter of the present connection

    async def follow(self, client: Any, job_id: str) -> None:
        self._num_read = 0
        async for text in client.tail_job_logs(job_id):
            new = text[max(0, self._num_written - self._num_read) :]
            self._num_read += len(text)
            self._num_written = max(self._num_written, self._num_read)
            if new:
                self._write(new)


def follow_job(client: JobSubmissionClient, job_id: str, write: Callable[[str], None]) -> int:
    """Pass the job's output to `write` until the job ends. Return its exit status.

    Raises:
        JobError: the cluster cannot be reached any more.
    """
    log, unreachable_since = _JobLog(write), None
    while True:
        # A broken connection does not mean that the job ended, so request the job's state next.
        with suppress(aiohttp.ClientError, OSError, RuntimeError):
            asyncio.run(log.follow(client, job_id))
        try:
            job = client.get_job_info(job_id)
        except _CLIENT_ERRORS as error:
            unreachable_since = unreachable_since or time.monotonic()
            if time.monotonic() - unreachable_since > _UNREACHABLE_TIMEOUT_S:
                raise JobError(
                    f"the Ray cluster cannot be reached ({first_line(error)}); the job may still run."
                ) from None
        else:
            unreachable_since = None
            if job.status.is_terminal():
                return _exit_status(job, write)
        time.sleep(_POLL_S)


def _exit_status(job: Any, write: Callable[[str], None]) -> int:
    if job.status == JobStatus.SUCCEEDED:
        return 0
    if job.status == JobStatus.STOPPED:
        return STOPPED
    if job.driver_exit_code is None:  # it never ran, so its log does not say why
        write(f"The job failed: {job.message}\n")
    return job.driver_exit_code or 1


@contextmanager
def _job_errors(what: str) -> Iterator[None]:
    try:
        yield
    except _CLIENT_ERRORS as error:
        raise JobError(f"Ray {what}: {first_line(error)}") from None

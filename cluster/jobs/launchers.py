"""Starting runs for the dashboard, as processes of this machine or as jobs of a Ray cluster.

A run is queued in the store before its process or job is started. When the run starts, it takes over its row there
(`cluster/runs/stored_run.py`). A thread of the launcher waits for the end of the process or job, and records it if the
run did not record it.
"""

import logging
import os
import secrets
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from cluster.config.errors import ConfigError
from cluster.config.load import build_config, read_text, settings_of
from cluster.config.schema import Config
from cluster.jobs.checkout import config_files
from cluster.jobs.stop import stop_now
from cluster.jobs.submit import build_config_for_cluster, check_name, send_job
from cluster.runs.claim import is_running, name_taken
from cluster.runs.stored_run import LAUNCH_ENV
from dashboard.launching.launcher import Launched, LaunchError
from store.database import Database, StoreError
from store.reading.reader import RunReader
from store.records import RunDetail
from store.runs import Launch, end_run, keep_queued, launch_of, queue_again, queue_run
from store.writing.writer import HEARTBEAT_S
from vocabulary.run_states import StoredState

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

logger = logging.getLogger(__name__)

_SOURCE = "the configuration"  # name in error messages of a configuration that came over HTTP
# Environment variables that a run does not inherit from the dashboard, because they hold its secrets or its defaults.
_NOT_INHERITED = ("VIDEOSSR_TOKEN", "VIDEOSSR_READ_TOKEN", "RAY_API_SERVER_ADDRESS")
_LOG_HEADER = "--- requested by "  # start of the first line of a run's output
_RETRY_S = 10.0  # time between two tries while the store or the Ray cluster cannot be reached
_MAX_TRIES = 60  # number of tries to record the end of a run
_MAX_ADOPTED = 200  # largest number of jobs of an earlier dashboard that this one watches
_EXIT_TIMEOUT_S = 10.0  # time in which a process exits after it recorded its end
_MAX_LAST_WORDS = 2000  # characters at the end of a run's output that may say why it ended


class LocalLauncher:
    """Launcher of runs as processes of this machine. They continue when the dashboard ends.

    Args:
        runs_dir: folder of the runs; replaces the `runs_dir` of their configurations.
        database: the run store.
    """

    config_class = Config

    def __init__(self, runs_dir: Path, database: Database) -> None:
        self._runs_dir, self._database = runs_dir.absolute(), database
        self._lock = threading.Lock()
        # The running process of each run, by run number.
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._asked_to_end: set[int] = set()  # process ids

    def configs(self) -> Mapping[str, str]:
        return {name: read_text(file) for name, file in config_files().items()}

    def start(self, config_yaml: str, overrides: Sequence[str], by: str) -> Launched:
        settings = settings_of(config_yaml, _SOURCE, overrides) | {"runs_dir": str(self._runs_dir)}
        return self._launch(settings, [], by)

    def resume(self, run: RunDetail, by: str) -> Launched:
        if run.started_at is None:  # it never started
            return self._launch(run.config | {"runs_dir": str(self._runs_dir)}, [], by, run)
        folder = Path(run.folder)
        if folder.parent != self._runs_dir or not (folder / "config.yaml").exists():
            raise ConfigError(
                "RUN",
                run.name,
                f"its folder {folder} is not in {self._runs_dir}",
                "Resume it on the machine it ran on",
            )
        settings = settings_of(read_text(folder / "config.yaml"), _SOURCE)
        settings |= {"name": folder.name, "runs_dir": str(self._runs_dir)}  # as `train --resume FOLDER` does
        return self._launch(settings, ["--resume", str(folder)], by, run)

    def end(self, run: RunDetail) -> str:
        process = self._processes.get(run.id)
        if process is not None and process.poll() is None:
            self._asked_to_end.add(process.pid)
            process.terminate()
            return f"{run.name}: its process {process.pid} was told to end."
        return _end_if_abandoned(self._database, run) or stop_now(run, None)

    def _launch(
        self, settings: dict[str, Any], options: Sequence[str], by: str, again: RunDetail | None = None
    ) -> Launched:
        """Queue a run and start its process.

        Args:
            again: the run to start again; None for a new one.

        Raises:
            ConfigError: the configuration is refused, or a run of that name is running or queued.
            LaunchError: the process cannot be started.
        """
        config = build_config(settings)
        with self._lock:
            if is_running(self._runs_dir / config.name) or self._has_process(again):
                raise name_taken(config.name)
            stamp = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
            folder = self._runs_dir / ".launched" / f"{config.name}-{stamp}"
            launch = _queue(self._database, config, str(folder), again)
            try:
                folder.mkdir(parents=True)
                process = self._start_process(folder, settings, options, by, launch)
            except OSError as error:
                why = f"{error.filename}: {error.strerror}; so run {config.name!r} was not started."
                _record_end(self._database, launch, "failed", why)
                raise LaunchError(why) from None
            self._processes[launch.run_id] = process
        log = folder / "output.log"
        threading.Thread(target=self._watch, args=(process, launch, log), daemon=True).start()
        return Launched(
            launch.run_id, f"Started run {config.name!r} as process {process.pid}. Its output: {log}"
        )

    def _has_process(self, run: RunDetail | None) -> bool:
        """Return whether a process of the run exists. Wait first if it has recorded its end and is about to exit."""
        process = self._processes.get(run.id) if run is not None else None
        if run is None or process is None:
            return False
        with suppress(subprocess.TimeoutExpired):
            process.wait(_EXIT_TIMEOUT_S if run.state in ("stopped", "failed") else 0)
        return process.returncode is None

    def _start_process(
        self, folder: Path, settings: Mapping[str, Any], options: Sequence[str], by: str, launch: Launch
    ) -> subprocess.Popen[bytes]:
        config = folder / "config.yaml"
        config.write_text(yaml.safe_dump(dict(settings), sort_keys=False), encoding="utf-8")
        command = [sys.executable, "-m", "cluster", "train", str(config), *options, "--no-dashboard"]
        environment = {key: value for key, value in os.environ.items() if key not in _NOT_INHERITED}
        with (folder / "output.log").open("ab") as log:
            log.write(f"{_LOG_HEADER}{by}: {shlex.join(command)}\n".encode())
            log.flush()
            return subprocess.Popen(
                command,
                env=environment | {LAUNCH_ENV: str(launch)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _watch(self, process: subprocess.Popen[bytes], launch: Launch, log: Path) -> None:
        """Wait until the process ends, and record how it ended if the run did not."""
        while True:
            try:
                status = process.wait(HEARTBEAT_S)
                break
            except subprocess.TimeoutExpired:
                with suppress(StoreError):
                    keep_queued(self._database, launch)
        logger.info("process %d of run %d ended with status %d", process.pid, launch.run_id, status)
        with self._lock:
            if self._processes.get(launch.run_id) is process:
                del self._processes[launch.run_id]
        if process.pid in self._asked_to_end:
            self._asked_to_end.discard(process.pid)  # another process may get the same number
            _record_end(self._database, launch, "stopped", "Its process was ended on request.")
            return
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        why = f"The run's process {how}. Its last output: {_last_words(log)}"
        _record_end(self._database, launch, "failed" if status else "done", why)


class JobLauncher:
    """Launcher of runs as jobs of a Ray cluster.

    Args:
        address: address of the cluster's Ray dashboard.
        runs_dir: folder of the runs, on storage that the cluster shares with this machine; None: the `runs_dir` of
            their configurations.
        database: the run store, which the jobs must reach too.
    """

    config_class = Config

    def __init__(self, address: str, runs_dir: Path | None, database: Database) -> None:
        self._address, self._runs_dir, self._database = address, runs_dir, database
        self._lock = threading.Lock()  # two launches at once must not both find the name free

    def configs(self) -> Mapping[str, str]:
        return {name: read_text(file) for name, file in config_files().items()}

    def start(self, config_yaml: str, overrides: Sequence[str], by: str) -> Launched:
        settings = settings_of(config_yaml, _SOURCE, overrides)
        if self._runs_dir is not None:
            settings["runs_dir"] = str(self._runs_dir)
        return self._send(settings, None, by, None)

    def resume(self, run: RunDetail, by: str) -> Launched:
        if run.started_at is None:  # it never started
            return self._send(dict(run.config), None, by, run)
        settings = run.config | {"name": run.name, "runs_dir": str(Path(run.folder).parent)}
        return self._send(settings, run.folder, by, run)

    def end(self, run: RunDetail) -> str:
        return _end_if_abandoned(self._database, run) or stop_now(run, self._address)

    def adopt(self) -> None:
        """Watch the jobs that an earlier dashboard started and that have not ended."""
        runs = RunReader(self._database)
        for listed in runs.runs(states=("queued", "running", "stalled"), limit=_MAX_ADOPTED).items:
            run = runs.run(listed.id)
            if run is not None and run.job_id is not None:
                self._watch_in_background(run.job_id, launch_of(run.id, run.environment))

    def _send(
        self, settings: dict[str, Any], resume: str | None, by: str, again: RunDetail | None
    ) -> Launched:
        from cluster.jobs.ray_jobs import JobError, new_job_id

        said: list[str] = []
        config = build_config_for_cluster(settings, said.append)
        text = yaml.safe_dump(settings, sort_keys=False)
        client, job_id = self._client(), new_job_id(config.name)
        with self._lock:
            try:
                check_name(client, config.name)
            except JobError as error:
                raise LaunchError(str(error)) from None
            launch = _queue(self._database, config, f"job {job_id}", again, job_id)
            try:
                send_job(
                    client,
                    text,
                    config.name,
                    job_id=job_id,
                    by=by,
                    say=said.append,
                    resume=resume,
                    launch=launch,
                )
            except (ConfigError, JobError, OSError) as error:
                _record_end(self._database, launch, "failed", str(error))
                if isinstance(error, ConfigError):
                    raise
                raise LaunchError(str(error)) from None
        self._watch_in_background(job_id, launch)
        started = f"Started run {config.name!r} as job {job_id} of {self._address}."
        return Launched(launch.run_id, " ".join([started, *said]))

    def _client(self) -> "JobSubmissionClient":
        from cluster.jobs.ray_jobs import connect

        try:
            return connect(self._address)
        except ConfigError as error:  # the server's settings are wrong, not the request
            raise LaunchError(str(error)) from None

    def _watch_in_background(self, job_id: str, launch: Launch) -> None:
        threading.Thread(target=self._watch, args=(job_id, launch), daemon=True).start()

    def _watch(self, job_id: str, launch: Launch) -> None:
        """Wait until the job ends, and record how it ended if the run did not."""
        from cluster.jobs.ray_jobs import wait_for_job

        def keep() -> None:
            with suppress(StoreError):
                keep_queued(self._database, launch)

        while True:
            try:
                state, why = wait_for_job(self._client(), job_id, meanwhile=keep)
                break
            except LaunchError:  # the cluster cannot be reached now
                time.sleep(_RETRY_S)
        logger.info("job %s of run %d: %s. %s", job_id, launch.run_id, state, why)
        _record_end(self._database, launch, state, why)


def _queue(
    database: Database, config: Config, folder: str, again: RunDetail | None, job_id: str | None = None
) -> Launch:
    """Queue the run in the store.

    Args:
        folder: unique text that stands for the run's folder until it has one.
        again: the run to start again; None for a new one.

    Raises:
        ConfigError: a run of that name is running or queued already.
    """
    if again is not None:
        launch = queue_again(database, again.id, job_id=job_id)
    else:
        about = config.model_dump(mode="json")
        launch = queue_run(
            database, name=config.name, folder=folder, steps=config.train.steps, config=about, job_id=job_id
        )
    if launch is None:
        raise ConfigError(
            "name",
            config.name,
            "a run of that name is running or being started",
            "Wait, or choose another name=...",
        )
    return launch


def _record_end(database: Database, launch: Launch, state: StoredState, why: str) -> None:
    """Record how a run ended, unless the run did. Retry for minutes, because no other process can record it."""
    for _ in range(_MAX_TRIES):
        try:
            end_run(database, launch, state, why, only=("queued", "running"))
        except StoreError:
            time.sleep(_RETRY_S)
        else:
            return


def _end_if_abandoned(database: Database, run: RunDetail) -> str | None:
    """Mark a run as stopped if its launcher is gone. Return what was done; None if this is not such a run."""
    launch = launch_of(run.id, run.environment)
    if not (run.silent and run.state == "stalled" and run.started_at is None):
        return None
    if not end_run(database, launch, "stopped", "No process was starting it any more.", only=("queued",)):
        return None
    return f"{run.name}: no process was starting it any more; it counts as stopped."


def _last_words(log: Path) -> str:
    """Return the last line that a run printed."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _MAX_LAST_WORDS))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except OSError as error:
        return f"{log} cannot be read ({error.strerror})."
    said = [line for line in lines if line.strip() and not line.startswith(_LOG_HEADER)]
    return said[-1].strip() if said else "(none)"

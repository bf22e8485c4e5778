"""What the dashboard starts runs with: as processes of this machine, or as jobs of a Ray.

Either way a run is in the store as queued before anything is started, so that there is a place for what becomes of it.
It takes that place over when it begins (cluster.runs.record); if it never gets there, whoever started it says why.
"""

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

from cluster.config.load import ConfigError, build_config, read_text, settings_of
from cluster.config.schema import Config
from cluster.jobs.checkout import config_files
from cluster.jobs.stop import stop_now
from cluster.jobs.submit import check_name, checked_for_elsewhere, send
from cluster.runs.folder import is_going_on
from cluster.runs.record import LAUNCH
from dashboard.launching.launcher import Launched, LaunchError
from store.database import Database, StoreError
from store.reading.reader import RunReader
from store.records import RunDetail, StoredState
from store.runs import Launch, end_run, keep_queued, launch_of, queue_again, queue_run
from store.writing.writer import HEARTBEAT_S

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

_SOURCE = "the configuration"
# The server's own; a run has no use for them.
_KEPT = ("VIDEOSSR_TOKEN", "VIDEOSSR_READ_TOKEN", "RAY_API_SERVER_ADDRESS")
_TRIES, _TRY_AGAIN_S = 60, 10.0  # at a store or a Ray that is away
_MOST_ADOPTED = 200  # of runs that another dashboard has started
_EXIT_S = 10.0  # that a process may take which has said how it ended
_LAST_WORDS = 2000  # characters of what a run printed that may say why it ended


class LocalLauncher:
    """Runs as processes of this machine, which go on when the dashboard ends.

    Args:
        runs_dir: where they are kept, whatever their configuration says.
        database: where they are queued.
    """

    def __init__(self, runs_dir: Path, database: Database) -> None:
        self._runs_dir, self._database = runs_dir.absolute(), database
        self._lock = threading.Lock()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}  # the last one of each run
        self._ended: set[int] = set()  # processes that somebody asked to end

    def configs(self) -> Mapping[str, str]:
        return {name: read_text(file) for name, file in config_files().items()}

    def start(self, config_yaml: str, overrides: Sequence[str], by: str) -> Launched:
        settings = settings_of(config_yaml, _SOURCE, overrides) | {"runs_dir": str(self._runs_dir)}
        return self._launch(settings, [], by)

    def resume(self, run: RunDetail, by: str) -> Launched:
        if run.started_at is None:  # it never began
            return self._launch(run.config | {"runs_dir": str(self._runs_dir)}, [], by, run)
        folder = Path(run.folder)
        if folder.parent != self._runs_dir or not (folder / "config.yaml").exists():
            raise ConfigError(
                f"RUN={run.name!r}: its folder {folder} is not in {self._runs_dir}. Resume it on the machine it ran on."
            )
        settings = settings_of(read_text(folder / "config.yaml"), _SOURCE)
        settings |= {"name": folder.name, "runs_dir": str(self._runs_dir)}  # as `train --resume FOLDER` does
        return self._launch(settings, ["--resume", str(folder)], by, run)

    def end(self, run: RunDetail) -> str:
        process = self._processes.get(run.id)
        if process is not None and process.poll() is None:
            self._ended.add(process.pid)
            process.terminate()
            return f"{run.name}: its process {process.pid} was told to end."
        return _give_up(self._database, run) or stop_now(run, None)

    def _launch(
        self, settings: dict[str, Any], options: Sequence[str], by: str, again: RunDetail | None = None
    ) -> Launched:
        """Args: again: the run that is started again; None: it is a new one."""
        config = build_config(settings)
        with self._lock:
            if is_going_on(self._runs_dir / config.name) or self._has_process(again):
                raise ConfigError(
                    f"name={config.name!r}: a run of that name is going on. Stop it, or choose another name=..."
                )
            stamp = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
            folder = self._runs_dir / ".launched" / f"{config.name}-{stamp}"
            launch = _queued(self._database, config, str(folder), again)
            try:
                folder.mkdir(parents=True)
                process = self._process(folder, settings, options, by, launch)
            except OSError as error:
                why = f"{error.filename}: {error.strerror}; so run {config.name!r} was not started."
                _write_down(self._database, launch, "failed", why)
                raise LaunchError(why) from None
            self._processes[launch.run_id] = process
        log = folder / "output.log"
        threading.Thread(target=self._see_through, args=(process, launch, log), daemon=True).start()
        return Launched(
            launch.run_id, f"Started run {config.name!r} as process {process.pid}. What it prints: {log}"
        )

    def _has_process(self, run: RunDetail | None) -> bool:
        """Whether a process of that run is about. One that has said how it ended may be on its way out still."""
        process = self._processes.get(run.id) if run is not None else None
        if run is None or process is None:
            return False
        with suppress(subprocess.TimeoutExpired):
            process.wait(_EXIT_S if run.state in ("stopped", "failed") else 0)
        return process.returncode is None

    def _process(
        self, folder: Path, settings: Mapping[str, Any], options: Sequence[str], by: str, launch: Launch
    ) -> subprocess.Popen[bytes]:
        config = folder / "config.yaml"
        config.write_text(yaml.safe_dump(dict(settings), sort_keys=False), encoding="utf-8")
        command = [sys.executable, "-m", "cluster", "train", str(config), *options, "--no-dashboard"]
        environment = {key: value for key, value in os.environ.items() if key not in _KEPT}
        with (folder / "output.log").open("ab") as log:
            log.write(f"--- asked for by {by}: {shlex.join(command)}\n".encode())
            log.flush()
            return subprocess.Popen(
                command,
                env=environment | {LAUNCH: str(launch)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _see_through(self, process: subprocess.Popen[bytes], launch: Launch, log: Path) -> None:
        """Wait for a run's end, and write it down where the run did not."""
        while True:
            try:
                status = process.wait(HEARTBEAT_S)
                break
            except subprocess.TimeoutExpired:
                with suppress(StoreError):
                    keep_queued(self._database, launch)
        if process.pid in self._ended:
            _write_down(self._database, launch, "stopped", "Its process was ended, as asked.")
            return
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        why = f"The run's process {how}. Its last words: {_last_words(log)}"
        _write_down(self._database, launch, "failed" if status else "done", why)


class JobLauncher:
    """Runs as jobs of the Ray at `address`.

    Args:
        runs_dir: where they are kept, on storage that the Ray shares with this machine; None: where their
            configuration says.
        database: where they are queued, which the jobs reach too.
    """

    def __init__(self, address: str, runs_dir: Path | None, database: Database) -> None:
        self._address, self._runs_dir, self._database = address, runs_dir, database
        self._lock = threading.Lock()  # two that ask at once must not both find the name free

    def configs(self) -> Mapping[str, str]:
        return {name: read_text(file) for name, file in config_files().items()}

    def start(self, config_yaml: str, overrides: Sequence[str], by: str) -> Launched:
        settings = settings_of(config_yaml, _SOURCE, overrides)
        if self._runs_dir is not None:
            settings["runs_dir"] = str(self._runs_dir)
        return self._send(settings, None, by, None)

    def resume(self, run: RunDetail, by: str) -> Launched:
        if run.started_at is None:  # it never began
            return self._send(dict(run.config), None, by, run)
        settings = run.config | {"name": run.name, "runs_dir": str(Path(run.folder).parent)}
        return self._send(settings, run.folder, by, run)

    def end(self, run: RunDetail) -> str:
        return _give_up(self._database, run) or stop_now(run, self._address)

    def adopt(self) -> None:
        """Watch the jobs that a dashboard before this one has started, and not seen to their end."""
        runs = RunReader(self._database)
        for listed in runs.runs(states=("queued", "running", "stalled"), limit=_MOST_ADOPTED).items:
            run = runs.run(listed.id)
            if run is not None and run.job_id is not None:
                self._watch(run.job_id, launch_of(run.id, run.environment))

    def _send(
        self, settings: dict[str, Any], resume: str | None, by: str, again: RunDetail | None
    ) -> Launched:
        from cluster.jobs.ray_jobs import JobError, new_job_id

        said: list[str] = []
        config = checked_for_elsewhere(settings, said.append)
        text = yaml.safe_dump(settings, sort_keys=False)
        client, job_id = self._client(), new_job_id(config.name)
        with self._lock:
            try:
                check_name(client, config.name)
            except JobError as error:
                raise LaunchError(str(error)) from None
            launch = _queued(self._database, config, f"job {job_id}", again, job_id)
            try:
                send(
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
                _write_down(self._database, launch, "failed", str(error))
                if isinstance(error, ConfigError):
                    raise
                raise LaunchError(str(error)) from None
        self._watch(job_id, launch)
        started = f"Started run {config.name!r} as job {job_id} of {self._address}."
        return Launched(launch.run_id, " ".join([started, *said]))

    def _client(self) -> "JobSubmissionClient":
        from cluster.jobs.ray_jobs import connect

        try:
            return connect(self._address)
        except ConfigError as error:  # the server's to mend, not the visitor's
            raise LaunchError(str(error)) from None

    def _watch(self, job_id: str, launch: Launch) -> None:
        threading.Thread(target=self._see_through, args=(job_id, launch), daemon=True).start()

    def _see_through(self, job_id: str, launch: Launch) -> None:
        """Wait for a job's end, and write it down where the run did not."""
        from cluster.jobs.ray_jobs import wait_for_job

        def keep() -> None:
            with suppress(StoreError):
                keep_queued(self._database, launch)

        while True:
            try:
                state, why = wait_for_job(self._client(), job_id, meanwhile=keep)
                break
            except LaunchError:  # the Ray is away
                time.sleep(_TRY_AGAIN_S)
        _write_down(self._database, launch, state, why)


def _queued(
    database: Database, config: Config, folder: str, again: RunDetail | None, job_id: str | None = None
) -> Launch:
    """The run is queued now.

    Args:
        folder: what stands for its own, until it has one.
        again: the run that is started again; None: it is a new one.

    Raises:
        ConfigError: somebody else was faster.
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
            f"name={config.name!r}: a run of that name goes on, or is being started. Wait, or choose another name=..."
        )
    return launch


def _write_down(database: Database, launch: Launch, state: StoredState, why: str) -> None:
    """How a run ended, if it did not say so itself; patiently, as nobody else knows."""
    for _ in range(_TRIES):
        try:
            end_run(database, launch, state, why, only=("queued", "running"))
        except StoreError:
            time.sleep(_TRY_AGAIN_S)
        else:
            return


def _give_up(database: Database, run: RunDetail) -> str | None:
    """End a run in the store that nobody starts any more; None: it is no such run."""
    launch = launch_of(run.id, run.environment)
    if not (run.silent and run.state == "stalled" and run.started_at is None):
        return None
    if not end_run(database, launch, "stopped", "Nobody was starting it any more.", only=("queued",)):
        return None
    return f"{run.name}: nobody was starting it any more; it counts as stopped."


def _last_words(log: Path) -> str:
    """The end of what a run printed."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LAST_WORDS))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except OSError as error:
        return f"{log} cannot be read ({error.strerror})."
    said = [line for line in lines if line.strip() and not line.startswith("--- asked for by ")]
    return said[-1].strip() if said else "it said nothing."

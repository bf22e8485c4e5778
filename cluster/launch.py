"""What the dashboard starts runs with: as processes of this machine, or as jobs of a Ray.

Either way a run is in the store as queued before anything is started, so that there is a place for what becomes of it.
It takes that place over when it begins (cluster.record); if it never gets there, whoever started it says why.
"""

import os
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

from cluster.checkout import config_files
from cluster.config import Config
from cluster.load import ConfigError, build_config, read_text, settings_of
from cluster.record import RUN_ID
from cluster.run_folder import is_going_on
from cluster.stop import stop_now
from cluster.submit import check_name, checked_for_elsewhere, send
from dashboard.launcher import Launched, LaunchError
from store.database import Database, StoreError
from store.reader import RunReader
from store.records import RunDetail
from store.runs import end_run, keep_queued, queue_again, register_run

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

_SOURCE = "the configuration"
# The server's own; a run has no use for them.
_KEPT = ("VIDEOSSR_TOKEN", "VIDEOSSR_READ_TOKEN", "RAY_API_SERVER_ADDRESS")
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

    def configs(self) -> Mapping[str, str]:
        return {name: read_text(file) for name, file in config_files().items()}

    def start(self, config_yaml: str, overrides: Sequence[str], by: str) -> Launched:
        settings = settings_of(config_yaml, _SOURCE, overrides) | {"runs_dir": str(self._runs_dir)}
        return self._launch(settings, [], by, None)

    def resume(self, run: RunDetail, by: str) -> Launched:
        if run.started_at is None:  # it never began
            return self._launch(run.config | {"runs_dir": str(self._runs_dir)}, [], by, run.id)
        folder = Path(run.folder)
        if folder.parent != self._runs_dir or not (folder / "config.yaml").exists():
            raise ConfigError(
                f"RUN={run.name!r}: its folder {folder} is not in {self._runs_dir}. Resume it on the machine it ran on."
            )
        settings = settings_of(read_text(folder / "config.yaml"), _SOURCE)
        settings |= {"name": folder.name, "runs_dir": str(self._runs_dir)}  # as `train --resume FOLDER` does
        return self._launch(settings, ["--resume", str(folder)], by, run.id)

    def end(self, run: RunDetail) -> str:
        process = self._processes.get(run.id)
        if process is not None and process.poll() is None:
            process.terminate()
            return f"{run.name}: its process {process.pid} was told to end."
        return stop_now(run, None)

    def _launch(
        self, settings: dict[str, Any], options: Sequence[str], by: str, run_id: int | None
    ) -> Launched:
        """Args: run_id: of the run that is started again; None: it is a new one."""
        config = build_config(settings)
        with self._lock:
            if is_going_on(self._runs_dir / config.name):
                raise ConfigError(
                    f"name={config.name!r}: a run of that name is going on. Stop it, or choose another name=..."
                )
            folder = self._runs_dir / ".launched" / f"{config.name}-{time.strftime('%Y%m%d-%H%M%S')}"
            run_id = _queued(self._database, config, str(folder), run_id)
            try:
                folder.mkdir(parents=True, exist_ok=True)
                process = self._process(folder, settings, options, by, run_id)
            except OSError as error:
                why = f"{error.filename}: {error.strerror}; so run {config.name!r} was not started."
                end_run(self._database, run_id, "failed", why, only=("queued",))
                raise LaunchError(why) from None
            self._processes[run_id] = process
        log = folder / "output.log"
        threading.Thread(target=self._see_through, args=(process, run_id, log), daemon=True).start()
        return Launched(
            run_id, f"Started run {config.name!r} as process {process.pid}. What it prints: {log}"
        )

    def _process(
        self, folder: Path, settings: Mapping[str, Any], options: Sequence[str], by: str, run_id: int
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
                env=environment | {RUN_ID: str(run_id)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _see_through(self, process: subprocess.Popen[bytes], run_id: int, log: Path) -> None:
        """Wait for a run's end, and write it down where the run could not."""
        status = process.wait()
        if status == 0 or self._processes.get(run_id) is not process:  # or it was started again since
            return
        ended = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        why = f"The run's process {ended}. Its last words: {_last_words(log)}"
        with suppress(StoreError):
            end_run(self._database, run_id, "failed", why, only=("queued", "running"))


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
            return self._send(dict(run.config), None, by, run.id)
        settings = run.config | {"name": run.name, "runs_dir": str(Path(run.folder).parent)}
        return self._send(settings, run.folder, by, run.id)

    def end(self, run: RunDetail) -> str:
        return stop_now(run, self._address)

    def _send(self, settings: dict[str, Any], resume: str | None, by: str, run_id: int | None) -> Launched:
        from cluster.ray_jobs import JobError, connect, new_job_id

        said: list[str] = []
        config = checked_for_elsewhere(settings, said.append)
        text = yaml.safe_dump(settings, sort_keys=False)
        try:
            client = connect(self._address)
        except ConfigError as error:  # the server's to mend, not the visitor's
            raise LaunchError(str(error)) from None
        job_id = new_job_id(config.name)
        with self._lock:
            check_name(client, config.name)
            run_id = _queued(self._database, config, f"job {job_id}", run_id, job_id)
            try:
                send(
                    client,
                    text,
                    config.name,
                    job_id=job_id,
                    by=by,
                    say=said.append,
                    resume=resume,
                    run_id=run_id,
                )
            except (ConfigError, JobError) as error:
                end_run(self._database, run_id, "failed", str(error), only=("queued",))
                if isinstance(error, ConfigError):
                    raise
                raise LaunchError(str(error)) from None
        threading.Thread(target=self._see_through, args=(client, job_id, run_id), daemon=True).start()
        started = f"Started run {config.name!r} as job {job_id} of {self._address}."
        return Launched(run_id, " ".join([started, *said]))

    def _see_through(self, client: "JobSubmissionClient", job_id: str, run_id: int) -> None:
        """Wait for a job's end, and write it down where the run could not."""
        from cluster.ray_jobs import wait_for_job

        def keep() -> None:
            with suppress(StoreError):
                keep_queued(self._database, run_id)

        state, why = wait_for_job(client, job_id, while_pending=keep)
        with suppress(StoreError):
            run = RunReader(self._database).run(run_id)
            if run is not None and run.job_id == job_id:  # it may have been started again since
                end_run(self._database, run_id, state, why, only=("queued", "running"))


def _queued(
    database: Database, config: Config, folder: str, run_id: int | None, job_id: str | None = None
) -> int:
    """The number of the run, which is queued now.

    Args:
        folder: what stands for its own, until it has one.
        run_id: of the run that is started again; None: it is a new one.

    Raises:
        ConfigError: somebody else was faster.
    """
    if run_id is None:
        about = config.model_dump(mode="json")
        return register_run(
            database,
            name=config.name,
            folder=folder,
            steps=config.train.steps,
            config=about,
            environment={},
            job_id=job_id,
        )
    if not queue_again(database, run_id, job_id=job_id):
        raise ConfigError(
            f"RUN={config.name!r}: goes on, or is being started already. Wait until it says so."
        )
    return run_id


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

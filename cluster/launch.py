"""What the dashboard starts runs with: as processes of this machine, or as jobs of a Ray."""

import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cluster.checkout import config_files
from cluster.load import ConfigError, build_config, read_text, settings_of
from cluster.run_folder import is_going_on
from cluster.submit import checked_for_elsewhere, send
from dashboard.launcher import LaunchError
from store.database import Database
from store.reader import RunReader

_SOURCE = "the configuration"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # of a run, as cluster.config has it
# The server's own; a run has no use for them.
_KEPT = ("VIDEOSSR_TOKEN", "VIDEOSSR_READ_TOKEN", "RAY_API_SERVER_ADDRESS")


class LocalLauncher:
    """Runs as processes of this machine, which go on when the dashboard ends.

    Args:
        runs_dir: where they are kept, whatever their configuration says.
    """

    def __init__(self, runs_dir: Path) -> None:
        self._runs_dir = runs_dir.absolute()
        self._lock = threading.Lock()
        self._started: dict[str, subprocess.Popen[bytes]] = {}  # by the run's name

    def configs(self) -> Mapping[str, str]:
        return {name: read_text(file) for name, file in config_files().items()}

    def start(self, config_yaml: str, overrides: Sequence[str], by: str) -> str:
        settings = settings_of(config_yaml, _SOURCE, overrides) | {"runs_dir": str(self._runs_dir)}
        return self._launch(build_config(settings).name, settings, [], by)

    def resume(self, run_name: str, by: str) -> str:
        folder = self._runs_dir / run_name
        if not _NAME.fullmatch(run_name) or not (folder / "config.yaml").exists():
            raise ConfigError(
                f"RUN={run_name!r}: has no folder in {self._runs_dir}. Resume it on the machine it ran on."
            )
        settings = settings_of(read_text(folder / "config.yaml"), _SOURCE)
        settings |= {"name": run_name, "runs_dir": str(self._runs_dir)}  # as `train --resume FOLDER` does
        build_config(settings)
        return self._launch(run_name, settings, ["--resume", str(folder)], by)

    def _launch(self, name: str, settings: Mapping[str, Any], options: Sequence[str], by: str) -> str:
        with self._lock:
            before = self._started.get(name)
            if (before is not None and before.poll() is None) or is_going_on(self._runs_dir / name):
                raise ConfigError(
                    f"name={name!r}: a run of that name is going on. Stop it, or choose another name=..."
                )
            try:
                self._started[name] = process = self._process(name, settings, options, by)
            except OSError as error:
                raise LaunchError(
                    f"{error.filename}: {error.strerror}; so run {name!r} was not started."
                ) from None
        return f"Started run {name!r} as process {process.pid}. What it prints: {self._file(name, 'log')}"

    def _process(
        self, name: str, settings: Mapping[str, Any], options: Sequence[str], by: str
    ) -> subprocess.Popen[bytes]:
        config = self._file(name, "yaml")
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(yaml.safe_dump(dict(settings), sort_keys=False), encoding="utf-8")
        command = [sys.executable, "-m", "cluster", "train", str(config), *options, "--no-dashboard"]
        with self._file(name, "log").open("ab") as log:
            log.write(f"--- asked for by {by}: {shlex.join(command)}\n".encode())
            log.flush()
            return subprocess.Popen(
                command,
                env={key: value for key, value in os.environ.items() if key not in _KEPT},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _file(self, name: str, ending: str) -> Path:
        return self._runs_dir / ".launched" / f"{name}.{ending}"


class JobLauncher:
    """Runs as jobs of the Ray at `address`.

    Args:
        runs_dir: where they are kept, on storage that the Ray shares with this machine; None: where their
            configuration says.
        database: tells what a run to be resumed was.
    """

    def __init__(self, address: str, runs_dir: Path | None, database: Database) -> None:
        self._address, self._runs_dir, self._reader = address, runs_dir, RunReader(database)
        self._lock = threading.Lock()  # two that ask at once must not both find the name free

    def configs(self) -> Mapping[str, str]:
        return {name: read_text(file) for name, file in config_files().items()}

    def start(self, config_yaml: str, overrides: Sequence[str], by: str) -> str:
        settings = settings_of(config_yaml, _SOURCE, overrides)
        if self._runs_dir is not None:
            settings["runs_dir"] = str(self._runs_dir)
        return self._send(settings, None, by)

    def resume(self, run_name: str, by: str) -> str:
        run = self._reader.run_by_name(run_name)
        if run is None:
            raise ConfigError(f"RUN={run_name!r}: the store knows no run of that name.")
        settings = run.config | {"name": run.name, "runs_dir": str(Path(run.folder).parent)}
        return self._send(settings, run.folder, by)

    def _send(self, settings: dict[str, Any], resume: str | None, by: str) -> str:
        from cluster.ray_jobs import JobError, connect

        said: list[str] = []
        name = checked_for_elsewhere(settings, said.append).name
        text = yaml.safe_dump(settings, sort_keys=False)
        try:
            client = connect(self._address)
        except ConfigError as error:  # the server's to mend, not the visitor's
            raise LaunchError(str(error)) from None
        try:
            with self._lock:
                job_id = send(client, text, name, by=by, say=said.append, resume=resume)
        except JobError as error:
            raise LaunchError(str(error)) from None
        return " ".join([f"Started run {name!r} as job {job_id} of {self._address}.", *said])

"""Claiming `runs/NAME/` for one process: a lock, room for a new run, and checks for a resumed one."""

import fcntl
import itertools
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import yaml

from cluster.config.errors import ConfigError
from cluster.config.load import validated
from cluster.config.schema import Config
from cluster.runs.folder import BUCKET_FILE, CONFIG_FILE, new_run_bucket, run_bucket, runs_folder
from store.files import FILE_ERRORS, Files
from vocabulary.problems import Problem
from vocabulary.settings import MayChangeOnResume, marked
from vocabulary.text import one_line

logger = logging.getLogger(__name__)

_LOCK_TIMEOUT_S = 1.0  # longer than `is_running` holds the lock
_LOCK_RETRY_S = 0.02


@contextmanager
def claim_run_folder(
    config: Config, *, resume: bool, on_renamed: Callable[[Path, Path], None] = lambda before, after: None
) -> Iterator[Path]:
    """Yield the run's folder, which no other process can claim until the block ends.

    A new run gets an empty folder: the folder of an earlier run with the same name is renamed.

    Args:
        on_renamed: called with the old and the new path of an earlier run's folder.

    Raises:
        ConfigError: another process has claimed the folder; there is nothing to resume; a setting that must
            not change on resume differs; or the bucket cannot be written to.
    """
    folder = runs_folder(config) / config.name
    if resume and not (folder / CONFIG_FILE).exists():
        raise ConfigError("--resume", config.name, f"{folder} holds no run", "Start it without --resume")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            "runs_dir",
            config.runs_dir,
            f"the folder cannot be created ({error.strerror})",
            "Name another folder",
        ) from None
    with _lock_file(folder).open("w") as lock:
        if not _lock(lock):
            raise name_taken(config.name)
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
        if resume:
            _check_unchanged(folder, config)
        bucket = run_bucket(folder) if resume else new_run_bucket(config)
        if bucket is not None:  # before anything is changed on disk, because this may fail
            _write_config_to_bucket(bucket, text)
        if not resume and folder.exists():
            renamed = _free_path(folder.with_name(f"{config.name}-{time.strftime('%Y%m%d-%H%M%S')}"))
            folder.rename(renamed)
            on_renamed(folder, renamed)
        folder.mkdir(exist_ok=True)
        if bucket is not None:
            (folder / BUCKET_FILE).write_text(f"{bucket}\n", encoding="utf-8")
        partial = folder / f"{CONFIG_FILE}.new"  # a run with a truncated configuration could not be resumed
        partial.write_text(text, encoding="utf-8")
        partial.replace(folder / CONFIG_FILE)
        logger.info("claimed %s (resume=%s)", folder, resume)
        yield folder


def is_running(folder: Path) -> bool:
    """Return whether a process has claimed the run in `folder`, on this machine or on one that shares the folder."""
    try:
        with _lock_file(folder).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def name_taken(name: str, where: str = "") -> ConfigError:
    """Return the error for a run whose name another run, which is still running, has.

    Args:
        where: continues "a run of that name is running".
    """
    return ConfigError(
        "name", name, f"a run of that name is running{where}", "Stop it, or choose another name=..."
    )


def settings_by_dotted_name(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested settings by dotted name.

    >>> settings_by_dotted_name({"train": {"steps": 3}, "seed": 0})
    {'train.steps': 3, 'seed': 0}
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= settings_by_dotted_name(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _lock_file(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.lock"


def _lock(file: TextIO) -> bool:
    """Lock `file` and return whether that succeeded. Retry, because `is_running` holds the lock for a moment."""
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOCK_RETRY_S)
        else:
            return True


def _free_path(path: Path) -> Path:
    """Return `path`, or if it exists (two runs within a second) the first of path-2, path-3, ... that does not."""
    names = itertools.chain([path.name], (f"{path.name}-{number}" for number in itertools.count(2)))
    return next(free for name in names if not (free := path.with_name(name)).exists())


def _write_config_to_bucket(bucket: str, text: str) -> None:
    """Write the configuration to the run's part of the bucket, so that a person finds there what the run is."""
    try:
        Files(bucket).write(CONFIG_FILE, text.encode())
    except FILE_ERRORS as error:
        raise ConfigError(
            "bucket",
            bucket,
            f"cannot be written to ({one_line(error)})",
            "Check the address, the credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, ...) and "
            "the network; or leave the bucket out",
        ) from None


def _may_change_on_resume(key: str) -> bool:
    """Return whether a setting, or a value inside one, may differ on resume: it or its section has the marker."""
    return any(key == name or key.startswith(f"{name}.") for name in marked(Config, MayChangeOnResume))


def _check_unchanged(folder: Path, config: Config) -> None:
    """Raise ConfigError if a setting without the marker MayChangeOnResume differs from the run's own."""
    stored = yaml.safe_load((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    try:
        # Validated, so that a setting which is newer than the run has its default here.
        before = settings_by_dotted_name(validated(Config, stored).model_dump(mode="json"))
    except ConfigError as error:
        raise ConfigError(
            "--resume",
            config.name,
            f"this version cannot use {folder / CONFIG_FILE} ({one_line(error)})",
            "Resume the run with the version that started it",
        ) from None
    now = settings_by_dotted_name(config.model_dump(mode="json"))
    changed = [
        Problem(
            key,
            now.get(key),
            f"the run was started with {before.get(key)!r}",
            "Keep that value, or start a new run under another name",
        )
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and not _may_change_on_resume(key)
    ]
    if changed:
        raise ConfigError(changed)

"""`runs/NAME/`: claiming it for one process, keeping what an earlier run of that name left."""

import fcntl
import itertools
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import yaml

from cluster.config.schema import Config
from cluster.config.load import ConfigError
from store.files import TROUBLE, Files, check_bucket

# What may differ when a run goes on: how far it goes and what carries it, not what it trains.
RESUMABLE = ("train.", "cluster.", "rollout.", "evaluation.", "runs_dir", "learner.max_restarts")


_BUCKET_FILE = "bucket.txt"
_LOOKED_AT_S = 1.0  # longer than any look at whether a run is going on takes
_RAY_WORKING_COPY = "runtime_resources/working_dir_files"


@contextmanager
def claimed(
    config: Config, *, resume: bool, on_kept: Callable[[Path, Path], None] = lambda before, after: None
) -> Iterator[Path]:
    """The run's folder, held by this process alone.

    A new run finds it empty: what an earlier run of the name left is kept beside it.

    Args:
        on_kept: told where an earlier run's folder was, and where it is now.

    Raises:
        ConfigError: another process holds it; or there is nothing to resume; or the configuration differs
            from the one the run was started with in what it trains; or its bucket cannot be written to.
    """
    folder = runs_folder(config) / config.name
    if resume and not (folder / "config.yaml").exists():
        raise ConfigError(f"--resume {config.name}: {folder} holds no run. Start it without --resume.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"runs_dir={config.runs_dir!r}: no folder can be made there ({error.strerror}). Name another."
        ) from None
    with (folder.parent / f".{config.name}.lock").open("w") as lock:
        if not _locked(lock):
            raise ConfigError(
                f"name={config.name!r}: a run of that name is going on. Stop it, or choose another name=..."
            )
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
        if resume:
            _check_unchanged(folder, config)
        bucket = bucket_of(folder) if resume else _part_of_a_bucket(config)
        if bucket is not None:  # first of all: where this fails, nothing was changed
            _write_config(bucket, text)
        if not resume and folder.exists():
            kept = _free(folder.with_name(f"{config.name}-{time.strftime('%Y%m%d-%H%M%S')}"))
            folder.rename(kept)
            on_kept(folder, kept)
            print(f"An earlier run of this name is kept as {kept.name}.")
        folder.mkdir(exist_ok=True)
        if bucket is not None:
            (folder / _BUCKET_FILE).write_text(f"{bucket}\n", encoding="utf-8")
        beside = folder / "config.yaml.new"  # a run whose configuration is cut off could not go on
        beside.write_text(text, encoding="utf-8")
        beside.replace(folder / "config.yaml")
        yield folder


def _locked(file: TextIO) -> bool:
    """Whether `file` could be locked. is_going_on holds the lock for a moment, so once is not enough."""
    deadline = time.monotonic() + _LOOKED_AT_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True


def is_going_on(folder: Path) -> bool:
    """Whether a process of this machine, or of one that shares the folder, holds the run in `folder`."""
    try:
        with (folder.parent / f".{folder.name}.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _free(path: Path) -> Path:
    """`path`, or where that is taken (two runs within a second) the first of path-2, path-3, ... that is not."""
    names = itertools.chain([path.name], (f"{path.name}-{number}" for number in itertools.count(2)))
    return next(free for name in names if not (free := path.with_name(name)).exists())


def bucket_setting(config: Config) -> str | None:
    """The bucket that new runs of this configuration use: its own, or VIDEOSSR_BUCKET. Raises ConfigError."""
    given = os.environ.get("VIDEOSSR_BUCKET", "").strip()
    if config.bucket is not None or not given:
        return config.bucket
    try:
        return check_bucket(given)
    except ValueError as error:
        raise ConfigError(f"VIDEOSSR_BUCKET={given!r}: {error}") from None


def bucket_of(folder: Path) -> str | None:
    """The part of a bucket that is the run's own for as long as it lives; None: it keeps all in its folder."""
    try:
        return (folder / _BUCKET_FILE).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None


def bulk_of(folder: Path) -> Files:
    """Where the checkpoints and frames of the run in `folder` are."""
    return Files(bucket_of(folder) or str(folder.absolute()))


def _part_of_a_bucket(config: Config) -> str | None:
    """For a new run alone: names come again, and others may use the bucket too."""
    bucket = bucket_setting(config)
    if bucket is None:
        return None
    own = f"{config.name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    return Files(bucket).below(own).address


def _write_config(bucket: str, text: str) -> None:
    """Say in the bucket what the run is."""
    try:
        Files(bucket).write("config.yaml", text.encode())
    except TROUBLE as error:
        raise ConfigError(
            f"bucket: {bucket} cannot be written to ({one_line(error)}). Check the address, the credentials "
            "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, ...) and the network; or leave the bucket "
            "out."
        ) from None


def one_line(error: Exception) -> str:
    """What went wrong, for a sentence: clouds answer with pages."""
    return " ".join(str(error).split())[:300]


def runs_folder(config: Config) -> Path:
    """Where runs are kept.

    A Ray job runs in a copy of the checkout that Ray throws away, so there a relative `runs_dir` counts from
    ~/videossr instead of the working folder.
    """
    base = Path.home() / "videossr" if in_ray_working_copy() else Path.cwd()
    return base / config.runs_dir


def default_runs() -> str:
    """Where commands look for runs, unless --runs says otherwise."""
    return os.environ.get("VIDEOSSR_RUNS") or "runs"


def find_folder(run: str) -> Path | None:
    """The folder of a run, named by it or by the run's name; None: there is no such run here."""
    folders = (Path(run), Path(default_runs()) / run)
    return next((folder for folder in folders if (folder / "config.yaml").exists()), None)


def in_ray_working_copy() -> bool:
    """Whether this process was started in what Ray unpacks for a job."""
    return _RAY_WORKING_COPY in str(Path.cwd())


def _check_unchanged(folder: Path, config: Config) -> None:
    before = flatten(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")))
    now = flatten(config.model_dump(mode="json"))
    changed = [
        f"{key}={now.get(key)!r}: the run was started with {before.get(key)!r}. Leave it so, or start a new "
        "run under another name."
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and not key.startswith(RESUMABLE)
    ]
    if changed:
        raise ConfigError("\n".join(changed))


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by dotted name."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat

"""`runs/NAME/`: claiming it for one process, keeping what an earlier run of that name left."""

import fcntl
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from cluster.config import Config
from cluster.load import ConfigError

# What may differ when a run goes on: how far it goes and what carries it, not what it trains.
RESUMABLE = ("train.", "cluster.", "rollout.", "evaluation.", "runs_dir", "learner.max_restarts")


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
            from the one the run was started with in what it trains.
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
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"name={config.name!r}: a run of that name is going on. Stop it, or choose another name=..."
            ) from None
        if resume:
            _check_unchanged(folder, config)
        elif folder.exists():
            kept = _free(folder.with_name(f"{config.name}-{time.strftime('%Y%m%d-%H%M%S')}"))
            folder.rename(kept)
            on_kept(folder, kept)
            print(f"An earlier run of this name is kept as {kept.name}.")
        folder.mkdir(exist_ok=True)
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
        beside = folder / "config.yaml.new"  # a run whose configuration is cut off could not go on
        beside.write_text(text, encoding="utf-8")
        beside.replace(folder / "config.yaml")
        yield folder


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


def checkpoints(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """A run's checkpoints that hold every rank's shard, with their state, oldest first (their names are times)."""
    found = []
    for file in sorted((folder / "checkpoints" / "learner").glob("checkpoint_*/state.json")):
        state = json.loads(file.read_text())
        if len(list((file.parent / "policy").glob("*_optim_states.pt"))) == state["ranks"]:
            found.append((file.parent, state))
    return found


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint of a run's folder."""
    return next((path for path, _ in reversed(checkpoints(folder))), None)


def best_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the best evaluation, the later of equals; None where none was evaluated."""
    scored = [
        (state["score"], state["step"], path)
        for path, state in checkpoints(folder)
        if state["score"] is not None
    ]
    return max(scored)[2] if scored else None

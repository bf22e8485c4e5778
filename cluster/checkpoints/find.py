"""A run's checkpoints, in its folder or in its bucket."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from cluster.config.errors import ConfigError
from cluster.runs.folder import bulk_files
from store.files import FILE_ERRORS, Files
from vocabulary.problems import NO_VALUE
from vocabulary.text import one_line


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint, which has the shard of every rank.

    Attributes:
        files: the checkpoint's folder, on disk or in a bucket.
        state: content of state.json: `step` (the next one), `cursor`, `score`, `start_model`, `ranks`.
    """

    files: Files
    state: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of its folder, e.g. "checkpoint_2026-01-31_12-00-00.000000"."""
        return PurePosixPath(self.files.address.partition("?")[0]).name

    @contextmanager
    def on_disk(self, scratch: Path) -> Iterator[Path]:
        """Yield the checkpoint's folder; for one in a bucket, a temporary copy of it below `scratch`.

        Raises:
            ConfigError: it cannot be downloaded.
        """
        if not self.files.is_remote:
            yield Path(self.files.address)
            return
        with TemporaryDirectory(prefix=".checkpoint-", dir=scratch) as folder:
            with config_error_if_unreachable(self.files):
                self.files.download(Path(folder))
            yield Path(folder)


def learner_files(folder: Path) -> Files:
    """Return the place where Ray Train keeps the run's checkpoints and the list of them."""
    return bulk_files(folder).below("checkpoints").below("learner")


@contextmanager
def config_error_if_unreachable(files: Files) -> Iterator[None]:
    """Raise ConfigError for storage errors of the block."""
    try:
        yield
    except FILE_ERRORS as error:
        raise ConfigError(
            files.address,
            NO_VALUE,
            f"cannot be reached ({one_line(error)})",
            "Check the address, the credentials and the network",
        ) from None


def list_checkpoints(folder: Path) -> list[Checkpoint]:
    """Return the complete checkpoints of the run in `folder`, oldest first (their names are times).

    Raises:
        ConfigError: the storage cannot be reached.
    """
    return _read_checkpoints(folder)[0]


def last_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the newest complete checkpoint of the run in `folder`; None if there is no checkpoint.

    Raises:
        ConfigError: the storage cannot be reached, or every checkpoint is damaged.
    """
    return next(reversed(_complete_checkpoints(folder)), None)


def best_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the checkpoint with the best held-out score (of equal scores, the latest); None without any score.

    Raises:
        ConfigError: the storage cannot be reached, or every checkpoint is damaged.
    """
    evaluated = [each for each in _complete_checkpoints(folder) if each.state["score"] is not None]
    return max(evaluated, key=lambda each: (each.state["score"], each.state["step"]), default=None)


def _complete_checkpoints(folder: Path) -> list[Checkpoint]:
    complete, damaged = _read_checkpoints(folder)
    if damaged and not complete:
        raise ConfigError(
            learner_files(folder).address,
            NO_VALUE,
            f"no checkpoint is complete (the state.json of {', '.join(damaged)} is truncated)",
            "Wait for the next one, or start the run again",
        )
    return complete


def _read_checkpoints(folder: Path) -> tuple[list[Checkpoint], list[str]]:
    """Return the complete checkpoints, and the names of damaged ones, whose state.json cannot be parsed."""
    files = learner_files(folder)
    complete, damaged = [], []
    with config_error_if_unreachable(files):
        paths = [PurePosixPath(name) for name in files.names()]
        for path in paths:
            if not path.match("checkpoint_*/state.json"):
                continue
            state = _parse_state(files.read(str(path)))
            if state is None:
                damaged.append(path.parent.name)
                continue
            policy = path.parent / "policy"
            shards = sum(each.parent == policy and each.match("*_optim_states.pt") for each in paths)
            if shards == state["ranks"]:
                complete.append(Checkpoint(files.below(str(path.parent)), state))
    return complete, damaged


def _parse_state(text: bytes) -> dict[str, Any] | None:
    try:
        state = json.loads(text)
    except ValueError:
        return None
    return state if isinstance(state, dict) else None

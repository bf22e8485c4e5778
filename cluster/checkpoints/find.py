"""A run's checkpoints, in its folder or in its part of a bucket."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from cluster.config.load import ConfigError
from cluster.runs.folder import bulk_of, one_line
from store.files import TROUBLE, Files


@dataclass(frozen=True)
class Checkpoint:
    """One that holds every rank's shard.

    Args:
        files: of the checkpoint.
        state: of learner.loop: `step` (the next one), `cursor`, `score`, `start_model`, `ranks`.
    """

    files: Files
    state: dict[str, Any]

    @property
    def name(self) -> str:
        return PurePosixPath(self.files.address.partition("?")[0]).name

    @contextmanager
    def on_disk(self, scratch: Path) -> Iterator[Path]:
        """Its folder; one that lies in a bucket is copied below `scratch` for as long as the block lasts.

        Raises:
            ConfigError: it cannot be fetched.
        """
        if not self.files.elsewhere:
            yield Path(self.files.address)
            return
        with TemporaryDirectory(prefix=".checkpoint-", dir=scratch) as folder:
            with reaching(self.files):
                self.files.download(Path(folder))
            yield Path(folder)


def learner_files(folder: Path) -> Files:
    """Where Ray Train keeps the checkpoints of the run in `folder`, and its list of them."""
    return bulk_of(folder).below("checkpoints").below("learner")


@contextmanager
def reaching(files: Files) -> Iterator[None]:
    """What goes wrong with `files` within the block is raised as ConfigError."""
    try:
        yield
    except TROUBLE as error:
        raise ConfigError(
            f"{files.address}: cannot be reached ({one_line(error)}). Check the address, the credentials and the "
            "network."
        ) from None


def checkpoints(folder: Path) -> list[Checkpoint]:
    """The whole ones of the run in `folder`, oldest first (their names are times). Raises ConfigError."""
    return _found(folder)[0]


def last_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint of a run's folder. Raises ConfigError, also where all that there are are cut off."""
    return next(reversed(_whole(folder)), None)


def best_checkpoint(folder: Path) -> Checkpoint | None:
    """The checkpoint of the best evaluation, the later of equals; None where none was evaluated.

    Raises:
        ConfigError: they are out of reach, or all cut off.
    """
    scored = [each for each in _whole(folder) if each.state["score"] is not None]
    return max(scored, key=lambda each: (each.state["score"], each.state["step"]), default=None)


def _whole(folder: Path) -> list[Checkpoint]:
    found, cut_off = _found(folder)
    if cut_off and not found:
        raise ConfigError(
            f"{learner_files(folder).address}: no checkpoint is whole (the state.json of {', '.join(cut_off)} is cut "
            "off). Wait for the next one, or start the run anew."
        )
    return found


def _found(folder: Path) -> tuple[list[Checkpoint], list[str]]:
    """Whole checkpoints, and the names of those whose state cannot be read: the machine failed as it was written."""
    files, found, cut_off = learner_files(folder), [], []
    with reaching(files):
        paths = [PurePosixPath(name) for name in files.names()]
        for path in paths:
            if not path.match("checkpoint_*/state.json"):
                continue
            state = _state(files.read(str(path)))
            if state is None:
                cut_off.append(path.parent.name)
                continue
            policy = path.parent / "policy"
            shards = sum(each.parent == policy and each.match("*_optim_states.pt") for each in paths)
            if shards == state["ranks"]:
                found.append(Checkpoint(files.below(str(path.parent)), state))
    return found, cut_off


def _state(text: bytes) -> dict[str, Any] | None:
    try:
        state = json.loads(text)
    except ValueError:
        return None
    return state if isinstance(state, dict) else None

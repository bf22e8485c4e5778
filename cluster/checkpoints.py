"""A run's checkpoints, in its folder or in its part of a bucket."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from cluster.load import ConfigError
from cluster.run_folder import bulk_of
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
        words = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"{files.address}: cannot be reached ({words}). Check the address, the credentials and the network."
        ) from None


def checkpoints(folder: Path) -> list[Checkpoint]:
    """Those of the run in `folder`, oldest first (their names are times). Raises ConfigError."""
    files, found = learner_files(folder), []
    with reaching(files):
        paths = [PurePosixPath(name) for name in files.names()]
        for path in paths:
            if not path.match("checkpoint_*/state.json"):
                continue
            state = json.loads(files.read(str(path)))
            policy = path.parent / "policy"
            shards = sum(each.parent == policy and each.match("*_optim_states.pt") for each in paths)
            if shards == state["ranks"]:
                found.append(Checkpoint(files.below(str(path.parent)), state))
    return found


def last_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint of a run's folder."""
    return next(reversed(checkpoints(folder)), None)


def best_checkpoint(folder: Path) -> Checkpoint | None:
    """The checkpoint of the best evaluation, the later of equals; None where none was evaluated."""
    scored = [each for each in checkpoints(folder) if each.state["score"] is not None]
    return max(scored, key=lambda each: (each.state["score"], each.state["step"]), default=None)

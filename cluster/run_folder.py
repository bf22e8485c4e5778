"""`runs/NAME/`: claiming it for one process, keeping what an earlier run of that name left."""

import fcntl
import os
import time
from pathlib import Path
from typing import Any

import yaml

from cluster.config import Config
from cluster.load import ConfigError

# What may differ when a run goes on: how far it goes and what carries it, not what it trains.
RESUMABLE = ("train.", "cluster.", "rollout.", "evaluation.", "runs_dir", "learner.max_restarts")


class RunFolder:
    """A run's folder, held by this process until `release`.

    Raises:
        ConfigError: another process holds it; or there is nothing to resume; or the configuration differs
            from the one the run was started with in what it trains.
    """

    def __init__(self, config: Config, *, resume: bool) -> None:
        self.path = Path(config.runs_dir).absolute() / config.name
        if resume and not (self.path / "config.yaml").exists():
            raise ConfigError(f"--resume {config.name}: {self.path} holds no run. Start it without --resume.")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = self._acquire(self.path.parent / f".{config.name}.lock")
        if resume:
            self._check_unchanged(config)
        elif self.path.exists():
            kept = self.path.with_name(f"{config.name}-{time.strftime('%Y%m%d-%H%M%S')}")
            os.rename(self.path, kept)
            print(f"An earlier run of this name is kept as {kept.relative_to(self.path.parent.parent)}.")
        self.path.mkdir(exist_ok=True)
        (self.path / "config.yaml").write_text(
            yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), encoding="utf-8"
        )

    @staticmethod
    def _acquire(path: Path) -> Any:
        handle = path.open("w")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"name={path.name[1:-5]!r}: a run of that name is going on. Stop it, or choose another name=..."
            ) from None
        return handle

    def _check_unchanged(self, config: Config) -> None:
        before = _flatten(yaml.safe_load((self.path / "config.yaml").read_text(encoding="utf-8")))
        now = _flatten(config.model_dump(mode="json"))
        changed = [
            f"{key}={now.get(key)!r}: the run was started with {before.get(key)!r}. Leave it so, or start a new "
            "run under another name."
            for key in sorted(before.keys() | now.keys())
            if before.get(key) != now.get(key) and not key.startswith(RESUMABLE)
        ]
        if changed:
            raise ConfigError("\n".join(changed))

    def release(self) -> None:
        self._lock.close()


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat

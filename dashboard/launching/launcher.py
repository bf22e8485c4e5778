"""What the dashboard needs of whoever starts runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from store.records import RunDetail


class LaunchError(RuntimeError):
    """A run could not be started now, through no fault of the request: no cluster, no room. Says so in words."""


@dataclass(frozen=True)
class Launched:
    """A run that stands in the store, as queued until it begins."""

    run_id: int
    message: str  # what was done


class Launcher(Protocol):
    """Starts and ends runs. Its methods may take their time; they are called in threads, several at once.

    All raise ValueError for what is wrong with the request (a bad configuration, a run that is elsewhere or goes on
    already), and LaunchError.
    """

    def start(self, config_yaml: str, overrides: Sequence[str], by: str) -> Launched:
        """Start a run of this configuration, with `dotted.key=value` overrides."""

    def resume(self, run: RunDetail, by: str) -> Launched:
        """Let a run go on from its last checkpoint, or start again if it never began."""

    def end(self, run: RunDetail) -> str:
        """End a run's processes at once. Returns what was done, in words."""

    def configs(self) -> Mapping[str, str]:
        """The configurations that may be started by name, as YAML."""

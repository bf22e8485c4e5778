"""What the dashboard needs of whoever starts runs."""

from collections.abc import Mapping, Sequence
from typing import Protocol


class LaunchError(RuntimeError):
    """A run could not be started now, through no fault of the request: no cluster, no room. Says so in words."""


class Launcher(Protocol):
    """Starts runs. Its methods may take their time; they are called in threads, several at once.

    Both raise ValueError for what is wrong with the request (a bad configuration, no such run), and LaunchError.
    """

    def start(self, config_yaml: str, overrides: Sequence[str], by: str) -> str:
        """Start a run of this configuration, with `dotted.key=value` overrides. Returns what was done, in words."""

    def resume(self, run_name: str, by: str) -> str:
        """Let a run go on from its last checkpoint. Returns what was done, in words."""

    def configs(self) -> Mapping[str, str]:
        """The configurations that may be started by name, as YAML."""

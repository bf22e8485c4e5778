"""The protocol of what starts, resumes and ends runs for the dashboard."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel

from store.records import RunDetail


class LaunchError(RuntimeError):
    """A run could not be started now, through no fault of the request: no cluster, no room. The message says why."""


@dataclass(frozen=True)
class Launched:
    """A run that is in the store, as queued until it starts."""

    run_id: int
    message: str  # what was done


class Launcher(Protocol):
    """Starts, resumes and ends runs.

    Its methods may take seconds; the dashboard calls them in threads, several at once. They raise ValueError for what
    is wrong with the request (a bad configuration, a run that is elsewhere or already running), and LaunchError.
    """

    @property
    def config_class(self) -> type[BaseModel]:
        """The class of configurations, whose fields say how far each setting may be set over HTTP."""

    def start(self, config_yaml: str, overrides: Sequence[str], by: str) -> Launched:
        """Start a run of this configuration, with `dotted.key=value` overrides."""

    def resume(self, run: RunDetail, by: str) -> Launched:
        """Resume a run from its last checkpoint, or start it again if it never began."""

    def end(self, run: RunDetail) -> str:
        """End a run's processes at once. Returns what was done, in words."""

    def configs(self) -> Mapping[str, str]:
        """Return the configurations that may be started by name, as YAML."""

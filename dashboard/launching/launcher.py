"""The protocol of an object that starts, resumes and ends runs for the dashboard."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel

from store.records import RunDetail


class LaunchError(RuntimeError):
    """The reason why a valid request cannot start a run now, such as an unreachable or full cluster."""


@dataclass(frozen=True)
class Launched:
    """A run that was launched: it is stored as queued until its process starts."""

    run_id: int
    message: str  # what the launcher did, for the person who asked


class Launcher(Protocol):
    """An object that starts, resumes and ends runs.

    The dashboard calls the methods on threads, several at once; each may take seconds. They raise ValueError if the
    request is wrong (a bad configuration, a run on another machine or already running), and LaunchError.
    """

    @property
    def config_class(self) -> type[BaseModel]:
        """The class of configurations. Its fields carry the rules for values over HTTP."""

    def start(self, config_yaml: str, overrides: Sequence[str], by: str) -> Launched:
        """Start a run of this configuration, with `dotted.key=value` overrides."""

    def resume(self, run: RunDetail, by: str) -> Launched:
        """Resume a run from its last checkpoint, or start it again if it never began."""

    def end(self, run: RunDetail) -> str:
        """End a run's processes at once. Return what was done, as a sentence."""

    def configs(self) -> Mapping[str, str]:
        """Return the configurations that may be started by name, as YAML."""

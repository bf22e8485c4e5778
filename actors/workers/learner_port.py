"""A learner rank's connection to the controller."""

from dataclasses import dataclass
from typing import Any

import ray

from actors.process_info import current_process
from learner.commands import Command, CommandReport

_POLL_TIMEOUT_S = 10.0  # of one long poll for a command; between two polls the process can be interrupted


@dataclass(frozen=True)
class LearnerPort:
    """One rank's port for one learner session (learner.loop.CommandPort).

    Args:
        controller: handle of the ControllerActor.
        session: random name of this life of the learner group.
    """

    controller: Any
    session: str

    def joined(self, rank: int) -> None:
        """Tell the controller where a rank runs."""
        self.controller.learner_joined.remote(rank, current_process())

    def begin(self, step: int, cursor: int) -> None:
        """Begin the session; see Controller.begin."""
        ray.get(self.controller.begin.remote(self.session, step, cursor))

    def command(self, number: int) -> Command:
        """Return command `number`, and wait for it as long as it takes."""
        while True:
            call = self.controller.command.remote(self.session, number, _POLL_TIMEOUT_S)
            command: Command | None = ray.get(call)
            if command is not None:
                return command

    def report(self, number: int, report: CommandReport) -> None:
        """Report on command `number`."""
        ray.get(self.controller.report.remote(self.session, number, report))

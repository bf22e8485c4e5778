"""The sequence of commands that the learner carries out, and its reports on them."""

import asyncio

from learner.commands import Command, CommandReport, Stop, Train


class CommandQueue:
    """The commands of one learner session at a time, between the controller and the learner's ranks.

    Invariants:
    - A command is given only after the one before is reported done: its giver holds `turn` until then.
    - Every rank gets every command, however late it asks.
    - `version` is the version of the learner's weights whenever `turn` is free.
    - A restarted learner begins a new session. The ranks and reports of the old one are ignored.
    - Commands up to a finished step are dropped, so a session holds only those since its last step.
    """

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.version = 0
        self._session = ""
        self._commands: list[Command] = []  # given since the last finished step
        self._num_dropped = 0  # number of the first of them
        self._report: asyncio.Future[CommandReport] | None = None  # on the last command
        self._changed = asyncio.Condition()
        self._failure: BaseException | None = None

    # --- called for the learner

    async def begin(self, session: str, version: int) -> None:
        """Start a learner session that holds the weights of `version`. The old session must have been cancelled."""
        async with self._changed:
            self._session, self._commands, self._num_dropped = session, [], 0
            self._report, self._failure = None, None
            self.version = version
            self._changed.notify_all()

    def is_current(self, session: str) -> bool:
        """Return whether `session` is the current one."""
        return session == self._session

    async def command(self, session: str, number: int, wait_s: float) -> Command | None:
        """Return command `number` (from 0) of the session, or None if it is not given within `wait_s`.

        After a failure every command is Stop; `failure` then returns the reason.

        Raises:
            RuntimeError: another session has replaced this one, or the command was dropped.
        """
        async with self._changed:
            ready = self._changed.wait_for(
                lambda: session != self._session or self._failure or number < self._num_given
            )
            try:
                await asyncio.wait_for(ready, wait_s)
            except TimeoutError:
                return None
            if session != self._session:
                raise RuntimeError(f"learner session {session} was replaced by {self._session}.")
            if self._failure is not None:
                return Stop()
            if number < self._num_dropped:
                raise RuntimeError(f"command {number} was carried out before this rank asked for it.")
            return self._commands[number - self._num_dropped]

    def report(self, session: str, number: int, report: CommandReport) -> None:
        """Take rank 0's report on command `number`. Reports of old sessions and repeated ones are ignored."""
        is_last = session == self._session and number == self._num_given - 1
        if is_last and self._report is not None and not self._report.done():
            self._report.set_result(report)

    # --- called by the controller

    async def give(self, command: Command) -> CommandReport:
        """Give the learner its next command and wait for the report. The caller holds `turn`."""
        assert self.turn.locked()
        self._report = asyncio.get_running_loop().create_future()
        async with self._changed:
            self._commands.append(command)
            self._changed.notify_all()
        report = await self._report
        if isinstance(command, Train):
            self.version = command.step + 1
            # Every rank took part in the step, so every rank has fetched the commands up to it.
            self._num_dropped += len(self._commands)
            self._commands = []
        return report

    def cancel(self) -> None:
        """Cancel the task that waits for a report of this session, because none will come."""
        if self._report is not None:
            self._report.cancel()

    async def fail(self, failure: BaseException) -> None:
        """End the session because of `failure`. Only the first failure is kept."""
        async with self._changed:
            self._failure = self._failure or failure
            self._changed.notify_all()

    def failure(self) -> str | None:
        """Return why the run had to end early; None if it did not."""
        return None if self._failure is None else f"{type(self._failure).__name__}: {self._failure}"

    @property
    def _num_given(self) -> int:
        return self._num_dropped + len(self._commands)

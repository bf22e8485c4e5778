"""A child process that decodes videos for its parent, so that a decoder that hangs or crashes does no harm.

Damaged files make decoders loop, crash or request any amount of memory. The sandbox sends each video to a child
process, waits for a limited time, and starts another child if the first one hangs or dies.
"""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from pretext.video.info import Skipped

logger = logging.getLogger(__name__)

TIMEOUT_S = 120.0
INSPECT = "pretext.video.inspect_video:inspect"
CHILD_GRACE_S = 5  # time after the time limit until a child whose parent has died ends itself
_CHILD_START_TIMEOUT_S = 120.0  # time for a child to import its modules on a busy machine

# First words of reasons that may not occur again with more time or on a less busy machine. Datasets store reasons.
RETRYABLE_REASONS = ("decoding did not end", "decoding it ")


class Sandbox:
    """A caller of a function in a child process, one call at a time.

    Args:
        function: the function that the child calls, as "module:name". Arguments and result are pickled.
        timeout_s: time limit for one call.
    """

    def __init__(self, function: str = INSPECT, timeout_s: float = TIMEOUT_S) -> None:
        self._function = function
        self._timeout_s = timeout_s
        self._child: subprocess.Popen[bytes] | None = None
        self._link: Connection | None = None

    def call(self, path: str, *arguments: Any) -> Any:
        """Return `function(path, *arguments)`, or Skipped if the call raised, hung or ended its process.

        Raises RuntimeError if no child can be started.
        """
        link = self._link_to_child()
        try:
            link.send((path, *arguments))
            if not link.poll(self._timeout_s):
                self.close()
                return Skipped(path, f"decoding did not end within {self._timeout_s:g} s")
            kind, result = link.recv()
        except (EOFError, OSError):
            return Skipped(path, f"decoding it {self._describe_end()}")
        return Skipped(path, result) if kind == "skipped" else result

    def close(self) -> None:
        """End the child, if there is one."""
        if self._link is not None:
            self._link.close()
            self._link = None
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _link_to_child(self) -> Connection:
        """Return the connection to a running child, which is started if necessary."""
        if self._child is not None and self._child.poll() is not None:  # It ended while it was idle.
            self.close()
        if self._link is not None:
            return self._link
        self._link, theirs = Pipe()
        self._child = subprocess.Popen(
            _command(theirs.fileno(), self._function, self._timeout_s),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # Decoders write messages about damaged files; call() returns the reason.
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        theirs.close()
        logger.debug("Started process %d to inspect videos", self._child.pid)
        try:
            if self._link.poll(
                _CHILD_START_TIMEOUT_S
            ):  # The time limit of a call starts when the child is ready.
                self._link.recv()
                return self._link
            how = f"was not ready after {_CHILD_START_TIMEOUT_S:g} s"
        except EOFError:
            how = self._describe_end()
        self.close()
        raise RuntimeError(f"The process that inspects videos cannot be started: {sys.executable} {how}.")

    def _describe_end(self) -> str:
        assert self._child is not None
        status = self._child.wait(CHILD_GRACE_S)
        self.close()
        if status < 0:
            return f"killed its process ({signal.Signals(-status).name})"
        return f"ended its process (exit status {status})"


def _command(file_number: int, function: str, timeout_s: float) -> Sequence[str]:
    return [sys.executable, "-m", "dataset.sandbox_child", str(file_number), function, str(timeout_s)]

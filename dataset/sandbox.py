"""A process that decodes for another, and may hang or die doing it.

Damaged video makes decoders loop, crash or ask for all the memory there is. The guard gives each video to a
child process, waits so long and no longer, and starts another child where one is lost.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from pretext.video.info import Rejected

TIMEOUT_S = 120.0
INSPECT = "pretext.video.inspect_video:inspect"
_START_S = 120.0  # for a child to import what it needs, on a machine that is busy
GRACE_S = 5  # after which a child whose guard is gone ends itself

# How the reasons begin of what may go better another time: on a machine that is less busy, or with more time.
MISHAPS = ("decoding did not end", "decoding it ")


class Guard:
    """Calls a function in a child process, one call at a time.

    Args:
        function: "module:name" of what the child calls; its arguments and result are pickled.
        timeout_s: for one call.
    """

    def __init__(self, function: str = INSPECT, timeout_s: float = TIMEOUT_S) -> None:
        self._function = function
        self._timeout_s = timeout_s
        self._child: subprocess.Popen[bytes] | None = None
        self._link: Connection | None = None

    def call(self, path: str, *arguments: Any) -> Any:
        """`function(path, *arguments)`, or Rejected where it raised, hung or lost its process.

        Raises RuntimeError where no child can be started.
        """
        link = self._started()
        try:
            link.send((path, *arguments))
            if not link.poll(self._timeout_s):
                self.close()
                return Rejected(path, f"decoding did not end within {self._timeout_s:g} s")
            kind, result = link.recv()
        except (EOFError, OSError):
            return Rejected(path, f"decoding it {self._how_it_ended()}")
        return Rejected(path, result) if kind == "rejected" else result

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

    def _started(self) -> Connection:
        """The link to a child that can work."""
        if self._child is not None and self._child.poll() is not None:  # ended while it had nothing to do
            self.close()
        if self._link is not None:
            return self._link
        self._link, theirs = Pipe()
        self._child = subprocess.Popen(
            _command(theirs.fileno(), self._function, self._timeout_s),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # decoders' words about damaged files; the reason comes back
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        theirs.close()
        try:
            if self._link.poll(_START_S):  # a call's time counts from when the child can work
                self._link.recv()
                return self._link
            how = f"is not there after {_START_S:g} s"
        except EOFError:
            how = self._how_it_ended()
        self.close()
        raise RuntimeError(f"The process that looks at videos cannot be started: {sys.executable} {how}.")

    def _how_it_ended(self) -> str:
        assert self._child is not None
        status = self._child.wait(GRACE_S)
        self.close()
        if status < 0:
            return f"killed its process ({signal.Signals(-status).name})"
        return f"ended its process (exit status {status})"


def _command(file_number: int, function: str, timeout_s: float) -> Sequence[str]:
    return [sys.executable, "-m", "dataset.sandbox_child", str(file_number), function, str(timeout_s)]

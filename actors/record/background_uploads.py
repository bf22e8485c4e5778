"""Files that are written while their writer does something else."""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from store.files import Files

_THREADS = 4
_MOST_WAITING = 32  # batches; one of 48 frames of 256x256 takes about half a megabyte


@dataclass(frozen=True)
class _Batch:
    files: Mapping[str, bytes]
    then: Callable[[], None]


class BackgroundFiles:
    """Writes batches of files on threads of its own, so that a slow bucket holds up nobody.

    A batch that cannot be written, or that comes while too many wait, is lost. That is raised at the next call, for
    what goes wrong on another thread has nobody to tell.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._waiting: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._failures: deque[Exception] = deque()
        self._given_up = threading.Event()
        # Daemons: a process must be able to end though a bucket does not answer.
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(_THREADS)]
        for thread in self._threads:
            thread.start()

    def write(self, files: Mapping[str, bytes], then: Callable[[], None]) -> None:
        """Write them, soon; `then` is called on another thread when all are there.

        Raises:
            OSError: too many batches wait, so this one is lost.
            Exception: whatever befell an earlier batch.
        """
        if self._waiting.qsize() >= _MOST_WAITING:
            raise OSError(f"{self._files.address} is slower than the run: pictures are left out.")
        self._waiting.put(_Batch(files, then))
        self._raise_failure()

    def close(self, timeout_s: float) -> None:
        """Wait for what is not written yet, but no longer than `timeout_s`. Raises as `write`."""
        deadline = time.monotonic() + timeout_s
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._given_up.set()
        if any(thread.is_alive() for thread in self._threads):
            raise OSError(f"{self._files.address} did not take the last pictures within {timeout_s:g} s.")
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failures:
            raise self._failures.popleft()

    def _work(self) -> None:
        while (batch := self._waiting.get()) is not None and not self._given_up.is_set():
            try:
                for name, data in batch.files.items():
                    self._files.write(name, data)
                if not self._given_up.is_set():  # or what is to be told may be closed by now
                    batch.then()
            except Exception as error:  # whatever it is, the next batch may fare better
                self._failures.append(error)

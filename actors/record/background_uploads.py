"""Files that are uploaded in the background, while their writer continues."""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from store.files import Files

logger = logging.getLogger(__name__)

_NUM_THREADS = 4
_MAX_WAITING = 32  # batches; one of 48 frames of 256x256 px takes about half a megabyte


@dataclass(frozen=True)
class _UploadBatch:
    files: Mapping[str, bytes]
    then: Callable[[], None]


class BackgroundUploads:
    """Threads that write batches of files, so that a slow bucket delays nothing else.

    A batch is lost if it cannot be written, or if too many are waiting. An error on a thread is raised by the next
    call of `write` or `close`.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._waiting: queue.SimpleQueue[_UploadBatch | None] = queue.SimpleQueue()
        self._failures: deque[Exception] = deque(maxlen=_MAX_WAITING)
        self._given_up = threading.Event()
        # Daemon threads: the process must be able to end even if a bucket does not answer.
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(_NUM_THREADS)]
        for thread in self._threads:
            thread.start()

    def write(self, files: Mapping[str, bytes], then: Callable[[], None]) -> None:
        """Write the files soon; `then` is called on another thread when all are written.

        Raises:
            OSError: too many batches are waiting, so this one is lost.
            Exception: the error of an earlier batch.
        """
        if self._waiting.qsize() >= _MAX_WAITING:
            raise OSError(f"{self._files.address} is slower than the run: frames are left out.")
        self._waiting.put(_UploadBatch(files, then))
        self._raise_failure()

    def close(self, timeout_s: float) -> None:
        """Wait until everything is written, but no longer than `timeout_s`. Raises as `write` does."""
        deadline = time.monotonic() + timeout_s
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._given_up.set()
        if any(thread.is_alive() for thread in self._threads):
            raise OSError(f"{self._files.address} did not take the last frames within {timeout_s:g} s.")
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failures:
            raise self._failures.popleft()

    def _work(self) -> None:
        while (batch := self._waiting.get()) is not None and not self._given_up.is_set():
            try:
                for name, data in batch.files.items():
                    self._files.write(name, data)
                if not self._given_up.is_set():  # what `then` writes to may be closed by now
                    batch.then()
                logger.debug("uploaded %d files", len(batch.files))
            except Exception as error:  # whatever it is, the next batch may succeed
                logger.warning("an upload failed: %s", error)
                self._failures.append(error)

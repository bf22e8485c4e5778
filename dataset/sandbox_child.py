"""The child of a Guard: `python -m dataset.sandbox_child FILE_NUMBER MODULE:FUNCTION TIMEOUT_S`."""

import importlib
import resource
import signal
import sys
from multiprocessing.connection import Connection

from dataset.sandbox import GRACE_S
from pretext.video import VideoError

_MOST_BYTES = 16 * 2**30  # of address space: a damaged header must not take the machine's memory


def main(file_number: str, function: str, timeout_s: str) -> None:
    link = Connection(int(file_number))
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the guard's to handle
    module, _, name = function.partition(":")
    call = getattr(importlib.import_module(module), name)
    link.send("ready")
    while True:
        try:
            path, *arguments = link.recv()
        except EOFError:
            return
        # If the guard is gone while this hangs, nobody ends it: then the alarm does, even in native code.
        signal.alarm(int(float(timeout_s)) + GRACE_S)
        try:
            answer = ("done", call(path, *arguments))
        except VideoError as error:
            answer = ("rejected", error.reason)
        except MemoryError:
            answer = ("rejected", f"it takes more than {_MOST_BYTES >> 30} GiB of memory")
        except Exception as error:  # a mistake of ours, which must not cost the other videos
            answer = ("rejected", f"looking at it failed ({type(error).__name__}: {error})")
        signal.alarm(0)
        link.send(answer)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The child process of a Sandbox: `python -m dataset.sandbox_child FILE_NUMBER MODULE:FUNCTION TIMEOUT_S`."""

import importlib
import resource
import signal
import sys
from multiprocessing.connection import Connection

from dataset.sandbox import CHILD_GRACE_S
from pretext.video import VideoError

_MAX_ADDRESS_SPACE_BYTES = 16 * 2**30  # stops a damaged header from using all memory of the machine


def main(file_number: str, function: str, timeout_s: str) -> None:
    """Call the function for each message that arrives, until the parent closes the connection."""
    link = Connection(int(file_number))
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_ADDRESS_SPACE_BYTES, _MAX_ADDRESS_SPACE_BYTES))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent handles Ctrl-C.
    module, _, name = function.partition(":")
    call = getattr(importlib.import_module(module), name)
    link.send("ready")
    while True:
        try:
            path, *arguments = link.recv()
        except EOFError:
            return
        # If the parent dies while this call hangs in native code, only the alarm can end the process.
        signal.alarm(int(float(timeout_s)) + CHILD_GRACE_S)
        try:
            reply = ("done", call(path, *arguments))
        except VideoError as error:
            reply = ("skipped", error.reason)
        except MemoryError:
            reply = ("skipped", f"it takes more than {_MAX_ADDRESS_SPACE_BYTES >> 30} GiB of memory")
        except Exception as error:  # A bug of ours must not affect other videos.
            reply = ("skipped", f"inspecting it failed ({type(error).__name__}: {error})")
        signal.alarm(0)
        link.send(reply)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The function that a sandbox's child calls in tests. It imports little, because each child imports this module."""

import os
import signal
import time
from typing import Any

from pretext.video import VideoError


def act(path: str, *arguments: Any) -> Any:
    """Do the act that `path` names."""
    match path:
        case "echo":
            return os.getpid(), arguments
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            os._exit(3)
        case "hang":
            time.sleep(1000)
        case "hang and ignore":
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
            time.sleep(1000)
        case "refuse":
            raise VideoError(path, "is of no use")
        case "mistake":
            raise KeyError("what we did wrong")
        case "memory":
            return len(bytearray(2**40))
        case "words":
            os.write(1, b"a decoder's words\n")
            os.write(2, b"a decoder's complaint\n")
            return "said"
    return None

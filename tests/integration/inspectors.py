"""What tests have look at videos, in place of `pretext.video.inspect_video.inspect`."""

import os
import signal
import time
from pathlib import Path

from pretext.video.frames import FrameSpec, SampledVideo
from pretext.video.inspect_video import inspect


def slow(path: str, spec: FrameSpec) -> SampledVideo:
    """Takes its time, and leaves a line in `../looked_at` for each video."""
    time.sleep(0.3)
    with (Path(path).parents[1] / "looked_at").open("a") as file:
        file.write(f"{Path(path).name}\n")
    return inspect(path, spec)


def mishap(path: str, spec: FrameSpec) -> SampledVideo:
    """Hangs or dies, as decoders do, where the name of a video says so."""
    if Path(path).stem == "hang":
        time.sleep(1000)
    if Path(path).stem == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    return inspect(path, spec)

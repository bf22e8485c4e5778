"""Replacements for `pretext.video.inspect_video.inspect` that are slow, hang or crash."""

import os
import signal
import time
from pathlib import Path

from pretext.video.frames import FrameSpec, SampledVideo
from pretext.video.inspect_video import inspect


def slow(path: str, spec: FrameSpec) -> SampledVideo:
    """Inspect slowly, and append a line to `../looked_at` for each video."""
    time.sleep(0.3)
    with (Path(path).parents[1] / "looked_at").open("a") as file:
        file.write(f"{Path(path).name}\n")
    return inspect(path, spec)


def mishap(path: str, spec: FrameSpec) -> SampledVideo:
    """Hang on a video named "hang" and crash on one named "crash", as decoders do on damaged videos."""
    if Path(path).stem == "hang":
        time.sleep(1000)
    if Path(path).stem == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    return inspect(path, spec)

"""What frames look like, as far as it decides which anomalies would show in them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pretext.recipe import Frames

_EVERY = 8  # pixels between those that are compared: traits are rough, and all videos pass through here


@dataclass(frozen=True)
class Traits:
    """Mean absolute differences of pixel values, of 255."""

    colour: float  # between the channels: 0 for a grey video
    mirrored: float  # between a frame and its mirror image
    turned: float  # between a frame and itself upside down
    motion: tuple[float, ...]  # between each frame and the next, [num_frames - 1]


def look_at(frames: Frames) -> Traits:
    """Traits of frames, [num_frames, height, width, 3] uint8."""
    few = _thinned(frames)
    return Traits(
        colour=_mean(np.abs(few - np.roll(few, 1, axis=-1))),
        # Turned first and thinned afterwards, so that a pixel meets its own mirror image.
        mirrored=_mean(np.abs(few - _thinned(frames[:, :, ::-1]))),
        turned=_mean(np.abs(few - _thinned(frames[:, ::-1, ::-1]))),
        motion=tuple(np.abs(np.diff(few, axis=0)).mean((1, 2, 3)).round(1).tolist()),
    )


def _thinned(frames: Frames) -> NDArray[np.int16]:
    return frames[:, ::_EVERY, ::_EVERY].astype(np.int16)


def _mean(values: np.ndarray) -> float:
    return round(float(values.mean()), 1)

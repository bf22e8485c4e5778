"""Statistics of frames, which decide which anomalies would be visible."""

from dataclasses import dataclass

import numpy as np

from pretext.recipe import Frames


@dataclass(frozen=True)
class FrameStats:
    """Mean absolute differences of pixel values, on a scale of 0 to 255."""

    colour: float  # between the channels: 0 for a grey video
    mirrored: float  # between a frame and its mirror image
    turned: float  # between a frame and itself upside down
    motion: tuple[float, ...]  # between each frame and the next, [num_frames - 1]


def measure_frames(frames: Frames) -> FrameStats:
    """Return the statistics of frames, [num_frames, height, width, 3] uint8."""
    values = frames.astype(np.int16)
    return FrameStats(
        colour=_mean(np.abs(values - np.roll(values, 1, axis=-1))),
        mirrored=_mean(np.abs(values - values[:, :, ::-1])),
        turned=_mean(np.abs(values - values[:, ::-1, ::-1])),
        motion=tuple(np.abs(np.diff(values, axis=0)).mean((1, 2, 3)).round(1).tolist()),
    )


def _mean(values: np.ndarray) -> float:
    return round(float(values.mean()), 1)

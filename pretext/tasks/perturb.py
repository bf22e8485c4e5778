"""The anomalies: pure functions on frames, [num_frames, height, width, 3] uint8, RGB.

None makes pixels out of pixels that were scaled before: those that move them (mirror, rotations, channel swaps)
leave sharpness and compression as they were, and zoomed frames are read anew from the source at their own size,
the way the untouched ones were. So the anomaly itself is all that tells an altered frame from another.
"""

from collections.abc import Sequence
from functools import cache
from statistics import NormalDist

import cv2
import numpy as np
from numpy.typing import NDArray

from pretext.recipe import Frames

_LUMA = np.array([0.299, 0.587, 0.114])  # BT.601, of R, G, B


def swap_channels(frames: Frames, order: Sequence[int]) -> Frames:
    """New channel c is the old channel order[c]: (2, 1, 0) exchanges red and blue."""
    return frames[..., list(order)]


def mirror(frames: Frames) -> Frames:
    """Left and right exchanged."""
    return frames[:, :, ::-1]


def rotate_180(frames: Frames) -> Frames:
    """Upside down, as of a camera held the wrong way round (left and right are exchanged too)."""
    return frames[:, ::-1, ::-1]


def invert(frames: Frames) -> Frames:
    """Light and dark exchanged, as on a photographic negative."""
    return ~frames


def saturate(frames: Frames, factor: float) -> Frames:
    """Every colour `factor` times as far from grey of its own brightness; 0 leaves the grey alone."""
    matrix = factor * np.eye(3) + (1 - factor) * np.broadcast_to(_LUMA, (3, 3))
    return np.stack([cv2.transform(frame, matrix) for frame in frames]).astype(np.uint8, copy=False)


def blur(frames: Frames, sigma_px: float) -> Frames:
    """Out of focus: a Gaussian of standard deviation `sigma_px`."""
    return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma_px) for frame in frames]).astype(
        np.uint8, copy=False
    )


def add_noise(frames: Frames, sigma: float, rng: np.random.Generator) -> Frames:
    """Gaussian noise of standard deviation `sigma` (of 255), clipped; a normal quantile per random byte."""
    levels = np.rint(_quantiles() * sigma).astype(np.int16)
    noise = levels[np.frombuffer(rng.bytes(frames.size), np.uint8)].reshape(frames.shape)
    return np.clip(noise + frames, 0, 255).astype(np.uint8)


def crop_square(frames: Frames) -> Frames:
    """The largest square in the middle, so that a quarter turn moves pixels and makes none."""
    _, height, width, _ = frames.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return frames[:, top : top + side, left : left + side]


def rotate_quarter(frames: Frames, turns: int) -> Frames:
    """`turns` quarter turns clockwise of square frames."""
    return np.rot90(frames, -turns, axes=(1, 2))


def bordered(small: Frames, size: tuple[int, int]) -> Frames:
    """Frames in the middle of black ones of `size` (height, width)."""
    num_frames, small_height, small_width, _ = small.shape
    height, width = size
    top, left = (height - small_height) // 2, (width - small_width) // 2
    frames = np.zeros((num_frames, height, width, 3), np.uint8)
    frames[:, top : top + small_height, left : left + small_width] = small
    return frames


@cache
def _quantiles() -> NDArray[np.float64]:
    normal = NormalDist()
    return np.array([normal.inv_cdf((byte + 0.5) / 256) for byte in range(256)])

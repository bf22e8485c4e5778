"""The anomalies: pure functions on frames, [num_frames, height, width, 3] uint8, RGB.

Anomalies that only move pixels (mirror, rotations, channel swaps) leave sharpness and compression unchanged. Zooms
compute new pixels, so the untouched frames of the sample are resampled the same way. Nothing but the anomaly itself
distinguishes an altered frame from another.
"""

from collections.abc import Sequence
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from pretext.recipe import Frames

_LUMA = np.array([0.299, 0.587, 0.114])  # BT.601, of R, G, B


def swap_channels(frames: Frames, order: Sequence[int]) -> Frames:
    """Make the old channel order[c] the new channel c: (2, 1, 0) exchanges red and blue."""
    return frames[..., list(order)]


def mirror(frames: Frames) -> Frames:
    """Exchange left and right."""
    return frames[:, :, ::-1]


def rotate_180(frames: Frames) -> Frames:
    """Turn frames upside down, like a camera held the wrong way round: left and right are exchanged too."""
    return frames[:, ::-1, ::-1]


def invert(frames: Frames) -> Frames:
    """Exchange light and dark, as on a photographic negative."""
    return ~frames


def saturate(frames: Frames, factor: float) -> Frames:
    """Move every colour `factor` times as far from the grey of its brightness; 0 leaves only grey."""
    import cv2

    matrix = factor * np.eye(3) + (1 - factor) * np.broadcast_to(_LUMA, (3, 3))
    return np.stack([cv2.transform(frame, matrix) for frame in frames]).astype(np.uint8, copy=False)


def blur(frames: Frames, sigma_px: float) -> Frames:
    """Blur with a Gaussian of standard deviation `sigma_px`, as if out of focus."""
    import cv2

    return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma_px) for frame in frames]).astype(
        np.uint8, copy=False
    )


def add_noise(frames: Frames, sigma: float, rng: np.random.Generator) -> Frames:
    """Add Gaussian noise of standard deviation `sigma` (of 0 to 255) and clip; one random byte decides each value."""
    levels = np.rint(_quantiles() * sigma).astype(np.int16)
    noise = levels[np.frombuffer(rng.bytes(frames.size), np.uint8)].reshape(frames.shape)
    return np.clip(noise + frames, 0, 255).astype(np.uint8)


def crop_square(frames: Frames) -> Frames:
    """Cut out the largest square in the middle, so that a quarter turn only moves pixels."""
    side = min(frames.shape[1:3])
    return _middle(frames, frames[:, :side, :side])


def rotate_quarter(frames: Frames, turns: int) -> Frames:
    """Turn square frames clockwise by `turns` quarter turns."""
    return np.rot90(frames, -turns, axes=(1, 2))


def zoom_in(frames: Frames, segment: slice, factor: float) -> Frames:
    """Enlarge the middle of the segment's frames by `factor`.

    All frames pass through the same smaller grid: the segment's are cut out of the middle at that size, the others are
    shrunk to it, and then all are enlarged alike.
    """
    small = _resized(frames, _smaller(frames, factor))
    small[segment] = _middle(frames[segment], small)
    return _resized(small, frames.shape[1:3])


def zoom_out(frames: Frames, segment: slice, factor: float) -> Frames:
    """Show the segment's frames smaller by `factor`, on black.

    All frames are shrunk to the same smaller grid, and the others are enlarged again.
    """
    small = _resized(frames, _smaller(frames, factor))
    zoomed = _resized(small, frames.shape[1:3])
    zoomed[segment] = 0
    _middle(zoomed[segment], small)[:] = small[segment]
    return zoomed


def _smaller(frames: Frames, factor: float) -> tuple[int, int]:
    """Return the (height, width) of frames that are smaller by `factor`."""
    return max(1, round(frames.shape[1] / factor)), max(1, round(frames.shape[2] / factor))


def _middle(frames: Frames, like: Frames) -> Frames:
    """Return a view of the middle of each frame, with the size of the frames in `like`."""
    _, height, width, _ = like.shape
    top, left = (frames.shape[1] - height) // 2, (frames.shape[2] - width) // 2
    return frames[:, top : top + height, left : left + width]


def _resized(frames: Frames, size: Sequence[int]) -> Frames:
    """Resize frames to `size` (height, width), bilinearly, which suits mild zooms; averaging takes 8 times as long."""
    import cv2

    resized = np.empty((len(frames), *size, 3), np.uint8)
    for frame, target in zip(frames, resized, strict=True):
        cv2.resize(frame, (size[1], size[0]), dst=target, interpolation=cv2.INTER_LINEAR)
    return resized


@cache
def _quantiles() -> NDArray[np.float64]:
    """Return the normal quantile of each byte, [256]."""
    normal = NormalDist()
    return np.array([normal.inv_cdf((byte + 0.5) / 256) for byte in range(256)])

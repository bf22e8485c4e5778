"""The anomalies: pure functions on frames, [num_frames, height, width, 3] uint8, RGB.

Those that move pixels without making new ones (mirror, rotations, channel swaps) leave sharpness and
compression as they were. Where pixels have to be made anew (zooms), the untouched frames of the sample take the
same way, so that the anomaly itself is all that tells an altered frame from another.
"""

from collections.abc import Sequence
from functools import cache
from statistics import NormalDist

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
    import cv2

    matrix = factor * np.eye(3) + (1 - factor) * np.broadcast_to(_LUMA, (3, 3))
    return np.stack([cv2.transform(frame, matrix) for frame in frames]).astype(np.uint8, copy=False)


def blur(frames: Frames, sigma_px: float) -> Frames:
    """Out of focus: a Gaussian of standard deviation `sigma_px`."""
    import cv2

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
    side = min(frames.shape[1:3])
    return _middle(frames, frames[:, :side, :side])


def rotate_quarter(frames: Frames, turns: int) -> Frames:
    """`turns` quarter turns clockwise of square frames."""
    return np.rot90(frames, -turns, axes=(1, 2))


def zoom_in(frames: Frames, segment: slice, factor: float) -> Frames:
    """Frames of the segment show their middle, `factor` times larger.

    All frames pass through the same smaller grid: the segment's are cut out of the middle at that size, the
    others shrunk to it, and then all are enlarged alike.
    """
    small = _resized(frames, _smaller(frames, factor))
    small[segment] = _middle(frames[segment], small)
    return _resized(small, frames.shape[1:3])


def zoom_out(frames: Frames, segment: slice, factor: float) -> Frames:
    """Frames of the segment are shown `factor` times smaller, on black.

    All frames are shrunk to the same smaller grid; the others are enlarged again.
    """
    small = _resized(frames, _smaller(frames, factor))
    zoomed = _resized(small, frames.shape[1:3])
    zoomed[segment] = 0
    _middle(zoomed[segment], small)[:] = small[segment]
    return zoomed


def _smaller(frames: Frames, factor: float) -> tuple[int, int]:
    """(height, width), `factor` times smaller."""
    return max(1, round(frames.shape[1] / factor)), max(1, round(frames.shape[2] / factor))


def _middle(frames: Frames, like: Frames) -> Frames:
    """A view of the middle of each frame, of the size of those of `like`."""
    _, height, width, _ = like.shape
    top, left = (frames.shape[1] - height) // 2, (frames.shape[2] - width) // 2
    return frames[:, top : top + height, left : left + width]


def _resized(frames: Frames, size: Sequence[int]) -> Frames:
    """Frames of `size` (height, width); to half of it at most, where averaging would take 8 times as long."""
    import cv2

    resized = np.empty((len(frames), *size, 3), np.uint8)
    for frame, target in zip(frames, resized, strict=True):
        cv2.resize(frame, (size[1], size[0]), dst=target, interpolation=cv2.INTER_LINEAR)
    return resized


@cache
def _quantiles() -> NDArray[np.float64]:
    normal = NormalDist()
    return np.array([normal.inv_cdf((byte + 0.5) / 256) for byte in range(256)])

"""The four anomalies: pure functions from frames to frames, [num_frames, height, width, 3] uint8, RGB."""

from collections.abc import Sequence

import cv2
import numpy as np

from pretext.recipe import Frames


def swap_channels(frames: Frames, order: Sequence[int]) -> Frames:
    """New channel c is the old channel order[c]: (2, 1, 0) exchanges red and blue."""
    return frames[..., list(order)]


def mirror(frames: Frames) -> Frames:
    """Left and right exchanged."""
    return frames[:, :, ::-1]


def rotate_180(frames: Frames) -> Frames:
    """Upside down, as of a camera held the wrong way round (left and right are exchanged too)."""
    return frames[:, ::-1, ::-1]


def zoom_out(frames: Frames, factor: float) -> Frames:
    """Each frame shrunk to `factor` of its height and width and centred; the border is black."""
    _, height, width, _ = frames.shape
    small_height, small_width = max(1, round(height * factor)), max(1, round(width * factor))
    top, left = (height - small_height) // 2, (width - small_width) // 2
    zoomed = np.zeros_like(frames)
    for target, frame in zip(zoomed, frames, strict=True):
        small = cv2.resize(frame, (small_width, small_height), interpolation=cv2.INTER_AREA)
        target[top : top + small_height, left : left + small_width] = small
    return zoomed

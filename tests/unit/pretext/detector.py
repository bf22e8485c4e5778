"""A detector of edited frames that ignores content. It uses only how well frames compress and how sharp they are."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pretext.recipe import Frames

_NEWTON_STEPS = 25
_RIDGE = 1.0


class Detector:
    """The detector's features of frames, cached because the same frame is in many samples."""

    def __init__(self) -> None:
        self._kept: dict[tuple[bytes, tuple[int, ...]], list[float]] = {}

    def features(self, frames: Frames) -> NDArray[np.float64]:
        """Return features [num_frames, 5], standardised within the clip: only differences between frames remain.

        A parabola fitted over time is subtracted, because slow changes come from the content.
        """
        found = np.array([self._of_frame(frame) for frame in frames], np.float64)
        slow = np.vander(np.linspace(-1, 1, len(found)), 3)
        found -= slow @ np.linalg.lstsq(slow, found, rcond=None)[0]
        spread = found.std(0)
        return np.where(spread > 1e-9, found / np.maximum(spread, 1e-9), 0.0)

    def _of_frame(self, frame: Frames) -> list[float]:
        """Return five features: JPEG size (quality 90), lossless size, sharpness, block seams, number of values.

        Every feature is symmetric in channels and in directions; otherwise it would detect content, such as a blue
        sky or which way is up. PNG sizes are not symmetric: alone, they recognise a quarter turn of frames (AUC 0.59).
        So the lossless size is measured as the entropy of differences between neighbouring pixels, which PNG encodes.
        """
        key = (frame.tobytes(), frame.shape)
        if key not in self._kept:
            channels = [frame[..., channel] for channel in range(3)]
            turned = [np.ascontiguousarray(channel.T) for channel in channels]
            jpegs = [_jpeg_size(np.concatenate(images)) for images in (channels, turned)]
            self._kept[key] = [
                np.log(sum(jpegs)),
                _entropy_of_steps(frame),
                np.log1p(cv2.Laplacian(frame, cv2.CV_32F).var(axis=(0, 1)).mean()),
                float(np.mean([_blockiness(image) for image in (*channels, *turned)])),
                float(frame.size),
            ]
        return self._kept[key]


def held_out_auc(clips: Sequence[tuple[NDArray[np.float64], NDArray[np.bool_]]]) -> float:
    """Return the AUC of a classifier that is trained on every other clip and measured on the rest.

    The AUC is the probability that an edited frame gets a higher score than an untouched one; 0.5 is chance.

    Args:
        clips: for each clip, the features of its frames and which frames are edited.
    """
    weights = _fit(*_stacked(clips[::2]))
    looks, edited = _stacked(clips[1::2])
    scores = looks @ weights
    order = scores.argsort()
    ranks = np.empty(len(scores))
    ranks[order] = np.arange(1, len(scores) + 1)
    for value in np.unique(scores[order][:-1][np.diff(scores[order]) == 0]):  # Ties count half.
        ranks[scores == value] = ranks[scores == value].mean()
    num_edited = int(edited.sum())
    wins = ranks[edited].sum() - num_edited * (num_edited + 1) / 2
    return float(wins / (num_edited * (len(scores) - num_edited)))


def _stacked(
    clips: Sequence[tuple[NDArray[np.float64], NDArray[np.bool_]]],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    looks = np.concatenate([found for found, _ in clips])
    return np.hstack([looks, np.ones((len(looks), 1))]), np.concatenate([edited for _, edited in clips])


def _fit(looks: NDArray[np.float64], edited: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the weights, [num_features], of logistic regression with a small ridge penalty, by Newton's method."""
    weights = np.zeros(looks.shape[1])
    for _ in range(_NEWTON_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(looks @ weights, -30, 30)))
        slope = looks.T @ (chance - edited) + _RIDGE * weights
        curve = (looks * (chance * (1 - chance))[:, None]).T @ looks + _RIDGE * np.eye(len(weights))
        weights -= np.linalg.solve(curve, slope)
    return weights


def _jpeg_size(image: NDArray[np.uint8]) -> int:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].size


def _entropy_of_steps(frame: Frames) -> float:
    """Return the entropy, in bits, of the differences between neighbouring pixels."""
    signed = frame.astype(np.int16)
    steps = np.concatenate([np.abs(np.diff(signed, axis=axis)).ravel() for axis in (0, 1)])
    counts = np.bincount(steps, minlength=256)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


def _blockiness(image: NDArray[np.uint8]) -> float:
    """Return the pixel differences across the vertical seams of 8x8 blocks, relative to those inside blocks."""
    steps = np.abs(np.diff(image.astype(np.int16), axis=1)).mean(0)
    seams = np.arange(len(steps)) % 8 == 7
    return float(steps[seams].mean() / (steps[~seams].mean() + 1e-3))

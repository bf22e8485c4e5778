"""A detector that knows nothing of what frames show: only how they compress and how sharp they are."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pretext.recipe import Frames

_STEPS = 25  # of Newton's method
_RIDGE = 1.0


def features(frames: Frames) -> NDArray[np.float64]:
    """Per frame [num_frames, 5], standardised within the clip: only what sets a frame apart from others of it.

    JPEG size at quality 90, PNG size, sharpness (variance of the Laplacian, the mean over the channels, so that
    exchanging them changes nothing), seams between 8x8 blocks against those beside them, and frame size.
    """
    rows = []
    for frame in frames:
        as_bgr = np.ascontiguousarray(frame[..., ::-1])
        jpeg = cv2.imencode(".jpg", as_bgr, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].size
        png = cv2.imencode(".png", as_bgr, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].size
        sharpness = cv2.Laplacian(frame, cv2.CV_32F).var(axis=(0, 1)).mean()
        rows.append((np.log(jpeg), np.log(png), np.log1p(sharpness), _blockiness(frame), float(frame.size)))
    found = np.array(rows, np.float64)
    spread = found.std(0)
    return np.where(spread > 1e-9, (found - found.mean(0)) / np.maximum(spread, 1e-9), 0.0)


def held_out_auc(clips: Sequence[tuple[NDArray[np.float64], NDArray[np.bool_]]]) -> float:
    """(features, which frames were edited) of each clip: learnt on every other clip, measured on the rest.

    AUC: how often an edited frame looks more edited than an untouched one; 0.5 is chance.
    """
    weights = _fit(*_stacked(clips[::2]))
    looks, edited = _stacked(clips[1::2])
    scores = looks @ weights
    order = scores.argsort()
    ranks = np.empty(len(scores))
    ranks[order] = np.arange(1, len(scores) + 1)
    for value in np.unique(scores[order][:-1][np.diff(scores[order]) == 0]):  # ties count half
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
    """Logistic regression with a little ridge, by Newton's method: [num_features]."""
    weights = np.zeros(looks.shape[1])
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(looks @ weights, -30, 30)))
        slope = looks.T @ (chance - edited) + _RIDGE * weights
        curve = (looks * (chance * (1 - chance))[:, None]).T @ looks + _RIDGE * np.eye(len(weights))
        weights -= np.linalg.solve(curve, slope)
    return weights


def _blockiness(frame: Frames) -> float:
    """Steps of brightness across the seams of 8x8 blocks, against those inside them, in both directions."""
    grey = frame.astype(np.float32).mean(-1)
    ratios = []
    for image in (grey, grey.T):
        steps = np.abs(np.diff(image, axis=1)).mean(0)
        seams = np.arange(len(steps)) % 8 == 7
        ratios.append(steps[seams].mean() / (steps[~seams].mean() + 1e-3))
    return float(np.mean(ratios))

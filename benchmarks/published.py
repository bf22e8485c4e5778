"""The published procedure for making pretext data, re-implemented as a reference for measurements.

It does what VideoSSR's scripts do: decord reads 48 frames of the middle 90 % at full size, and each is saved as JPEG.
Then every task reads the saved frames that it edits, and saves the edited ones as further files.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import decord
import numpy as np

NUM_FRAMES = 48


@dataclass(frozen=True)
class Saved:
    """The saved frames of a video."""

    folder: Path
    files: tuple[Path, ...]  # [NUM_FRAMES]


def sample(video: str, folder: Path) -> Saved:
    """Save 48 frames of a video as JPEG files."""
    reader = decord.VideoReader(video)
    first, end = int(len(reader) * 0.05), int(len(reader) * 0.95)
    step = (end - first) // NUM_FRAMES
    if step < 1:
        raise ValueError(f"{video}: too short")
    frames = reader.get_batch([first + i * step for i in range(NUM_FRAMES)]).asnumpy()
    folder.mkdir(parents=True)
    files = []
    for number, frame in enumerate(frames):
        files.append(folder / f"{number}.jpg")
        cv2.imwrite(str(files[-1]), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    return Saved(folder, tuple(files))


def ground(saved: Saved, rng: np.random.Generator) -> None:
    """Make a sample of anomaly grounding: a segment of 8 to 16 frames with one of four anomalies."""
    kind = int(rng.integers(4))
    length = int(rng.integers(8, 17))
    first = int(rng.integers(NUM_FRAMES - length + 1))
    for file in saved.files[first : first + length]:
        image = cv2.imread(str(file))
        cv2.imwrite(str(file.with_stem(f"{file.stem}_edited")), _edited(image, kind, rng))


def count(saved: Saved, rng: np.random.Generator) -> None:
    """Make a sample of object counting: each kind of shape on 1 to 3 frames, 1 to 3 per frame."""
    for kind in range(3):
        for number in rng.choice(NUM_FRAMES, int(rng.integers(1, 4)), replace=False):
            file = saved.files[number]
            image = cv2.imread(str(file))
            height, width = image.shape[:2]
            for _ in range(int(rng.integers(1, 4))):
                middle = (int(rng.integers(width)), int(rng.integers(height)))
                colour = [int(value) for value in rng.integers(50, 256, 3)]
                cv2.circle(image, middle, max(4, min(height, width) // 6), colour, cv2.FILLED)
            cv2.imwrite(str(file.with_stem(f"{file.stem}_shapes{kind}")), image)


def load(files: tuple[Path, ...], size: tuple[int, int]) -> np.ndarray:
    """Read 48 JPEG files and resize them to (height, width), as training does with a sample."""
    height, width = size
    return np.stack([cv2.resize(cv2.imread(str(file)), (width, height)) for file in files])


def _edited(image: np.ndarray, kind: int, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    if kind == 0:
        return image[..., ::-1]
    if kind == 1:
        return cv2.flip(image, 1)
    if kind == 2:
        return cv2.rotate(image, cv2.ROTATE_180)
    scale = rng.uniform(1.2, 1.4)
    small = cv2.resize(image, (int(width / scale), int(height / scale)), interpolation=cv2.INTER_LANCZOS4)
    bordered = np.zeros_like(image)
    top, left = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
    bordered[top : top + small.shape[0], left : left + small.shape[1]] = small
    return bordered

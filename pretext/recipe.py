"""What a sample is made of: the recipe, which is stored, and what rendering it gives."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]  # [num_frames, height, width, 3], RGB

IMAGES = "images"  # the `reader` of a recipe whose clips are lists of image files, made by others


@dataclass(frozen=True)
class Recipe:
    """One sample, small enough for a line of JSON. Its question and frames follow from it and from the
    video."""

    task: str
    video: str  # path or URL of the source
    reader: str  # "pyav", "decord" or IMAGES: with the same reader, the same bytes of frames
    frame_indices: tuple[int, ...]  # in the order of presentation, ascending
    frame_times_s: tuple[float, ...]  # presentation time of each, counted from the source's first frame
    height_px: int
    width_px: int
    params: dict[str, Any]  # everything the task drew, JSON values; rendering draws nothing
    seed: int
    answer: str  # the ground truth, in the form `reward.score` reads

    @cached_property
    def id(self) -> str:
        """16 hex digits of the SHA-256 of `to_json()`: equal recipes have equal ids, in every process."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces, ASCII."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        """The recipe that `to_json` wrote. Raises ValueError for anything else."""
        try:
            fields = json.loads(text)
            fields["frame_indices"] = tuple(fields["frame_indices"])
            fields["frame_times_s"] = tuple(fields["frame_times_s"])
            return cls(**fields)
        except (TypeError, KeyError) as error:
            raise ValueError(f"not a recipe ({error}): {text[:80]!r}") from error


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames that the model is shown as one video."""

    frames: Frames  # [num_frames, height, width, 3] uint8, RGB
    times_s: NDArray[np.float64]  # [num_frames], the time the model is told for each frame


@dataclass(frozen=True, eq=False)
class Sample:
    """A rendered recipe: what the model is asked."""

    recipe: Recipe
    clips: tuple[Clip, ...]
    content: tuple[str | int, ...]  # the question in reading order; an int k stands for clips[k]

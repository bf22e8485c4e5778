"""The data types of a sample: the recipe, which is stored, and the clips and question that it renders to."""

import hashlib
import json
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]  # [num_frames, height, width, 3], RGB

IMAGES = "images"  # the `reader` of an imported recipe, whose clips are lists of image files

# The truth is stored as "answer". Ids are hashes of the stored form, and samples, sheets and exports on users' disks
# are found by id, so this name cannot change.
_STORED_NAMES = {"truth": "answer"}
_FIELD_NAMES = {stored: name for name, stored in _STORED_NAMES.items()}


@dataclass(frozen=True)
class Recipe:
    """A sample as a record that fits in a line of JSON. The recipe and the video determine its question and frames."""

    task: str
    video: str  # path or URL of the source
    reader: str  # "pyav", "decord" or IMAGES; with the same reader, frames have the same bytes
    frame_indices: tuple[int, ...]  # in order of presentation, ascending
    frame_times_s: tuple[float, ...]  # presentation time of each frame, from the source's first frame
    height_px: int
    width_px: int
    params: dict[str, Any]  # all random choices of the task, as JSON values; rendering makes none
    seed: int
    truth: str  # the right answer, in the form that `reward.score` reads

    @cached_property
    def id(self) -> str:
        """16 hex digits of the SHA-256 of `to_json()`. Equal recipes have equal ids in every process."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_stored(self) -> dict[str, Any]:
        """Return the fields under the names that files use."""
        return {
            _STORED_NAMES.get(field.name, field.name): getattr(self, field.name) for field in fields(self)
        }

    @classmethod
    def from_stored(cls, stored: dict[str, Any]) -> Self:
        """Return the recipe with the fields of `to_stored`. Raises KeyError or TypeError for other fields."""
        values = {_FIELD_NAMES.get(name, name): value for name, value in stored.items()}
        values["frame_indices"] = tuple(values["frame_indices"])
        values["frame_times_s"] = tuple(values["frame_times_s"])
        return cls(**values)

    def to_json(self) -> str:
        """Return canonical JSON: sorted keys, no spaces, ASCII."""
        return json.dumps(self.to_stored(), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the recipe that `to_json` wrote. Raises ValueError for any other text."""
        try:
            return cls.from_stored(json.loads(text))
        except (AttributeError, TypeError, KeyError) as error:
            raise ValueError(f"not a recipe ({error}): {text[:80]!r}") from error


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames that the model gets as one video."""

    frames: Frames  # [num_frames, height, width, 3] uint8, RGB
    times_s: NDArray[np.float64]  # [num_frames], time of each frame as given to the model


@dataclass(frozen=True, eq=False)
class Sample:
    """A rendered recipe: its clips and the question about them."""

    recipe: Recipe
    clips: tuple[Clip, ...]
    content: tuple[str | int, ...]  # the question in reading order; an int k stands for clips[k]

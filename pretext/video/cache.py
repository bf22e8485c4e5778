"""Decoded frames, kept while there is room: a video gives many samples, and decoding is what costs."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import cast

from pretext.recipe import Frames, Recipe
from pretext.video import Reader, read_frames


@dataclass(frozen=True)
class FrameKey:
    """Frames of a video: the same key, the same bytes."""

    path: str
    reader: str
    indices: tuple[int, ...]
    height_px: int
    width_px: int
    cover: bool = False  # see `Video.read`


class FrameCache:
    """Frames of videos, least recently used ones dropped first.

    Args:
        max_bytes: of frames kept; what is larger than that is read each time.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._kept: OrderedDict[FrameKey, Frames] = OrderedDict()

    def frames(self, key: FrameKey, *, keep: bool = True) -> Frames:
        """Read-only frames, [len(key.indices), height_px, width_px, 3] uint8. Raises VideoError."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        frames = read_frames(
            key.path,
            key.indices,
            height_px=key.height_px,
            width_px=key.width_px,
            reader=cast(Reader, key.reader),
            cover=key.cover,
        )
        frames.flags.writeable = False  # a task that wrote into them would spoil every later sample
        if not keep:
            return frames
        self._kept[key] = frames
        self._num_bytes += frames.nbytes
        while self._num_bytes > self._max_bytes:
            _, dropped = self._kept.popitem(last=False)
            self._num_bytes -= dropped.nbytes
        return frames


def source_frames(recipe: Recipe) -> FrameKey:
    """The frames that a recipe is made from."""
    return FrameKey(recipe.video, recipe.reader, recipe.frame_indices, recipe.height_px, recipe.width_px)

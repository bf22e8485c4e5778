"""A cache of decoded frames, because many samples come from one video and decoding is slow."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import cast

from pretext.recipe import Frames, Recipe
from pretext.video.info import Reader
from pretext.video.reader import read_frames


@dataclass(frozen=True)
class FrameKey:
    """A request for frames of a video. Equal keys give the same bytes."""

    path: str
    reader: str
    indices: tuple[int, ...]
    height_px: int
    width_px: int
    cover: bool = False  # see `Video.read`


class FrameCache:
    """A cache of frames that drops the least recently used frames first.

    Args:
        max_bytes: limit for all kept frames together; 0 keeps none.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._kept: OrderedDict[FrameKey, Frames] = OrderedDict()

    def frames(self, key: FrameKey, *, keep: bool = True) -> Frames:
        """Return read-only frames, [len(key.indices), height_px, width_px, 3] uint8. Raises VideoError."""
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
        frames.flags.writeable = False  # Writing into cached frames would corrupt later samples.
        if not keep:
            return frames
        self._kept[key] = frames
        self._num_bytes += frames.nbytes
        while self._num_bytes > self._max_bytes:
            _, dropped = self._kept.popitem(last=False)
            self._num_bytes -= dropped.nbytes
        return frames


def source_frames(recipe: Recipe) -> FrameKey:
    """Return the key of the frames that a recipe is made from."""
    return FrameKey(recipe.video, recipe.reader, recipe.frame_indices, recipe.height_px, recipe.width_px)

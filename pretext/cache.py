"""Decoded frames, kept while there is room: a video gives many samples, and decoding is what costs."""

from collections import OrderedDict

from pretext.recipe import Frames, Recipe
from pretext.video import read_frames

Key = tuple[str, tuple[int, ...], int, int]


class FrameCache:
    """The frames of recipes, least recently used ones dropped first.

    Args:
        max_bytes: of frames kept; a clip larger than that is read each time.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._kept: OrderedDict[Key, Frames] = OrderedDict()

    def frames(self, recipe: Recipe) -> Frames:
        """The source's frames of a recipe, read-only: [num_frames, height_px, width_px, 3] uint8.

        Raises VideoError where they cannot be read.
        """
        key = (recipe.video, recipe.frame_indices, recipe.height_px, recipe.width_px)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        frames = read_frames(
            recipe.video, recipe.frame_indices, height_px=recipe.height_px, width_px=recipe.width_px
        )
        frames.flags.writeable = False  # a task that wrote into them would spoil every later sample
        self._kept[key] = frames
        self._num_bytes += frames.nbytes
        while self._num_bytes > self._max_bytes:
            _, dropped = self._kept.popitem(last=False)
            self._num_bytes -= dropped.nbytes
        return frames

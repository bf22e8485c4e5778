"""Samples whose frames are image files, like those of VideoSSR's published data.

A recipe with `reader=IMAGES` has the file names and the question in its params:

    {"clips": [{"files": [path, ...], "times_s": [...], "height_px": 192, "width_px": 320}, ...],
     "content": ["question before", 0, "question after"]}
"""

import os

import cv2
import numpy as np

from pretext.recipe import Clip, Frames, Recipe, Sample
from pretext.video import VideoError


def render_images(recipe: Recipe) -> Sample:
    """Return the sample, with its frames read from files and resized. Raises VideoError if a file cannot be read."""
    clips = []
    for clip in recipe.params["clips"]:
        size = (clip["width_px"], clip["height_px"])
        frames = [
            cv2.resize(read_image(os.path.join(recipe.video, name)), size, interpolation=cv2.INTER_AREA)
            for name in clip["files"]
        ]
        clips.append(
            Clip(np.stack(frames).astype(np.uint8, copy=False), np.array(clip["times_s"], np.float64))
        )
    return Sample(recipe, tuple(clips), tuple(recipe.params["content"]))


def read_image(path: str) -> Frames:
    """Return an image, [height, width, 3] uint8, RGB. Raises VideoError if it cannot be read."""
    image = cv2.imread(path, cv2.IMREAD_COLOR)
    if image is None:
        reason = "cannot be read as an image" if os.path.exists(path) else "does not exist"
        raise VideoError(path, reason)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)

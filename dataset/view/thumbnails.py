"""A sample's frames as small pictures, for a page."""

import io
from dataclasses import dataclass, replace

from PIL import Image

from dataset.view.annotations import Box, boxes, edited_frames, true_places
from pretext.recipe import Frames, Sample

_LONGEST_PX = 320  # of a picture's longer side
_QUALITY = 80


@dataclass(frozen=True)
class Picture:
    """One frame."""

    time_s: float  # that the model is told
    edited: bool
    webp: bytes
    boxes: tuple[Box, ...]  # in the picture's pixels


@dataclass(frozen=True)
class ClipPictures:
    """What the model is shown as one video."""

    label: str
    true_place: int | None  # from 0, where the task is to find it
    frames: tuple[Picture, ...]


def pictures(sample: Sample) -> tuple[ClipPictures, ...]:
    """Every clip's frames, no side longer than 320 pixels, with what is remarkable about them."""
    places = true_places(sample)
    drawn = boxes(sample.recipe)
    clips = []
    for number, (clip, edited) in enumerate(zip(sample.clips, edited_frames(sample), strict=True)):
        frames = tuple(
            _picture(frame, time_s, index in edited, [box for box in drawn if box.frame == index])
            for index, (frame, time_s) in enumerate(zip(clip.frames, clip.times_s.tolist(), strict=True))
        )
        label = f"Clip {number + 1}" if len(sample.clips) > 1 else "Video"
        clips.append(ClipPictures(label, None if places is None else places[number], frames))
    return tuple(clips)


def _picture(frame: Frames, time_s: float, edited: bool, drawn: list[Box]) -> Picture:
    height, width = frame.shape[:2]
    scale = min(1.0, _LONGEST_PX / max(height, width))
    image = Image.fromarray(frame)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=_QUALITY)
    return Picture(time_s, edited, file.getvalue(), tuple(_scaled(box, scale) for box in drawn))


def _scaled(box: Box, scale: float) -> Box:
    return replace(
        box,
        left=round(box.left * scale),
        top=round(box.top * scale),
        width=max(1, round(box.width * scale)),
        height=max(1, round(box.height * scale)),
    )

"""Thumbnails: a sample's frames as small images, for the dashboard."""

import io
from dataclasses import dataclass, replace

from PIL import Image

from dataset.view.annotations import Box, boxes, edited_frames, true_places
from pretext.recipe import Frames, Sample

_MAX_SIDE_PX = 320
_WEBP_QUALITY = 80


@dataclass(frozen=True)
class Thumbnail:
    """A small image of one frame, with what was edited in it."""

    time_s: float  # time of the frame as given to the model
    edited: bool
    webp: bytes
    boxes: tuple[Box, ...]  # in pixels of this image


@dataclass(frozen=True)
class ClipThumbnails:
    """The thumbnails of one clip."""

    label: str
    true_place: int | None  # from 0; None unless the task is the jigsaw
    frames: tuple[Thumbnail, ...]


def thumbnails(sample: Sample) -> tuple[ClipThumbnails, ...]:
    """Return all frames of every clip, no side longer than 320 pixels, with their annotations."""
    places = true_places(sample)
    drawn = boxes(sample.recipe)
    clips = []
    for number, (clip, edited) in enumerate(zip(sample.clips, edited_frames(sample), strict=True)):
        frames = tuple(
            _thumbnail(frame, time_s, index in edited, [box for box in drawn if box.frame == index])
            for index, (frame, time_s) in enumerate(zip(clip.frames, clip.times_s.tolist(), strict=True))
        )
        label = f"Clip {number + 1}" if len(sample.clips) > 1 else "Video"
        clips.append(ClipThumbnails(label, None if places is None else places[number], frames))
    return tuple(clips)


def _thumbnail(frame: Frames, time_s: float, edited: bool, drawn: list[Box]) -> Thumbnail:
    height, width = frame.shape[:2]
    scale = min(1.0, _MAX_SIDE_PX / max(height, width))
    image = Image.fromarray(frame)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=_WEBP_QUALITY)
    return Thumbnail(time_s, edited, file.getvalue(), tuple(_scaled(box, scale) for box in drawn))


def _scaled(box: Box, scale: float) -> Box:
    return replace(
        box,
        left=round(box.left * scale),
        top=round(box.top * scale),
        width=max(1, round(box.width * scale)),
        height=max(1, round(box.height * scale)),
    )

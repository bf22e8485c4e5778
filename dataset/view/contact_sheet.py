"""A contact sheet of a sample, so that a person can look at what the model is asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil, sqrt
from pathlib import Path
from typing import Literal

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from dataset.view.annotations import details, edited_frames, true_places
from pretext.recipe import IMAGES, Clip, Frames, Recipe, Sample

_MAX_WIDTH_PX = 1600
_MIN_WIDTH_PX = 900  # for the text
_MARGIN_PX = 28
_TITLE_PX = 40
_GAP_PX = 10  # between frames
_BORDER_PX = 4  # round edited frames, in the gap
_TIME_PX = 32  # below a frame, for its time
_TIME_AT_PX = 12
_LABEL_PX = 32  # above a clip, for its name
_CLIP_GAP_PX = 10
_CLIPS_APART_PX = 34  # side by side
_NAME_PX, _BOX_PX, _PART_PX = 68, 14, 90  # of a clip: its name, a box of its strip, its part in words
_NAMES_PX = 116  # what the header's lines are called
_LINE_PX = 21
_TEXT_SIZE, _TIME_SIZE = 15, 12
_IDEAL_PX = 165  # side of a square thumbnail

_PAPER, _INK, _GREY, _RULE = "#ffffff", "#1b1f24", "#6a737d", "#d8dee4"
_EDITED = "#d9480f"

_Weight = Literal["", "-Bold"]


@dataclass(frozen=True)
class _Line:
    """A line of the header: what it is called, and what it says."""

    name: str
    text: str
    weight: _Weight = ""
    edited: bool = False  # whether it says what the frames with a border are


@dataclass(frozen=True)
class _Grid:
    """Where frames go; the clips of a sample share it."""

    columns: int  # of a clip
    frame_px: tuple[int, int]  # width and height of a thumbnail
    clip_px: tuple[int, int]  # width and height that each clip takes, with its name
    across: int  # clips side by side
    width_px: int  # of the sheet

    def corner(self, number: int) -> tuple[int, int]:
        """Left and top of a clip, the first one's top being 0."""
        row, column = divmod(number, self.across)
        return (
            _MARGIN_PX + column * (self.clip_px[0] + _CLIPS_APART_PX),
            row * (self.clip_px[1] + _CLIP_GAP_PX),
        )


def draw_sheet(sample: Sample, path: Path) -> None:
    """Draws a PNG, 900 to 1600 pixels wide: what the sample asks, and its frames in order of presentation.

    Below each frame stands the time that the model is told, round each edited one a border. The clips of a
    jigsaw stand as they are shown, each with its true place.
    """
    grid = _grid(sample.clips)
    room_px = grid.width_px - 2 * _MARGIN_PX - _NAMES_PX
    lines = [(line, _wrapped(line.text, _font(line.weight), room_px)) for line in _header(sample)]
    head_px = _MARGIN_PX + _TITLE_PX + sum(_LINE_PX * len(texts) + 5 for _, texts in lines) + 30
    bottom = head_px + grid.corner(len(sample.clips) - 1)[1] + grid.clip_px[1]
    sheet = Image.new("RGB", (grid.width_px, bottom + _MARGIN_PX - 8), _PAPER)
    pen = ImageDraw.Draw(sheet)
    _draw_header(pen, sample.recipe, lines)
    pen.line((_MARGIN_PX, head_px - 20, grid.width_px - _MARGIN_PX, head_px - 20), _RULE)
    places = true_places(sample)
    for number, (clip, edited) in enumerate(zip(sample.clips, edited_frames(sample), strict=True)):
        left, top = grid.corner(number)
        top += head_px
        if len(sample.clips) > 1:
            _draw_label(pen, (left, top), number, places)
            top += _LABEL_PX
        _draw_clip(sheet, pen, (left, top), clip, edited, grid)
    sheet.save(path)


def _grid(clips: Sequence[Clip]) -> _Grid:
    """As many columns as make thumbnails of a good size and, if that can be had, whole rows.

    Short clips stand side by side.
    """
    num_frames = max(len(clip.frames) for clip in clips)
    height, width = clips[0].frames.shape[1:3]
    room_px = _MAX_WIDTH_PX - 2 * _MARGIN_PX
    ideal_px = min(sqrt(width / height) * _IDEAL_PX, room_px)
    ideal = min(max(1, round((room_px + _GAP_PX) / (ideal_px + _GAP_PX))), num_frames)
    whole = [n for n in range(ceil(0.7 * ideal), int(1.6 * ideal) + 1) if num_frames % n == 0]
    columns = min(whole, key=lambda n: (abs(n - ideal), -n), default=ideal)
    scale = min(ideal_px, (room_px + _GAP_PX) / columns - _GAP_PX) / width
    if scale > 1:
        scale = int(scale)  # nearest neighbour looks even at whole factors only
    frame_px = (max(1, int(width * scale)), max(1, round(height * scale)))
    clip_width_px = columns * (frame_px[0] + _GAP_PX) - _GAP_PX
    clip_height_px = ceil(num_frames / columns) * (frame_px[1] + _TIME_PX)
    if len(clips) > 1:
        clip_width_px = max(clip_width_px, _NAME_PX + (_BOX_PX + 4) * len(clips) + _PART_PX)
        clip_height_px += _LABEL_PX
    most = max(1, (room_px + _CLIPS_APART_PX) // (clip_width_px + _CLIPS_APART_PX))
    across = ceil(len(clips) / ceil(len(clips) / most))  # rows as even as can be
    used_px = across * (clip_width_px + _CLIPS_APART_PX) - _CLIPS_APART_PX + 2 * _MARGIN_PX
    return _Grid(columns, frame_px, (clip_width_px, clip_height_px), across, max(used_px, _MIN_WIDTH_PX))


def _draw_header(pen: ImageDraw.ImageDraw, recipe: Recipe, lines: list[tuple[_Line, list[str]]]) -> None:
    title = recipe.task.capitalize()
    pen.text((_MARGIN_PX, _MARGIN_PX + 18), title, _INK, _font("-Bold", 22), "ls")
    x = _MARGIN_PX + pen.textlength(title, _font("-Bold", 22)) + 14
    pen.text((x, _MARGIN_PX + 18), recipe.id, _GREY, _font(), "ls")
    y = _MARGIN_PX + _TITLE_PX
    for line, texts in lines:
        pen.text((_MARGIN_PX, y), line.name, _GREY, _font())
        x = _MARGIN_PX + _NAMES_PX
        if line.edited:
            pen.rectangle((x, y + 1, x + 22, y + 16), None, _EDITED, _BORDER_PX - 1)
            x += 32
        for text in texts:
            pen.text((x, y), text, _EDITED if line.edited else _INK, _font(line.weight))
            y += _LINE_PX
        y += 5


def _draw_label(
    pen: ImageDraw.ImageDraw, corner: tuple[int, int], number: int, places: Sequence[int] | None
) -> None:
    """A clip's name, and a strip on which its true place is filled."""
    left, middle = corner[0], corner[1] + 12
    pen.text((left, middle), f"Clip {number + 1}", _INK, _font("-Bold"), "lm")
    if places is None:
        return
    left += _NAME_PX
    for place in range(len(places)):
        fill = _INK if place == places[number] else None
        pen.rectangle((left, middle - 6, left + _BOX_PX, middle + 6), fill, _GREY)
        left += _BOX_PX + 4
    pen.text((left + 4, middle), f"part {places[number] + 1} of {len(places)}", _GREY, _font(), "lm")


def _draw_clip(
    sheet: Image.Image,
    pen: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    clip: Clip,
    edited: set[int],
    grid: _Grid,
) -> None:
    width, height = grid.frame_px
    for number, (frame, time_s) in enumerate(zip(clip.frames, clip.times_s.tolist(), strict=True)):
        row, column = divmod(number, grid.columns)
        left = corner[0] + column * (width + _GAP_PX)
        top = corner[1] + row * (height + _TIME_PX)
        colour, font = _GREY, _font("", _TIME_SIZE)
        if number in edited:
            colour, font = _EDITED, _font("-Bold", _TIME_SIZE)
            b = _BORDER_PX
            pen.rectangle((left - b, top - b, left + width + b - 1, top + height + b - 1), colour)
        sheet.paste(_thumbnail(frame, grid.frame_px), (left, top))
        pen.text((left + width / 2, top + height + _TIME_AT_PX), f"{time_s:.2f} s", colour, font, "mm")


def _thumbnail(frame: Frames, size: tuple[int, int]) -> Image.Image:
    larger = size[0] > frame.shape[1]
    return Image.fromarray(frame).resize(
        size, Image.Resampling.NEAREST if larger else Image.Resampling.LANCZOS
    )


def _header(sample: Sample) -> list[_Line]:
    recipe = sample.recipe
    height, width = sample.clips[0].frames.shape[1:3]
    num_frames = sum(len(clip.frames) for clip in sample.clips)
    source = Path(recipe.video)
    if recipe.reader == IMAGES:
        source = source.joinpath(recipe.params["clips"][0]["files"][0]).parent
    lines = [
        _Line("Video", f"{source.name}  ({num_frames} frames of {width}x{height})"),
        _Line("Question", _question(sample), "-Bold"),
        _Line("True answer", recipe.answer, "-Bold"),
    ]
    if words := details(recipe):
        lines.append(_Line("Details", words))
    if any(edited_frames(sample)):
        lines.append(_Line("Legend", _legend(recipe), edited=True))
    return lines


def _question(sample: Sample) -> str:
    """As the model reads it, with a word where it sees a video."""
    several = len(sample.clips) > 1
    words = [
        (f"[video {piece + 1}]" if several else "[video]") if isinstance(piece, int) else piece.strip()
        for piece in sample.content
    ]
    return " ".join(" ".join(words).split())


def _legend(recipe: Recipe) -> str:
    if recipe.reader == IMAGES:
        return "frames within the true answer"
    if recipe.task == "counting":
        return "frames on which shapes were drawn"
    return "altered frames"


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width_px: int) -> list[str]:
    """Lines that fit; a word too long for a line is broken."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if font.getlength(longer) <= width_px:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width_px:
                lines.append("")
            lines[-1] += letter
    return lines


@cache
def _font(weight: _Weight = "", size: int = _TEXT_SIZE) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(folder / f"DejaVuSans{weight}.ttf", size)

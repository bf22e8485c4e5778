"""A contact sheet: a sample as one PNG, which shows people the frames and question that the model gets."""

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
_MIN_WIDTH_PX = 900  # so that the text has room
_MARGIN_PX = 28
_TITLE_HEIGHT_PX = 40
_FRAME_GAP_PX = 10
_BORDER_PX = 4  # around edited frames, within the gap
_TIME_HEIGHT_PX = 32  # below each frame
_TIME_OFFSET_PX = 12  # from a frame to the middle of its time
_LABEL_HEIGHT_PX = 32  # above each clip
_CLIP_GAP_Y_PX = 10
_CLIP_GAP_X_PX = 34
_LABEL_NAME_WIDTH_PX = 68  # of a clip's name in its label
_LABEL_BOX_PX = 14  # side of a box in a label's strip of places
_LABEL_PART_WIDTH_PX = 90  # of a clip's place in words
_HEADER_NAME_WIDTH_PX = 116
_LINE_HEIGHT_PX = 21
_TEXT_SIZE, _TIME_SIZE = 15, 12
_IDEAL_THUMBNAIL_PX = 165  # side of a square thumbnail

_PAPER, _INK, _GREY, _RULE = "#ffffff", "#1b1f24", "#6a737d", "#d8dee4"
_EDITED = "#d9480f"

_Weight = Literal["", "-Bold"]


@dataclass(frozen=True)
class _Line:
    """A line of the header."""

    name: str  # at the left
    text: str
    weight: _Weight = ""
    edited: bool = False  # whether it explains the frames with a border


@dataclass(frozen=True)
class _Grid:
    """The layout of frames on the sheet, the same for all clips."""

    columns: int  # frames side by side in a clip
    frame_px: tuple[int, int]  # width and height of a thumbnail
    clip_px: tuple[int, int]  # width and height of a clip with its label
    across: int  # number of clips side by side
    width_px: int  # width of the sheet

    def corner(self, number: int) -> tuple[int, int]:
        """Return left and top of a clip; the top of the first one is 0."""
        row, column = divmod(number, self.across)
        return (
            _MARGIN_PX + column * (self.clip_px[0] + _CLIP_GAP_X_PX),
            row * (self.clip_px[1] + _CLIP_GAP_Y_PX),
        )


def draw_sheet(sample: Sample, path: Path) -> None:
    """Draw a PNG, 900 to 1600 pixels wide: the question and truth, and all frames in order of presentation.

    Below each frame is its time as given to the model, and each edited frame has a border. The clips of a jigsaw are in
    the order in which they are shown, each with its true place.
    """
    grid = _grid(sample.clips)
    room_px = grid.width_px - 2 * _MARGIN_PX - _HEADER_NAME_WIDTH_PX
    lines = [(line, _wrapped(line.text, _font(line.weight), room_px)) for line in _header(sample)]
    head_px = _MARGIN_PX + _TITLE_HEIGHT_PX + sum(_LINE_HEIGHT_PX * len(texts) + 5 for _, texts in lines) + 30
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
            top += _LABEL_HEIGHT_PX
        _draw_clip(sheet, pen, (left, top), clip, edited, grid)
    sheet.save(path)


def _grid(clips: Sequence[Clip]) -> _Grid:
    """Choose a number of columns with which thumbnails have a good size and, if possible, rows are complete.

    Short clips are placed side by side.
    """
    num_frames = max(len(clip.frames) for clip in clips)
    height, width = clips[0].frames.shape[1:3]
    room_px = _MAX_WIDTH_PX - 2 * _MARGIN_PX
    ideal_px = min(sqrt(width / height) * _IDEAL_THUMBNAIL_PX, room_px)
    ideal = min(max(1, round((room_px + _FRAME_GAP_PX) / (ideal_px + _FRAME_GAP_PX))), num_frames)
    whole = [n for n in range(ceil(0.7 * ideal), int(1.6 * ideal) + 1) if num_frames % n == 0]
    columns = min(whole, key=lambda n: (abs(n - ideal), -n), default=ideal)
    scale = min(ideal_px, (room_px + _FRAME_GAP_PX) / columns - _FRAME_GAP_PX) / width
    if scale > 1:
        scale = int(scale)  # Nearest-neighbour scaling looks even only at whole factors.
    frame_px = (max(1, int(width * scale)), max(1, round(height * scale)))
    clip_width_px = columns * (frame_px[0] + _FRAME_GAP_PX) - _FRAME_GAP_PX
    clip_height_px = ceil(num_frames / columns) * (frame_px[1] + _TIME_HEIGHT_PX)
    if len(clips) > 1:
        clip_width_px = max(
            clip_width_px, _LABEL_NAME_WIDTH_PX + (_LABEL_BOX_PX + 4) * len(clips) + _LABEL_PART_WIDTH_PX
        )
        clip_height_px += _LABEL_HEIGHT_PX
    most = max(1, (room_px + _CLIP_GAP_X_PX) // (clip_width_px + _CLIP_GAP_X_PX))
    across = ceil(len(clips) / ceil(len(clips) / most))  # rows as even as possible
    used_px = across * (clip_width_px + _CLIP_GAP_X_PX) - _CLIP_GAP_X_PX + 2 * _MARGIN_PX
    return _Grid(columns, frame_px, (clip_width_px, clip_height_px), across, max(used_px, _MIN_WIDTH_PX))


def _draw_header(pen: ImageDraw.ImageDraw, recipe: Recipe, lines: list[tuple[_Line, list[str]]]) -> None:
    title = recipe.task.capitalize()
    pen.text((_MARGIN_PX, _MARGIN_PX + 18), title, _INK, _font("-Bold", 22), "ls")
    x = _MARGIN_PX + pen.textlength(title, _font("-Bold", 22)) + 14
    pen.text((x, _MARGIN_PX + 18), recipe.id, _GREY, _font(), "ls")
    y = _MARGIN_PX + _TITLE_HEIGHT_PX
    for line, texts in lines:
        pen.text((_MARGIN_PX, y), line.name, _GREY, _font())
        x = _MARGIN_PX + _HEADER_NAME_WIDTH_PX
        if line.edited:
            pen.rectangle((x, y + 1, x + 22, y + 16), None, _EDITED, _BORDER_PX - 1)
            x += 32
        for text in texts:
            pen.text((x, y), text, _EDITED if line.edited else _INK, _font(line.weight))
            y += _LINE_HEIGHT_PX
        y += 5


def _draw_label(
    pen: ImageDraw.ImageDraw, corner: tuple[int, int], number: int, places: Sequence[int] | None
) -> None:
    """Draw a clip's name, and a strip with its true place filled."""
    left, middle = corner[0], corner[1] + 12
    pen.text((left, middle), f"Clip {number + 1}", _INK, _font("-Bold"), "lm")
    if places is None:
        return
    left += _LABEL_NAME_WIDTH_PX
    for place in range(len(places)):
        fill = _INK if place == places[number] else None
        pen.rectangle((left, middle - 6, left + _LABEL_BOX_PX, middle + 6), fill, _GREY)
        left += _LABEL_BOX_PX + 4
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
        left = corner[0] + column * (width + _FRAME_GAP_PX)
        top = corner[1] + row * (height + _TIME_HEIGHT_PX)
        colour, font = _GREY, _font("", _TIME_SIZE)
        if number in edited:
            colour, font = _EDITED, _font("-Bold", _TIME_SIZE)
            b = _BORDER_PX
            pen.rectangle((left - b, top - b, left + width + b - 1, top + height + b - 1), colour)
        sheet.paste(_thumbnail(frame, grid.frame_px), (left, top))
        pen.text((left + width / 2, top + height + _TIME_OFFSET_PX), f"{time_s:.2f} s", colour, font, "mm")


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
        _Line("Truth", recipe.truth, "-Bold"),
    ]
    if words := details(recipe):
        lines.append(_Line("Details", words))
    if any(edited_frames(sample)):
        lines.append(_Line("Legend", _legend(recipe), edited=True))
    return lines


def _question(sample: Sample) -> str:
    """Return the question that the model gets, with a word in place of each video."""
    several = len(sample.clips) > 1
    words = [
        (f"[video {piece + 1}]" if several else "[video]") if isinstance(piece, int) else piece.strip()
        for piece in sample.content
    ]
    return " ".join(" ".join(words).split())


def _legend(recipe: Recipe) -> str:
    if recipe.reader == IMAGES:
        return "frames within the true interval"
    if recipe.task == "counting":
        return "frames on which shapes were drawn"
    return "altered frames"


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width_px: int) -> list[str]:
    """Break a text into lines that fit. A word that is too long for a line is broken as well."""
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
    """Return the font DejaVu Sans, which comes with matplotlib."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(folder / f"DejaVuSans{weight}.ttf", size)

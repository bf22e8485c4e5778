"""Shapes drawn onto frames: where they may stand, and how they look."""

import colorsys
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from pretext.recipe import Frames

Kind = Literal["circle", "square", "triangle"]
KINDS: tuple[Kind, ...] = ("circle", "square", "triangle")

_FAMILY_HUES: dict[Kind, float] = {"circle": 0.0, "square": 1 / 3, "triangle": 2 / 3}  # red, green, blue
_FAMILY_WIDTH = 0.08  # of the hue circle
_BLACK = [0, 0, 0]


@dataclass(frozen=True)
class Shape:
    """One shape on a run of consecutive frames, always in the same place."""

    kind: Kind
    first: int  # number of its first frame in the sample
    last: int  # and of its last
    left_px: int  # of the square box that it fills
    top_px: int
    size_px: int
    rgb: list[int]  # a list, as JSON has no tuples and recipes must come back equal

    def clear_of(self, other: "Shape") -> bool:
        """Whether the two can be told apart and count as two.

        Their boxes must not touch, or, for shapes of different kinds, there must be a frame between their
        runs. (Two of a kind that share a place would read as one that went and came back.)
        """
        apart = (
            self.left_px > other.left_px + other.size_px
            or other.left_px > self.left_px + self.size_px
            or self.top_px > other.top_px + other.size_px
            or other.top_px > self.top_px + self.size_px
        )
        at_other_times = self.first > other.last + 1 or other.first > self.last + 1
        return apart or (self.kind != other.kind and at_other_times)


def bright_colour(kind: Kind, colours: Literal["random", "family"], rng: np.random.Generator) -> list[int]:
    """A strong, light RGB colour: of any hue, or with "family" of the hues that belong to the kind."""
    if colours == "random":
        hue = rng.random()
    else:
        hue = (_FAMILY_HUES[kind] + _FAMILY_WIDTH * (rng.random() - 0.5)) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, rng.uniform(0.7, 1.0), rng.uniform(0.85, 1.0))
    return [round(red * 255), round(green * 255), round(blue * 255)]


def draw_shape(frames: Frames, shape: Shape) -> None:
    """Draws a shape onto its frames, in place: [num_frames, height, width, 3] uint8, C-contiguous.

    Light, with a black edge, so that it stands out from anything; hard pixels, no smoothing; within its box.
    """
    edge = max(1, shape.size_px // 20)
    for frame in frames[shape.first : shape.last + 1]:
        _fill(frame, shape, 0, _BLACK)
        _fill(frame, shape, edge, shape.rgb)


def _fill(frame: Frames, shape: Shape, inset: int, rgb: list[int]) -> None:
    left, top = shape.left_px + inset, shape.top_px + inset
    right, bottom = shape.left_px + shape.size_px - 1 - inset, shape.top_px + shape.size_px - 1 - inset
    match shape.kind:
        case "circle":
            half = shape.size_px // 2
            cv2.circle(frame, (shape.left_px + half, shape.top_px + half), half - 1 - inset, rgb, cv2.FILLED)
        case "square":
            cv2.rectangle(frame, (left, top), (right, bottom), rgb, cv2.FILLED)
        case "triangle":
            middle = shape.left_px + shape.size_px // 2
            slant = inset * 5 // 4  # the sides slope, so an even edge takes more room at the corners
            corners = [(middle, top + slant), (left + slant, bottom), (right - slant, bottom)]
            cv2.fillConvexPoly(frame, np.array(corners, np.int32), rgb)

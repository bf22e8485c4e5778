"""Shapes drawn onto frames: where they may be placed, and how they look."""

import colorsys
from dataclasses import dataclass
from math import cos, hypot, radians, sin
from typing import Literal

import numpy as np

from pretext.recipe import Frames

Kind = Literal["circle", "square", "triangle"]
KINDS: tuple[Kind, ...] = ("circle", "square", "triangle")

_CORNERS: dict[Kind, int] = {"square": 4, "triangle": 3}
_BLACK = [0, 0, 0]
_MIN_SPACING_PX = 2  # between the circles around shapes


@dataclass(frozen=True)
class Shape:
    """A shape on one frame."""

    kind: Kind
    frame: int  # number of the frame in the sample
    x_px: int  # centre of the circle around it
    y_px: int
    radius_px: int
    angle: int  # clockwise rotation in degrees
    rgb: list[int]  # a list, because JSON has no tuples and stored recipes must compare equal

    def clear_of(self, other: "Shape") -> bool:
        """Return whether neither shape covers any part of the other."""
        distance = hypot(self.x_px - other.x_px, self.y_px - other.y_px)
        return self.frame != other.frame or distance >= self.radius_px + other.radius_px + _MIN_SPACING_PX


def bright_colour(rng: np.random.Generator) -> list[int]:
    """Draw a strong, light RGB colour of any hue."""
    red, green, blue = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.7, 1.0), rng.uniform(0.85, 1.0))
    return [round(red * 255), round(green * 255), round(blue * 255)]


def draw_shape(frames: Frames, shape: Shape) -> None:
    """Draw a shape onto its frame, in place: [num_frames, height, width, 3] uint8, C-contiguous.

    It is light with a black edge, so that it stands out from any background. It is not anti-aliased.
    """
    import cv2

    edge = max(1, shape.radius_px // 10)
    frame = frames[shape.frame]
    if shape.kind == "circle":
        middle = (shape.x_px, shape.y_px)
        cv2.circle(frame, middle, shape.radius_px - 1, _BLACK, cv2.FILLED)
        cv2.circle(frame, middle, shape.radius_px - 1 - edge, shape.rgb, cv2.FILLED)
        return
    # For an edge of even width, sharper corners need a larger inset of the radius.
    inset = edge / cos(radians(180 / _CORNERS[shape.kind]))
    for radius, rgb in ((shape.radius_px - 1.0, _BLACK), (shape.radius_px - 1.0 - inset, shape.rgb)):
        cv2.fillConvexPoly(frame, _polygon(shape, radius), rgb)


def _polygon(shape: Shape, radius: float) -> np.ndarray:
    """Return the shape's corners on a circle of this radius, [num_corners, 2] int32."""
    turns = [radians(shape.angle + 360 * k / _CORNERS[shape.kind]) for k in range(_CORNERS[shape.kind])]
    return np.array(
        [(round(shape.x_px + radius * sin(turn)), round(shape.y_px - radius * cos(turn))) for turn in turns],
        np.int32,
    )

"""Shapes drawn onto frames: where they may stand, and how they look."""

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
_APART_PX = 2  # between the circles that shapes are drawn in


@dataclass(frozen=True)
class Shape:
    """One shape on one frame."""

    kind: Kind
    frame: int  # number of the frame in the sample
    x_px: int  # middle of the circle that it is drawn in
    y_px: int
    radius_px: int
    angle: int  # degrees that it is turned by
    rgb: list[int]  # a list, as JSON has no tuples and recipes must come back equal

    def clear_of(self, other: "Shape") -> bool:
        """Whether neither covers anything of the other."""
        distance = hypot(self.x_px - other.x_px, self.y_px - other.y_px)
        return self.frame != other.frame or distance >= self.radius_px + other.radius_px + _APART_PX


def bright_colour(rng: np.random.Generator) -> list[int]:
    """A strong, light RGB colour of any hue."""
    red, green, blue = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.7, 1.0), rng.uniform(0.85, 1.0))
    return [round(red * 255), round(green * 255), round(blue * 255)]


def draw_shape(frames: Frames, shape: Shape) -> None:
    """Draws a shape onto its frame, in place: [num_frames, height, width, 3] uint8, C-contiguous.

    Light, with a black edge, so that it stands out from anything; hard pixels, no smoothing.
    """
    import cv2

    edge = max(1, shape.radius_px // 10)
    frame = frames[shape.frame]
    if shape.kind == "circle":
        middle = (shape.x_px, shape.y_px)
        cv2.circle(frame, middle, shape.radius_px - 1, _BLACK, cv2.FILLED)
        cv2.circle(frame, middle, shape.radius_px - 1 - edge, shape.rgb, cv2.FILLED)
        return
    # An even edge takes more of the radius the sharper the corners are.
    inset = edge / cos(radians(180 / _CORNERS[shape.kind]))
    for radius, rgb in ((shape.radius_px - 1.0, _BLACK), (shape.radius_px - 1.0 - inset, shape.rgb)):
        cv2.fillConvexPoly(frame, _polygon(shape, radius), rgb)


def _polygon(shape: Shape, radius: float) -> np.ndarray:
    """Its corners on a circle of that radius, [num_corners, 2] int32."""
    turns = [radians(shape.angle + 360 * k / _CORNERS[shape.kind]) for k in range(_CORNERS[shape.kind])]
    return np.array(
        [(round(shape.x_px + radius * sin(turn)), round(shape.y_px - radius * cos(turn))) for turn in turns],
        np.int32,
    )

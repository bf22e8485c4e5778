"""Drawn videos for the tests. The sun rises over a landscape and a ball rolls, so frames differ like in real videos."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Frame = NDArray[np.uint8]  # [height, width, 3]
Box = tuple[float, float, float, float, str]  # x, y, width, height in pixels; label

WIDTH, HEIGHT = 256, 160
_SKIES = [((24, 32, 70), (240, 150, 110)), ((60, 130, 200), (205, 228, 240)), ((70, 40, 90), (235, 120, 90))]
_SHAPES = ("circle", "square", "triangle")


def frame(seed: int, progress: float) -> Frame:
    """Return the frame of scene `seed` at `progress`, 0 to 1, of its video."""
    top, bottom = (np.array(colour, float) for colour in _SKIES[seed % len(_SKIES)])
    down = np.linspace(0, 1, HEIGHT)[:, None, None]
    sky = (1 - down) * top + down * bottom
    image = Image.fromarray(np.broadcast_to(sky, (HEIGHT, WIDTH, 3)).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    x, y = 30 + 190 * progress, 90 - 65 * math.sin(math.pi * progress)
    pen.ellipse((x - 14, y - 14, x + 14, y + 14), fill=(255, 226, 140))
    for depth, colour in enumerate([(70, 96, 110), (46, 92, 74), (38, 66, 50)]):
        ridge = [
            (column, 84 + 20 * depth + 12 * math.sin(column / (34 - 8 * depth) + seed * 1.7 + depth))
            for column in range(WIDTH + 1)
        ]
        pen.polygon([(0, HEIGHT), *ridge, (WIDTH, HEIGHT)], fill=colour)
    ball = 12 + 230 * ((progress * (1 + seed % 2)) % 1.0)
    pen.ellipse((ball - 9, 126, ball + 9, 144), fill=(222, 72, 62))
    pen.line((ball, 135, ball + 8 * math.cos(20 * progress), 135 + 8 * math.sin(20 * progress)), fill="white")
    return np.asarray(image)


def upside_down(picture: Frame) -> Frame:
    return picture[::-1, ::-1]


def with_shapes(picture: Frame, kind: int, number: int, rng: np.random.Generator) -> tuple[Frame, list[Box]]:
    """Return the picture with `number` shapes of one kind side by side, and their boxes."""
    image = Image.fromarray(picture)
    pen = ImageDraw.Draw(image)
    boxes: list[Box] = []
    for place in range(number):
        size = int(rng.integers(24, 40))
        x, y = 10 + place * 78 + int(rng.integers(0, 30)), int(rng.integers(8, HEIGHT - size - 8))
        colour = tuple(int(value) for value in rng.integers(90, 256, 3))
        if _SHAPES[kind] == "circle":
            pen.ellipse((x, y, x + size, y + size), fill=colour)
        elif _SHAPES[kind] == "square":
            pen.rectangle((x, y, x + size, y + size), fill=colour)
        else:
            pen.polygon([(x, y + size), (x + size / 2, y), (x + size, y + size)], fill=colour)
        boxes.append((x, y, size, size, _SHAPES[kind]))
    return np.asarray(image), boxes


def save(picture: Frame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, quality=80)

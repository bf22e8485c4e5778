"""The demo's videos: small drawn scenes that change in one direction, encoded to real mp4 files.

A single frame shows how far its scene has come, so the order of clips is visible. Each of the four default anomalies
shows in a 64x64 frame: the sky is bluish and above green or brown ground, the sun is on the left and a tower on the
right, and nothing is as black as the border of a zoom-out.
"""

import colorsys
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import cv2
import numpy as np

from pretext.randomness import generator
from pretext.recipe import Frames

_RECORD = "scenes.json"  # written last, so a folder that has it is complete
_NOISE_SIGMA = 3.0  # standard deviation of every pixel's noise, on a scale of 0 to 255
_SUBPIXEL_BITS = 4  # circles are placed to 1/16 pixel, so that a slow sun moves in every frame

Colour = tuple[int, int, int]


def draw_videos(
    folder: str | os.PathLike[str],
    *,
    count: int,
    seed: int,
    num_frames: int = 80,
    fps: int = 18,
    size_px: int = 64,
) -> list[Path]:
    """Draw `count` videos into `folder`, which is created if necessary, and return their paths.

    With the default length and rate, 8 frames of the middle 90 % are exactly 0.5 s apart. A complete set drawn with
    the same arguments is kept; an unfinished one is drawn again. Raises ValueError if the folder holds a set drawn
    with other arguments, and for an odd `size_px`, which H.264 cannot encode.
    """
    if size_px % 2:
        raise ValueError(f"size_px={size_px}: must be even, for H.264. Use {size_px + 1}.")
    root = Path(folder).absolute()
    paths = [root / f"{number:05d}.mp4" for number in range(count)]
    drawn_with = {"count": count, "seed": seed, "num_frames": num_frames, "fps": fps, "size_px": size_px}
    record = root / _RECORD
    if record.exists():
        found = json.loads(record.read_text())
        if found != drawn_with:
            raise ValueError(
                f"{root}: holds videos drawn with {found}, not {drawn_with}. Use another folder."
            )
        if all(path.exists() for path in paths):
            return paths
    root.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(paths):
        frames = draw_scene(generator(seed, "scene", number), num_frames=num_frames, size_px=size_px)
        with _written_whole(path) as unfinished:
            _encode(unfinished, frames, fps)
    with _written_whole(record) as unfinished:
        unfinished.write_text(json.dumps(drawn_with))
    return paths


def draw_scene(rng: np.random.Generator, *, num_frames: int, size_px: int) -> Frames:
    """Return one scene, [num_frames, size_px, size_px, 3] uint8: a sun that sets, or ground that rises.

    `rng` decides which of the two, and the colours, places and speed.
    """
    sets = bool(rng.random() < 0.5)
    travel = float(rng.uniform(0.75, 1.0))  # share of the whole way; it varies the speed
    start = float(rng.uniform(0.0, 1.0 - travel))
    colours = _colours(rng)
    sun_x, sun_y, radius = rng.uniform(0.2, 0.35), rng.uniform(0.14, 0.2), rng.uniform(0.1, 0.14)
    tower_x, tower_width = rng.uniform(0.68, 0.8), rng.uniform(0.08, 0.14)
    horizon = rng.uniform(0.72, 0.8)
    descent = horizon + 0.4 * radius - sun_y  # a little of the sun is still visible at the end
    frames = np.empty((num_frames, size_px, size_px, 3), np.uint8)
    for number, image in enumerate(frames):
        way = start + travel * number / (num_frames - 1)
        _paint(
            image,
            colours,
            sun=(sun_x, sun_y + (descent * way if sets else 0.0), radius),
            tower=(tower_x, tower_width),
            horizon=horizon if sets else 0.92 - 0.55 * way,
        )
    noise = rng.normal(0.0, _NOISE_SIGMA, frames.shape)
    return np.clip(frames + noise, 0, 255).round().astype(np.uint8)


def _colours(rng: np.random.Generator) -> tuple[Colour, Colour, Colour, Colour]:
    """Return the colours of sky, sun, ground and tower. Each has its own hues, and no two channels are equal."""
    hue_ranges = ((0.54, 0.62), (0.11, 0.15), (0.07, 0.25), (0.93, 0.99))
    saturations = (0.55, 0.75, 0.7, 0.6)
    values = ((0.75, 0.98), (0.95, 1.0), (0.4, 0.6), (0.5, 0.7))
    colours = []
    for hues, saturation, value in zip(hue_ranges, saturations, values, strict=True):
        rgb = colorsys.hsv_to_rgb(rng.uniform(*hues), saturation, rng.uniform(*value))
        colours.append((round(rgb[0] * 255), round(rgb[1] * 255), round(rgb[2] * 255)))
    return colours[0], colours[1], colours[2], colours[3]


def _paint(
    image: Frames,
    colours: tuple[Colour, Colour, Colour, Colour],
    *,
    sun: tuple[float, float, float],
    tower: tuple[float, float],
    horizon: float,
) -> None:
    """Paint one frame from back to front. Lengths are fractions of its side; `horizon` counts from the top."""
    side = image.shape[0]
    sky, sun_colour, ground, tower_colour = colours
    image[:] = sky
    x, y, radius = (round(length * side * 2**_SUBPIXEL_BITS) for length in sun)
    cv2.circle(image, (x, y), radius, sun_colour, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)
    left, right = round(tower[0] * side), round((tower[0] + tower[1]) * side)
    edge = horizon * side
    image[max(0, round(edge - 0.3 * side)) :, left:right] = tower_colour
    row = int(edge)
    image[row + 1 :] = ground
    share = row + 1 - edge  # of the horizon's row that is ground, so that a slow horizon moves in every frame
    image[row] = np.round(image[row] * (1 - share) + np.array(ground) * share)


def _encode(path: Path, frames: Frames, fps: int) -> None:
    """Encode frames as nearly lossless H.264 in mp4. The same frames give the same file."""
    with av.open(str(path), "w", format="mp4") as container:
        # x264's macroblock tree and its threads are not deterministic.
        options = {"crf": "14", "preset": "fast", "x264-params": "mbtree=0"}
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv444p"  # colour at full resolution, which a 64x64 frame needs
        stream.thread_count = 1
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


@contextmanager
def _written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path, which replaces `path` at the end if there was no error."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)

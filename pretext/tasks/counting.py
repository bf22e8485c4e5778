"""Object counting: how many circles, squares and triangles were drawn? The truth has the form `c,s,t`."""

from dataclasses import asdict
from functools import lru_cache
from itertools import product
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pretext.recipe import Clip, Frames, Recipe, Sample
from pretext.tasks.balance import balanced_weights
from pretext.tasks.shapes import KINDS, Kind, Shape, bright_colour, draw_shape
from pretext.tasks.task import FloatRange, IntRange, Material, Task, TaskParams, Unsuitable
from reward.rules import count_accuracy
from vocabulary.over_http import OverHttp

QUESTION = "How many circles, squares, triangles were drawn on the video? Reply three numbers, like 4,0,5."

_MAX_PLACES_PER_SHAPE = 50  # random places tried for one shape
_MAX_DRAWS = 200  # number of draws of all shapes after which a video's frames are too small


class CountingParams(TaskParams, frozen=True):
    """The numbers of frames for each kind of shape and of shapes per frame, and the size of shapes.

    The defaults are VideoSSR's easy setting; its hard one is [1, 4] and [1, 4].
    """

    frames_per_kind: Annotated[IntRange, OverHttp(largest=256)] = (1, 3)
    shapes_per_frame: Annotated[IntRange, OverHttp(largest=20)] = (1, 3)
    # smallest number of frames from one appearance of a kind to the next
    min_distance: Annotated[int, Field(ge=1), OverHttp(largest=256)] = 9
    # diameter, as a share of the frame's short side
    size: Annotated[FloatRange, OverHttp(largest=1)] = (0.2, 0.4)
    # draw totals so that the best constant answer earns least
    balanced: Annotated[bool, OverHttp(choice=True)] = False


class Counting(Task[CountingParams]):
    """The counting task: shapes are drawn onto single frames, all shapes of a frame being of one kind.

    Each shape counts once, is wholly within its frame, and is not covered by another. Shapes in the source itself
    (a wheel, a window) do not count, because the question asks for shapes that were drawn on the video.
    """

    name = "counting"
    Params = CountingParams

    def check(self, params: CountingParams, num_frames: int) -> None:
        """Raise ValueError for parameters that need more frames or larger frames."""
        most = params.frames_per_kind[1]
        needed = max((most - 1) * params.min_distance + len(KINDS), len(KINDS) * most)
        if needed > num_frames:
            raise ValueError(
                f"frames_per_kind={list(params.frames_per_kind)}: with min_distance={params.min_distance} they "
                f"need {needed} frames, and there are {num_frames}. Lower one of the two."
            )
        if params.size[1] >= 1 / 1.5:
            raise ValueError(
                f"size={list(params.size)}: shapes must leave room for others. Set its end to 0.6 or less."
            )

    def draw(
        self, material: Material, params: CountingParams, rng: np.random.Generator
    ) -> tuple[dict[str, Any], str]:
        """Return the shapes, and the truth: the total of each kind."""
        video = material.video
        size = (video.height_px, video.width_px)
        # Only places are drawn again after a failure, not numbers, so that large numbers keep their probability.
        groups = [_numbers(params, rng) for _ in KINDS]
        for _ in range(_MAX_DRAWS):
            frames = _frames(groups, len(video.indices), params.min_distance, rng)
            if frames is None:
                continue
            shapes: list[Shape] | None = []
            for kind, numbers, places in zip(KINDS, groups, frames, strict=True):
                for number, place in zip(numbers, places, strict=True):
                    group = _place_all(kind, number, place, size, params, rng)
                    shapes = None if shapes is None or group is None else shapes + group
            if shapes is not None:
                truth = ",".join(str(sum(numbers)) for numbers in groups)
                return {"shapes": [asdict(shape) for shape in shapes]}, truth
        raise Unsuitable(
            f"shapes_per_frame={list(params.shapes_per_frame)}: this many shapes of up to {params.size[1]} of the "
            f"short side do not fit on frames of {size[0]}x{size[1]}. Lower it or size."
        )

    def render(self, recipe: Recipe, frames: Frames, borrowed: Frames | None) -> Sample:
        """Return the sample, with the shapes drawn onto a copy of the frames."""
        drawn_on = np.array(frames, order="C")
        for shape in recipe.params["shapes"]:
            draw_shape(drawn_on, Shape(**shape))
        return Sample(recipe, (Clip(drawn_on, np.array(recipe.frame_times_s)),), (0, QUESTION))

    def edited(self, recipe: Recipe) -> list[list[int]]:
        """Return the frames that shapes were drawn on."""
        return [sorted({shape["frame"] for shape in recipe.params["shapes"]})]


def _numbers(params: CountingParams, rng: np.random.Generator) -> tuple[int, ...]:
    """Draw the number of shapes on each frame of one kind."""
    if params.balanced:
        by_total, weights = _balanced_totals(params.frames_per_kind, params.shapes_per_frame)
        choices = by_total[int(rng.choice(len(by_total), p=weights))]
        return choices[int(rng.integers(len(choices)))]
    num_frames = int(rng.integers(params.frames_per_kind[0], params.frames_per_kind[1] + 1))
    low, high = params.shapes_per_frame
    return tuple(int(number) for number in rng.integers(low, high + 1, num_frames))


@lru_cache
def _balanced_totals(
    frames: tuple[int, int], per_frame: tuple[int, int]
) -> tuple[list[list[tuple[int, ...]]], NDArray[np.float64]]:
    """Return the numbers per frame that add up to each possible total, and the probability of each total."""
    ways: dict[int, list[tuple[int, ...]]] = {}
    for length in range(frames[0], frames[1] + 1):
        for numbers in product(range(per_frame[0], per_frame[1] + 1), repeat=length):
            ways.setdefault(sum(numbers), []).append(numbers)
    totals = sorted(ways)
    scores = np.array([[count_accuracy((p,), (g,)) for g in totals] for p in range(1, totals[-1] + 1)])
    return [ways[total] for total in totals], balanced_weights(scores)


def _frames(
    groups: list[tuple[int, ...]], num_frames: int, min_distance: int, rng: np.random.Generator
) -> list[list[int]] | None:
    """Draw the frames of each kind; None if two kinds share a frame."""
    chosen: list[list[int]] = []
    for numbers in groups:
        # Draw distinct numbers and move them apart by the distance, so that every valid choice is equally likely.
        free = num_frames - (len(numbers) - 1) * (min_distance - 1)
        picked = np.sort(rng.choice(free, len(numbers), replace=False))
        chosen.append([int(frame) + place * (min_distance - 1) for place, frame in enumerate(picked)])
    shown = [frame for frames in chosen for frame in frames]
    return chosen if len(set(shown)) == len(shown) else None


def _place_all(
    kind: Kind,
    number: int,
    frame: int,
    size: tuple[int, int],
    params: CountingParams,
    rng: np.random.Generator,
) -> list[Shape] | None:
    """Place this many shapes on one frame; None if one of them finds no room."""
    placed: list[Shape] = []
    for _ in range(number):
        for _ in range(_MAX_PLACES_PER_SHAPE):
            shape = _random_shape(kind, frame, size, params, rng)
            if all(shape.clear_of(other) for other in placed):
                placed.append(shape)
                break
        else:
            return None
    return placed


def _random_shape(
    kind: Kind, frame: int, size: tuple[int, int], params: CountingParams, rng: np.random.Generator
) -> Shape:
    height, width = size
    radius = max(4, round(min(size) * float(rng.uniform(*params.size)) / 2))
    return Shape(
        kind=kind,
        frame=frame,
        x_px=int(rng.integers(radius, width - radius)),
        y_px=int(rng.integers(radius, height - radius)),
        radius_px=radius,
        angle=int(rng.integers(360)),
        rgb=bright_colour(rng),
    )

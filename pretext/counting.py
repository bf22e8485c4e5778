"""Object counting: how many circles, squares and triangles were drawn? The answer is `c,s,t`."""

from dataclasses import asdict
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pretext.recipe import Clip, Frames, Recipe, Sample
from pretext.shapes import KINDS, Kind, Shape, bright_colour, draw_shape
from pretext.task import Task, TaskParams

QUESTION = "How many circles, squares, triangles were drawn on the video? Reply three numbers, like 4,0,5."

_PLACES_PER_SHAPE = 50
_TRIES = 100


class CountingParams(TaskParams, frozen=True):
    """How many shapes of each kind, for how many frames, how large and in which colours.

    `colours="family"` gives circles reddish, squares greenish and triangles bluish hues. A tiny model can
    learn that, but plainly because the colour then gives the kind away; "random" asks for the form itself.
    """

    min_shapes: Annotated[int, Field(ge=0)] = 1  # of each kind
    max_shapes: Annotated[int, Field(ge=1)] = 3
    min_run: Annotated[int, Field(ge=1)] = 1  # consecutive frames that one shape is on
    max_run: Annotated[int, Field(ge=1)] = 3
    min_size: Annotated[float, Field(gt=0, lt=1)] = 0.2  # of the frame's short side
    max_size: Annotated[float, Field(gt=0, lt=1)] = 0.3
    colours: Literal["random", "family"] = "random"

    @model_validator(mode="after")
    def _ranges_rise(self) -> Self:
        for name in ("shapes", "run", "size"):
            low, high = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if low > high:
                raise ValueError(f"min_{name}={low}: above max_{name}={high}. Lower it.")
        return self


class Counting(Task[CountingParams]):
    """Shapes are drawn onto the frames, each in one place for one run of frames; each counts once.

    Every shape is wholly within the frame and never covered by another. What the source itself shows (a
    wheel, a window) does not count: the question asks for what was drawn on it.
    """

    name = "counting"
    Params = CountingParams

    def check(self, params: CountingParams, num_frames: int) -> None:
        if params.max_run > num_frames:
            raise ValueError(
                f"max_run={params.max_run}: above num_frames={num_frames}. Lower it to that or less."
            )

    def draw(
        self,
        times_s: NDArray[np.float64],
        size: tuple[int, int],
        params: CountingParams,
        rng: np.random.Generator,
    ) -> tuple[dict[str, Any], str]:
        counts = [int(rng.integers(params.min_shapes, params.max_shapes + 1)) for _ in KINDS]
        kinds = [kind for kind, count in zip(KINDS, counts, strict=True) for _ in range(count)]
        for _ in range(_TRIES):
            shapes = _place_all(kinds, len(times_s), size, params, rng)
            if shapes is not None:
                return {"shapes": [asdict(shape) for shape in shapes]}, ",".join(map(str, counts))
        raise ValueError(
            f"{len(kinds)} shapes of up to {params.max_size} of the short side find no room on "
            f"{len(times_s)} frames of {size[0]}x{size[1]}. Lower max_shapes, max_size or max_run."
        )

    def render(self, recipe: Recipe, frames: Frames) -> Sample:
        drawn_on = np.array(frames, order="C")
        for shape in recipe.params["shapes"]:
            draw_shape(drawn_on, Shape(**shape))
        return Sample(recipe, (Clip(drawn_on, np.array(recipe.frame_times_s)),), (0, QUESTION))


def _place_all(
    kinds: list[Kind],
    num_frames: int,
    size: tuple[int, int],
    params: CountingParams,
    rng: np.random.Generator,
) -> list[Shape] | None:
    """A place and a run for each, or None where one of them found no room."""
    placed: list[Shape] = []
    for kind in kinds:
        for _ in range(_PLACES_PER_SHAPE):
            shape = _random_shape(kind, num_frames, size, params, rng)
            if all(shape.clear_of(other) for other in placed):
                placed.append(shape)
                break
        else:
            return None
    return placed


def _random_shape(
    kind: Kind, num_frames: int, size: tuple[int, int], params: CountingParams, rng: np.random.Generator
) -> Shape:
    height, width = size
    size_px = max(6, round(min(size) * float(rng.uniform(params.min_size, params.max_size))))
    run = int(rng.integers(params.min_run, params.max_run + 1))
    first = int(rng.integers(num_frames - run + 1))
    return Shape(
        kind=kind,
        first=first,
        last=first + run - 1,
        left_px=int(rng.integers(width - size_px + 1)),
        top_px=int(rng.integers(height - size_px + 1)),
        size_px=size_px,
        rgb=bright_colour(kind, params.colours, rng),
    )

"""Anomaly grounding: when was the video altered? The answer is an interval, `start-end` in seconds."""

from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pretext.perturb import mirror, rotate_180, swap_channels, zoom_out
from pretext.recipe import Clip, Frames, Recipe, Sample
from pretext.task import Task, TaskParams

Perturbation = Literal["channel_swap", "mirror", "zoom_out", "rotate_180"]

QUESTION = "One part of the video was altered. When? Reply only start-end in seconds, like 12.5-20.0."

_CHANNEL_ORDERS = ((0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))  # all but the unchanged one


class GroundingParams(TaskParams, frozen=True):
    """Which anomalies there are, and over how many consecutive frames one lasts (both ends included)."""

    perturbations: Annotated[tuple[Perturbation, ...], Field(min_length=1)] = (
        "channel_swap",
        "mirror",
        "zoom_out",
        "rotate_180",
    )
    min_segment: Annotated[int, Field(ge=1)] = 8
    max_segment: Annotated[int, Field(ge=1)] = 16
    min_zoom: Annotated[float, Field(gt=0, lt=1)] = 0.5  # the zoom-out's factor, one for a whole segment
    max_zoom: Annotated[float, Field(gt=0, lt=1)] = 0.75

    @model_validator(mode="after")
    def _ranges_rise(self) -> Self:
        if self.min_segment > self.max_segment:
            raise ValueError(
                f"min_segment={self.min_segment}: above max_segment={self.max_segment}. Lower it."
            )
        if self.min_zoom > self.max_zoom:
            raise ValueError(f"min_zoom={self.min_zoom}: above max_zoom={self.max_zoom}. Lower it.")
        return self


class Grounding(Task[GroundingParams]):
    """One segment of the frames is perturbed; it may stand anywhere, but is never the whole video.

    The truth is [time of its first frame, time of the first frame after it), on the source's clock, which is
    also the clock of the clip's `times_s`. What follows the last frame is taken to come one mean step later.
    A source without colour, or one symmetrical from left to right, can hide a channel swap or a mirror.
    """

    name = "grounding"
    Params = GroundingParams

    def check(self, params: GroundingParams, num_frames: int) -> None:
        if params.max_segment >= num_frames:
            raise ValueError(
                f"max_segment={params.max_segment}: must be below num_frames={num_frames}, or the whole "
                f"video could be altered. Set it to {num_frames - 1} or less."
            )

    def draw(
        self,
        times_s: NDArray[np.float64],
        size: tuple[int, int],
        params: GroundingParams,
        rng: np.random.Generator,
    ) -> tuple[dict[str, Any], str]:
        perturbation = params.perturbations[int(rng.integers(len(params.perturbations)))]
        length = int(rng.integers(params.min_segment, params.max_segment + 1))
        first = int(rng.integers(len(times_s) - length + 1))
        drawn: dict[str, Any] = {"perturbation": perturbation, "first": first, "last": first + length - 1}
        if perturbation == "channel_swap":
            drawn["order"] = list(_CHANNEL_ORDERS[int(rng.integers(len(_CHANNEL_ORDERS)))])
        if perturbation == "zoom_out":
            drawn["factor"] = round(float(rng.uniform(params.min_zoom, params.max_zoom)), 3)
        mean_step_s = (times_s[-1] - times_s[0]) / (len(times_s) - 1)
        bounds_s = np.append(times_s, times_s[-1] + mean_step_s)
        return drawn, interval(float(bounds_s[first]), float(bounds_s[first + length]))

    def render(self, recipe: Recipe, frames: Frames) -> Sample:
        drawn = recipe.params
        segment = slice(drawn["first"], drawn["last"] + 1)
        altered = frames.copy()
        altered[segment] = _perturbed(frames[segment], drawn)
        clip = Clip(altered, np.array(recipe.frame_times_s))
        return Sample(recipe, (clip,), (0, QUESTION))


def interval(start_s: float, end_s: float) -> str:
    """`start-end` with one decimal, and up to three where the ends would otherwise read the same.

    >>> interval(1.4444, 2.9444), interval(1.51, 1.54)
    ('1.4-2.9', '1.51-1.54')
    """
    for decimals in (1, 2, 3):
        start, end = f"{start_s:.{decimals}f}", f"{end_s:.{decimals}f}"
        if start != end:
            return f"{start}-{end}"
    raise ValueError(f"interval from {start_s} to {end_s} s: shorter than 1 ms, so it cannot be written.")


def _perturbed(frames: Frames, drawn: dict[str, Any]) -> Frames:
    match drawn["perturbation"]:
        case "channel_swap":
            return swap_channels(frames, drawn["order"])
        case "mirror":
            return mirror(frames)
        case "zoom_out":
            return zoom_out(frames, drawn["factor"])
        case "rotate_180":
            return rotate_180(frames)
        case other:
            raise ValueError(f"perturbation {other!r}: not known; the recipe is from another version.")

"""Anomaly grounding: when was the video altered? The truth is an interval, `start-end` in seconds."""

from functools import lru_cache
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pretext.randomness import generator
from pretext.recipe import Clip, Frames, Recipe, Sample
from pretext.tasks import perturb
from pretext.tasks.balance import balanced_weights
from pretext.tasks.task import FloatRange, IntRange, Material, Task, TaskParams, Unsuitable
from pretext.video.cache import FrameKey
from pretext.video.frame_stats import FrameStats
from reward.rules import interval_iou
from vocabulary.over_http import OverHttp

Perturbation = Literal[
    "channel_swap", "grayscale", "invert", "rotate_90", "rotate_180", "rotate_270", "mirror", "zoom_in",
    "zoom_out", "noise", "blur", "saturation", "shuffle", "stutter", "swap",
]  # fmt: skip

# Descriptions of the altered part, for the question.
DESCRIPTIONS: dict[Perturbation, str] = {
    "channel_swap": "red, green and blue are exchanged",
    "grayscale": "the colours are gone",
    "invert": "light and dark are inverted, as in a negative",
    "rotate_90": "the picture is turned a quarter to the right",
    "rotate_180": "the picture is upside down",
    "rotate_270": "the picture is turned a quarter to the left",
    "mirror": "left and right are exchanged",
    "zoom_in": "the picture is enlarged",
    "zoom_out": "the picture is smaller, with a black border",
    "noise": "the picture is noisy",
    "blur": "the picture is out of focus",
    "saturation": "the colours are far too strong",
    "shuffle": "the frames are out of order",
    "stutter": "the picture freezes again and again",
    "swap": "another video is shown",
}

_CHANNEL_ORDERS = ((0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))  # all orders but the unchanged one
_MAX_SEGMENTS = 20  # number of segments tried before a video counts as unsuitable


class GroundingParams(TaskParams, frozen=True):
    """The anomalies, the number of consecutive frames they last, and their strength.

    A value is drawn from each range once for a whole segment. The anomalies take turns, so each is equally frequent.
    """

    perturbations: Annotated[tuple[Perturbation, ...], Field(min_length=1), OverHttp(choice=True)] = (
        "channel_swap",
        "mirror",
        "zoom_out",
        "rotate_180",
    )
    segment: Annotated[IntRange, OverHttp(largest=256)] = (8, 16)  # frames
    # whether the question says what was altered, like VideoSSR's
    describe: Annotated[bool, OverHttp(choice=True)] = True
    zoom_in: Annotated[FloatRange, OverHttp(largest=10)] = (1.3, 1.5)  # times larger
    zoom_out: Annotated[FloatRange, OverHttp(largest=10)] = (1.2, 1.4)  # times smaller
    # standard deviation, on a scale of 0 to 255
    noise: Annotated[FloatRange, OverHttp(largest=255)] = (35.0, 70.0)
    blur: Annotated[FloatRange, OverHttp(largest=50)] = (1.5, 2.5)  # standard deviation in pixels
    saturation: Annotated[FloatRange, OverHttp(largest=100)] = (1.8, 2.5)  # times as strong
    # number of different frames left in a segment
    stutter: Annotated[IntRange, OverHttp(largest=256)] = (2, 5)
    # Mean changes of a pixel value, on a scale of 0 to 255. Nobody would see anomalies that change less, so those are
    # not drawn. The first is from a frame to the same in grey, mirrored or upside down:
    min_change: Annotated[float, Field(ge=0), OverHttp(largest=255)] = 4.0
    # The second is from a frame to the next, for shuffles and stutters:
    min_motion: Annotated[float, Field(ge=0), OverHttp(largest=255)] = 1.0
    # place segments so that the best constant answer earns least
    balanced: Annotated[bool, OverHttp(choice=True)] = False


class Grounding(Task[GroundingParams]):
    """The grounding task: one segment of the frames is altered. It may be anywhere, but is never the whole video.

    The truth is [time of its first frame, time of the first frame after it), on the clock of the clip's `times_s`. The
    frame after the last one is taken to come one mean step later. Anomalies that would not show are not drawn: a
    channel swap without colour, a mirrored symmetry, shuffled frames that are all alike.
    """

    name = "grounding"
    Params = GroundingParams

    def check(self, params: GroundingParams, num_frames: int) -> None:
        """Raise ValueError for segments that are too long, or too short for their anomalies."""
        if params.segment[1] >= num_frames:
            raise ValueError(
                f"segment={list(params.segment)}: must end below num_frames={num_frames}, or the whole "
                f"video could be altered. Set its end to {num_frames - 1} or less."
            )
        if params.stutter[1] >= params.segment[0] and "stutter" in params.perturbations:
            raise ValueError(
                f"stutter={list(params.stutter)}: a segment of {params.segment[0]} frames with that many "
                f"different ones would not freeze. Set its end to {params.segment[0] - 1} or less."
            )
        if "shuffle" in params.perturbations and params.segment[0] < 2:
            raise ValueError("segment=[1, ...]: one frame cannot be shuffled. Set its start to 2 or more.")

    def draw(
        self, material: Material, params: GroundingParams, rng: np.random.Generator
    ) -> tuple[dict[str, Any], str]:
        """Return the anomaly with its segment and strength, and the truth: the interval."""
        perturbation = params.perturbations[material.turn % len(params.perturbations)]
        times_s = material.video.times_s
        for _ in range(_MAX_SEGMENTS):
            first, length = _segment(len(times_s), params, rng)
            if _shows(perturbation, material, first, length, params):
                break
        else:
            raise Unsuitable(f"{material.video.path}: {perturbation} would not show in it")
        drawn: dict[str, Any] = {"perturbation": perturbation, "first": first, "last": first + length - 1}
        if params.describe:
            drawn["describe"] = True
        drawn |= _strength(perturbation, params, first, length, rng)
        if perturbation == "swap":
            other = material.other
            assert other is not None  # `_shows` checked it.
            drawn["other"] = {
                "video": other.path,
                "reader": other.reader,
                "indices": other.indices[first : first + length].tolist(),
            }
        mean_step_s = (times_s[-1] - times_s[0]) / (len(times_s) - 1)
        bounds_s = np.append(times_s, times_s[-1] + mean_step_s)
        return drawn, interval(float(bounds_s[first]), float(bounds_s[first + length]))

    def borrows(self, recipe: Recipe) -> FrameKey | None:
        """Return the key of the other video's frames, for a swap."""
        other = recipe.params.get("other")
        if other is None:
            return None
        size = (recipe.height_px, recipe.width_px)
        return FrameKey(other["video"], other["reader"], tuple(other["indices"]), *size, cover=True)

    def render(self, recipe: Recipe, frames: Frames, borrowed: Frames | None) -> Sample:
        """Return the sample, with its segment altered in a copy of the frames."""
        altered = _perturbed(frames, recipe.params, borrowed)
        clip = Clip(np.ascontiguousarray(altered), np.array(recipe.frame_times_s))
        return Sample(recipe, (clip,), (0, question(recipe.params)))

    def edited(self, recipe: Recipe) -> list[list[int]]:
        """Return the frames of the segment."""
        return [list(range(recipe.params["first"], recipe.params["last"] + 1))]


def question(drawn: dict[str, Any]) -> str:
    """Return the question, which names the anomaly if the recipe says so."""
    form = "Reply only start-end in seconds, like 12.5-20.0."
    if not drawn.get("describe"):
        return f"One part of the video was altered. When? {form}"
    return f"In one part of the video {DESCRIPTIONS[drawn['perturbation']]}. When? {form}"


def interval(start_s: float, end_s: float) -> str:
    """Return `start-end` with one decimal, or up to three if both ends would otherwise read the same.

    >>> interval(1.4444, 2.9444), interval(1.51, 1.54)
    ('1.4-2.9', '1.51-1.54')
    """
    for decimals in (1, 2, 3):
        start, end = f"{start_s:.{decimals}f}", f"{end_s:.{decimals}f}"
        if start != end:
            return f"{start}-{end}"
    raise Unsuitable(f"interval from {start_s} to {end_s} s: is shorter than 1 ms, so it cannot be written.")


def _segment(num_frames: int, params: GroundingParams, rng: np.random.Generator) -> tuple[int, int]:
    """Draw a segment: (first frame, length)."""
    if params.balanced:
        segments, weights = _balanced_segments(num_frames, params.segment)
        first, end = segments[int(rng.choice(len(segments), p=weights))]
        return first, end - first
    length = int(rng.integers(params.segment[0], params.segment[1] + 1))
    return int(rng.integers(num_frames - length + 1)), length


@lru_cache
def _balanced_segments(
    num_frames: int, lengths: tuple[int, int]
) -> tuple[list[tuple[int, int]], NDArray[np.float64]]:
    """Return all segments (first, end) and their probabilities; constant answers may be any interval."""
    answers = [(a, b) for a in range(num_frames) for b in range(a + 1, num_frames + 1)]
    segments = [(a, b) for a, b in answers if lengths[0] <= b - a <= lengths[1]]
    scores = np.array([[interval_iou(answer, truth) for truth in segments] for answer in answers])
    return segments, balanced_weights(scores)


def _shows(
    perturbation: Perturbation, material: Material, first: int, length: int, params: GroundingParams
) -> bool:
    """Return whether the video's statistics say that a person could see the anomaly; True without statistics."""
    if perturbation == "swap":
        return material.other is not None
    stats: FrameStats | None = material.video.frame_stats
    if stats is None:
        return True
    match perturbation:
        case "channel_swap" | "grayscale" | "saturation":
            return stats.colour >= params.min_change
        case "mirror":
            return stats.mirrored >= params.min_change
        case "rotate_90" | "rotate_180" | "rotate_270":
            return stats.turned >= params.min_change
        case "shuffle" | "stutter":
            return float(np.mean(stats.motion[first : first + length - 1])) >= params.min_motion
    return True


def _strength(
    perturbation: Perturbation, params: GroundingParams, first: int, length: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Draw the strength of an anomaly, or the order of its frames or channels."""
    match perturbation:
        case "channel_swap":
            return {"order": list(_CHANNEL_ORDERS[int(rng.integers(len(_CHANNEL_ORDERS)))])}
        case "zoom_in" | "zoom_out" | "blur" | "saturation":
            return {"strength": round(float(rng.uniform(*getattr(params, perturbation))), 3)}
        case "noise":
            strength = round(float(rng.uniform(*params.noise)), 3)
            return {"strength": strength, "noise_seed": int(rng.integers(2**32))}
        case "shuffle":
            return {"order": _out_of_place(length, rng)}
        case "stutter":
            num_left = int(rng.integers(params.stutter[0], params.stutter[1] + 1))
            return {"order": [length * (place * num_left // length) // num_left for place in range(length)]}
    return {}


def _out_of_place(length: int, rng: np.random.Generator) -> list[int]:
    """Draw a permutation that moves every frame, because otherwise the segment could be shorter than the truth says."""
    while True:
        order = rng.permutation(length)
        if (order != np.arange(length)).all():
            return [int(place) for place in order]


def _perturbed(frames: Frames, drawn: dict[str, Any], borrowed: Frames | None) -> Frames:
    """Return all frames of the sample, altered. Most anomalies leave frames outside the segment unchanged."""
    segment = slice(drawn["first"], drawn["last"] + 1)
    match drawn["perturbation"]:
        case "zoom_in":
            return perturb.zoom_in(frames, segment, drawn["strength"])
        case "zoom_out":
            return perturb.zoom_out(frames, segment, drawn["strength"])
        case "rotate_90" | "rotate_270" as name:
            frames = perturb.crop_square(frames)
            new = perturb.rotate_quarter(frames[segment], 1 if name == "rotate_90" else 3)
        case "swap":
            assert borrowed is not None
            new = borrowed
        case _:
            new = _perturbed_segment(frames[segment], drawn)
    altered = frames.copy()
    altered[segment] = new
    return altered


def _perturbed_segment(frames: Frames, drawn: dict[str, Any]) -> Frames:
    """Return the frames of a segment, altered; for anomalies that need no other frames."""
    match drawn["perturbation"]:
        case "channel_swap":
            return perturb.swap_channels(frames, drawn["order"])
        case "grayscale":
            return perturb.saturate(frames, 0.0)
        case "saturation":
            return perturb.saturate(frames, drawn["strength"])
        case "invert":
            return perturb.invert(frames)
        case "rotate_180":
            return perturb.rotate_180(frames)
        case "mirror":
            return perturb.mirror(frames)
        case "blur":
            return perturb.blur(frames, drawn["strength"])
        case "noise":
            return perturb.add_noise(frames, drawn["strength"], generator(drawn["noise_seed"], "noise"))
        case "shuffle" | "stutter":
            return frames[drawn["order"]]
        case other:
            raise ValueError(f"perturbation {other!r}: is unknown; the recipe is from another version.")

"""Annotations of a sample for people: the frames that were edited, the shapes that were drawn, the true places."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pretext.recipe import IMAGES, Recipe, Sample
from pretext.tasks import TASKS
from pretext.tasks.grounding import DESCRIPTIONS
from pretext.tasks.shapes import KINDS
from reward.parsing import parse_interval, parse_order

_MAX_DETAILS_LENGTH = 300  # longest JSON shown for a task that `details` has no wording for, characters


@dataclass(frozen=True)
class Box:
    """A rectangle around something that was drawn on a frame, in the frame's pixels."""

    frame: int  # number of the frame within its clip
    left: int
    top: int
    width: int
    height: int
    label: str


def edited_frames(sample: Sample) -> list[set[int]]:
    """Return the edited frames of each clip as shown; for an imported sample, those within the true interval."""
    recipe = sample.recipe
    nothing: list[set[int]] = [set() for _ in sample.clips]
    if recipe.reader != IMAGES:
        return [set(frames) for frames in TASKS[recipe.task].edited(recipe)] or nothing
    truth = parse_interval(recipe.truth) if recipe.task == "grounding" else None
    if truth is None:
        return nothing
    # An imported recipe does not say what was edited, but the truth does, except for rounding.
    within = [(truth[0] - 1e-6 <= clip.times_s) & (clip.times_s < truth[1] - 1e-6) for clip in sample.clips]
    return [set(np.flatnonzero(frames).tolist()) for frames in within]


def boxes(recipe: Recipe) -> list[Box]:
    """Return a box around every shape that was drawn for a counting sample; none for other tasks."""
    shapes = recipe.params.get("shapes", ()) if recipe.task == "counting" and recipe.reader != IMAGES else ()
    return [
        Box(
            shape["frame"],
            shape["x_px"] - shape["radius_px"],
            shape["y_px"] - shape["radius_px"],
            2 * shape["radius_px"] + 1,
            2 * shape["radius_px"] + 1,
            shape["kind"],
        )
        for shape in shapes
    ]


def true_places(sample: Sample) -> list[int] | None:
    """Return the true place, from 0, of each clip as shown; None unless the sample is a jigsaw."""
    order = parse_order(sample.recipe.truth) if sample.recipe.task == "jigsaw" else None
    if order is None or len(order) != len(sample.clips):
        return None
    return [order.index(number + 1) for number in range(len(order))]


def details(recipe: Recipe) -> str:
    """Return a description of the edits of a sample's frames."""
    drawn = recipe.params
    if recipe.reader == IMAGES:
        return "imported; its frames are image files"
    if recipe.task == "grounding":
        return _anomaly(drawn, recipe.frame_times_s)
    if recipe.task == "counting":
        return _shapes(drawn["shapes"], recipe.frame_times_s)
    if recipe.task == "jigsaw":
        gap = drawn.get("gap", 0)
        return f"{gap} frames dropped at each cut" if gap else "no frames dropped at the cuts"
    text = json.dumps(drawn)
    return text if len(text) <= _MAX_DETAILS_LENGTH else text[: _MAX_DETAILS_LENGTH - 1] + "…"


def _anomaly(drawn: dict[str, Any], times_s: Sequence[float]) -> str:
    """Return a description of an anomaly.

    >>> _anomaly({"perturbation": "zoom_in", "first": 1, "last": 2, "strength": 1.4}, (0.0, 0.5, 1.0, 1.5))
    'zoom in, 2 frames at 0.50 to 1.00 s: the picture is enlarged (1.40 times)'
    """
    kind, first, last = drawn["perturbation"], drawn["first"], drawn["last"]
    more = ""
    match kind:
        case "channel_swap":
            names = ("red", "green", "blue")
            swaps = zip(names, drawn["order"], strict=True)
            more = ", ".join(f"{new} shows {names[old]}" for new, old in swaps if new != names[old])
        case "zoom_in" | "zoom_out" | "saturation":
            more = f"{drawn['strength']:.2f} times"
        case "noise":
            more = f"standard deviation {drawn['strength']:.0f} of 255"
        case "blur":
            more = f"standard deviation {drawn['strength']:.1f} px"
        case "shuffle":
            more = "new order " + " ".join(str(place + 1) for place in drawn["order"])
        case "stutter":
            more = f"{len(set(drawn['order']))} different frames left"
        case "swap":
            more = Path(drawn["other"]["video"]).name
    where = f"{last - first + 1} frames at {times_s[first]:.2f} to {times_s[last]:.2f} s"
    words = f"{kind.replace('_', ' ')}, {where}: {DESCRIPTIONS[kind]}"
    return f"{words} ({more})" if more else words


def _shapes(shapes: Sequence[dict[str, Any]], times_s: Sequence[float]) -> str:
    """Return a description of the shapes.

    >>> _shapes([{"kind": "circle", "frame": 1}, {"kind": "circle", "frame": 1}], (0.0, 0.5))
    'circles: 2 at 0.50 s; squares: none; triangles: none'
    """
    parts = []
    for kind in KINDS:
        frames = [shape["frame"] for shape in shapes if shape["kind"] == kind]
        places = [f"{frames.count(frame)} at {times_s[frame]:.2f} s" for frame in sorted(set(frames))]
        parts.append(f"{kind}s: {', '.join(places) or 'none'}")
    return "; ".join(parts)

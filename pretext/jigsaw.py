"""Temporal jigsaw: in which order were these clips? The answer is their numbers, as one string of digits."""

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pretext.recipe import Clip, Frames, Recipe, Sample
from pretext.task import Task, TaskParams


class JigsawParams(TaskParams, frozen=True):
    """Into how many clips of equal length the frames are cut."""

    num_clips: Annotated[int, Field(ge=2, le=9)] = 6


class Jigsaw(Task[JigsawParams]):
    """The frames are cut into clips of equal length, which are shown shuffled, each with its own clock from
    0.

    All orders are equally likely, the true one included: if it never came, that would be something to learn.
    Shown 3rd, 1st, 2nd, the clips are numbered 1, 2, 3 as they come, and the answer is "231".
    """

    name = "jigsaw"
    Params = JigsawParams

    def check(self, params: JigsawParams, num_frames: int) -> None:
        if num_frames % (2 * params.num_clips) != 0:
            raise ValueError(
                f"num_clips={params.num_clips}: {num_frames} frames cannot be cut into that many clips "
                f"of one even length. Set num_frames to a multiple of {2 * params.num_clips}."
            )

    def draw(
        self,
        times_s: NDArray[np.float64],
        size: tuple[int, int],
        params: JigsawParams,
        rng: np.random.Generator,
    ) -> tuple[dict[str, Any], str]:
        shown = [int(part) for part in rng.permutation(params.num_clips)]
        answer = "".join(str(shown.index(part) + 1) for part in range(params.num_clips))
        return {"shown": shown}, answer  # shown[i]: which part of the video stands in the i-th place

    def render(self, recipe: Recipe, frames: Frames) -> Sample:
        shown: list[int] = recipe.params["shown"]
        parts = np.split(frames, len(shown))
        times_s = np.split(np.array(recipe.frame_times_s), len(shown))
        clips = tuple(Clip(parts[part].copy(), times_s[part] - times_s[part][0]) for part in shown)
        labelled = [piece for place in range(len(shown)) for piece in (f"Clip {place + 1}:", place)]
        return Sample(recipe, clips, (*labelled, question(len(shown))))


def question(num_clips: int) -> str:
    """The question; its example has the right form, and is the same whatever the answer.

    >>> question(4)
    'Sort the clips by time. Reply only their numbers, like 2413.'
    """
    example = "".join(str(n) for first in (2, 1) for n in range(first, num_clips + 1, 2))
    return f"Sort the clips by time. Reply only their numbers, like {example}."

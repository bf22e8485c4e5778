"""Temporal jigsaw: in which order were these clips? The answer is their numbers: digits, with commas from ten on."""

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from pretext.recipe import Clip, Frames, Recipe, Sample
from pretext.tasks.task import Material, Task, TaskParams
from reward.parsing import MOST_CLIPS, write_order
from vocabulary.over_http import OverHttp


class JigsawParams(TaskParams, frozen=True):
    """Into how many clips of equal length the frames are cut, and how many are dropped at each cut.

    Where one clip ends the next begins, so on a short video the order can be told from the cuts alone (`data
    stats` says how far). A gap takes that away: half of it is dropped on either side of a cut, and as much at
    both ends of the video, so that the clips stay equally long.
    """

    num_clips: Annotated[int, Field(ge=2, le=MOST_CLIPS), OverHttp(largest=12)] = 6
    gap: Annotated[int, Field(ge=0, multiple_of=2), OverHttp(largest=256)] = 0  # frames


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
        if params.gap >= num_frames // params.num_clips:
            raise ValueError(
                f"gap={params.gap}: nothing would be left of clips of {num_frames // params.num_clips} frames. "
                f"Set it to {num_frames // params.num_clips - 2} or less."
            )

    def draw(
        self, material: Material, params: JigsawParams, rng: np.random.Generator
    ) -> tuple[dict[str, Any], str]:
        shown = [int(part) for part in rng.permutation(params.num_clips)]
        answer = write_order([shown.index(part) + 1 for part in range(params.num_clips)])
        # shown[i]: which part of the video stands in the i-th place
        return {"shown": shown} | ({"gap": params.gap} if params.gap else {}), answer

    def render(self, recipe: Recipe, frames: Frames, borrowed: Frames | None) -> Sample:
        shown: list[int] = recipe.params["shown"]
        length = len(frames) // len(shown)
        trim = recipe.params.get("gap", 0) // 2
        times_s = np.array(recipe.frame_times_s)
        clips = []
        for part in shown:
            kept = slice(part * length + trim, (part + 1) * length - trim)
            clips.append(Clip(frames[kept].copy(), times_s[kept] - times_s[kept.start]))
        labelled = [piece for place in range(len(shown)) for piece in (f"Clip {place + 1}:", place)]
        return Sample(recipe, tuple(clips), (*labelled, question(len(shown))))


def question(num_clips: int) -> str:
    """The question; its example has the right form, and is the same whatever the answer.

    >>> question(4)
    'Sort the clips by time. Reply only their numbers, like 2413.'
    """
    example = write_order([n for first in (2, 1) for n in range(first, num_clips + 1, 2)])
    return f"Sort the clips by time. Reply only their numbers, like {example}."

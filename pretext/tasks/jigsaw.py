"""Temporal jigsaw: in which order were these clips? The truth is their numbers, with commas from ten clips on."""

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from pretext.recipe import Clip, Frames, Recipe, Sample
from pretext.tasks.task import Material, Task, TaskParams
from reward.parsing import MAX_CLIPS, write_order
from vocabulary.over_http import OverHttp


class JigsawParams(TaskParams, frozen=True):
    """The number of clips of equal length, and the number of frames dropped at each cut.

    Without a gap, each clip begins where another ends, so on a short video the cuts alone reveal the order (`videossr
    data stats` measures how much). Half of the gap is dropped on either side of a cut, and as much at both ends of the
    video, so that all clips stay equally long.
    """

    num_clips: Annotated[int, Field(ge=2, le=MAX_CLIPS), OverHttp(largest=12)] = 6
    gap: Annotated[int, Field(ge=0, multiple_of=2), OverHttp(largest=256)] = 0  # frames


class Jigsaw(Task[JigsawParams]):
    """The jigsaw task: the frames are cut into clips of equal length, shown shuffled, each with its own clock from 0.

    All orders are equally likely, including the true one; otherwise a model could learn that it never occurs. If the
    parts are shown in the order 3rd, 1st, 2nd, they are labelled Clip 1, Clip 2, Clip 3, and the truth is "231".
    """

    name = "jigsaw"
    Params = JigsawParams

    def check(self, params: JigsawParams, num_frames: int) -> None:
        """Raise ValueError if the frames cannot be cut into such clips."""
        if num_frames % (2 * params.num_clips) != 0:
            raise ValueError(
                f"num_clips={params.num_clips}: {num_frames} frames cannot be cut into that many clips "
                f"of one even length. Set num_frames to a multiple of {2 * params.num_clips}."
            )
        if params.gap >= num_frames // params.num_clips:
            raise ValueError(
                f"gap={params.gap}: clips of {num_frames // params.num_clips} frames would lose all of them. "
                f"Set it to {num_frames // params.num_clips - 2} or less."
            )

    def draw(
        self, material: Material, params: JigsawParams, rng: np.random.Generator
    ) -> tuple[dict[str, Any], str]:
        """Return the order in which the parts are shown, and the truth: their numbers in the video's order."""
        shown = [int(part) for part in rng.permutation(params.num_clips)]
        truth = write_order([shown.index(part) + 1 for part in range(params.num_clips)])
        # shown[i] is the part of the video that is shown in the i-th place.
        return {"shown": shown} | ({"gap": params.gap} if params.gap else {}), truth

    def render(self, recipe: Recipe, frames: Frames, borrowed: Frames | None) -> Sample:
        """Return the sample, with the clips in the order that the recipe says."""
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
    """Return the question. Its example has the right form, and does not depend on the truth.

    >>> question(4)
    'Sort the clips by time. Reply only their numbers, like 2413.'
    """
    example = write_order([n for first in (2, 1) for n in range(first, num_clips + 1, 2)])
    return f"Sort the clips by time. Reply only their numbers, like {example}."

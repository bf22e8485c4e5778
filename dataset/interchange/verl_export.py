"""Rendered samples as rows that VideoSSR's verl fork trains on. `dataset.interchange.verl_import` says what a row holds.

verl tells time by counting: the i-th frame of a clip is at i / sample_fps, from 0 on. So sample_fps is the true
mean rate, and an interval is told by the numbers of its frames on that clock: what begins with frame `first` and
ends with frame `last` is first / sample_fps to (last + 1) / sample_fps. Where frames are evenly spaced, that is
the source's time less the first frame's; where their rate varies, it is what the model is shown there.
"""

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from pretext.recipe import Clip, Sample
from pretext.tasks.grounding import interval
from pretext.video.frames import FrameSpec

VIDEO = "<video>"

_MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
_VIDEO = pa.struct(
    [
        ("video", pa.list_(pa.string())),
        ("sample_fps", pa.float64()),
        ("max_pixels", pa.int64()),
        ("min_pixels", pa.int64()),
    ]
)
SCHEMA = pa.schema(
    [
        ("data_source", pa.string()),
        ("prompt", pa.list_(_MESSAGE)),
        ("videos", pa.list_(_VIDEO)),
        ("ability", pa.string()),
        ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.string())])),
        (
            "extra_info",
            pa.struct(
                [
                    ("split", pa.string()),
                    ("index", pa.int64()),
                    ("answer", pa.string()),
                    ("question", pa.string()),
                    ("video_id", pa.string()),
                    ("sampling_fps", pa.float64()),
                    ("id", pa.string()),
                    ("seed", pa.int64()),
                    ("params", pa.string()),  # JSON
                ]
            ),
        ),
    ]
)


def verl_row(number: int, sample: Sample, files: Sequence[Sequence[str]], system: str) -> dict[str, Any]:
    """A row of SCHEMA. `files` are the frames of each clip, in the order of presentation.

    The user's message is the content as it stands, one "<video>" for each clip: what a chat template makes
    of it is what our own prompts hold. `system` is left out where it is empty.
    """
    recipe = sample.recipe
    order = [part for part in sample.content if isinstance(part, int)]
    rates = [sample_fps(clip) for clip in sample.clips]
    question, answer = question_text(sample), verl_answer(sample)
    messages = [{"role": "system", "content": system}] if system else []
    videos = [
        {"video": list(files[clip]), "sample_fps": rates[clip], **_pixel_limits(sample.clips[clip])}
        for clip in order
    ]
    return {
        "data_source": recipe.task,
        "prompt": [*messages, {"role": "user", "content": question}],
        "videos": videos,
        "ability": "video_understanding",
        "reward_model": {"style": "rule", "ground_truth": answer},
        "extra_info": {
            "split": "train",
            "index": number,
            "answer": answer,
            "question": question,
            "video_id": recipe.video,
            "sampling_fps": rates[0],
            "id": recipe.id,
            "seed": recipe.seed,
            "params": json.dumps(recipe.params, sort_keys=True, separators=(",", ":")),
        },
    }


def question_text(sample: Sample) -> str:
    """The content as one text, "<video>" where a clip stands."""
    return "".join(VIDEO if isinstance(part, int) else part for part in sample.content)


def sample_fps(clip: Clip) -> float:
    """Frames per second of the source, on average: (num_frames - 1) / (last time - first time)."""
    return float((len(clip.times_s) - 1) / (clip.times_s[-1] - clip.times_s[0]))


def verl_answer(sample: Sample) -> str:
    """The true answer, an interval on the clock that verl counts.

    Of images that others rendered, the clock is that one already, and the answer is left as they gave it.
    """
    params = sample.recipe.params
    if sample.recipe.task != "grounding" or "first" not in params:
        return sample.recipe.answer
    rate = sample_fps(sample.clips[0])
    return interval(params["first"] / rate, (params["last"] + 1) / rate)


def _pixel_limits(clip: Clip) -> dict[str, int]:
    """VideoSSR's, widened where the frames lie outside: a trainer must not resize them again."""
    published = FrameSpec()
    area_px = clip.frames.shape[1] * clip.frames.shape[2]
    return {
        "max_pixels": max(published.max_pixels, area_px),
        "min_pixels": min(published.min_pixels, area_px),
    }

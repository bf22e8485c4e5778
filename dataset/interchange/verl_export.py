"""Rendered samples as rows for training with VideoSSR's verl fork. `verl_import` describes a row.

verl computes times by counting: frame i of a clip, from 0, is at i / sample_fps. So sample_fps is the true mean rate,
and an interval from frame `first` to frame `last` is first / sample_fps to (last + 1) / sample_fps. If frames are
evenly spaced, this is the source's time minus the time of the first frame. If the rate varies, it differs from the
source's time, but agrees with the times that verl gives to the model.
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
    """Return a row of SCHEMA.

    The user's message is the sample's content with one "<video>" for each clip, so that a chat template makes the same
    prompt from it as this project does.

    Args:
        number: number of the sample, from 0.
        files: names of the frame files of each clip, in order of presentation.
        system: system message; empty for none.
    """
    recipe = sample.recipe
    order = [part for part in sample.content if isinstance(part, int)]
    rates = [sample_fps(clip) for clip in sample.clips]
    question, truth = question_text(sample), verl_truth(sample)
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
        "reward_model": {"style": "rule", "ground_truth": truth},
        "extra_info": {
            "split": "train",
            "index": number,
            "answer": truth,
            "question": question,
            "video_id": recipe.video,
            "sampling_fps": rates[0],
            "id": recipe.id,
            "seed": recipe.seed,
            "params": json.dumps(recipe.params, sort_keys=True, separators=(",", ":")),
        },
    }


def question_text(sample: Sample) -> str:
    """Return the content as one text, with "<video>" in place of each clip."""
    return "".join(VIDEO if isinstance(part, int) else part for part in sample.content)


def sample_fps(clip: Clip) -> float:
    """Return the mean rate in frames per second: (num_frames - 1) / (last time - first time)."""
    return float((len(clip.times_s) - 1) / (clip.times_s[-1] - clip.times_s[0]))


def verl_truth(sample: Sample) -> str:
    """Return the truth, with an interval converted to the times that verl computes.

    The truths of imported samples use these times already, so they are unchanged.
    """
    params = sample.recipe.params
    if sample.recipe.task != "grounding" or "first" not in params:
        return sample.recipe.truth
    rate = sample_fps(sample.clips[0])
    return interval(params["first"] / rate, (params["last"] + 1) / rate)


def _pixel_limits(clip: Clip) -> dict[str, int]:
    """Return VideoSSR's limits, widened to include these frames, so that no trainer resizes them again."""
    published = FrameSpec()
    area_px = clip.frames.shape[1] * clip.frames.shape[2]
    return {
        "max_pixels": max(published.max_pixels, area_px),
        "min_pixels": min(published.min_pixels, area_px),
    }

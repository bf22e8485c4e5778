"""Groups of three tasks with frames on disk, like those that a run records."""

from pathlib import Path

import numpy as np

from store.records import ClipRecord, CompletionRecord, FrameRecord, GroupRecord
from tests.browser import pictures

_FRAMES = 12
_FRAME_INTERVAL_S = 2.5
_COMPLETIONS = 8
_SCENES = 9
QUESTIONS = {
    "grounding": "In part of this video the picture is upside down. From which second to which? Reply like 4.5 - 9.0.",
    "jigsaw": "These clips of one video are shuffled. In which order do they belong? Reply their numbers, like 2413.",
    "counting": "How many circles, squares, triangles were drawn on the video? Reply three numbers, like 4,0,5.",
}


def group(
    folder: Path, *, step: int, task: str, prompt: int, skill: float, behind: int = 0, held_out: bool = False
) -> GroupRecord:
    """Return a group of prompt `prompt` at `step`, from a policy whose completions are right with probability `skill`.

    Args:
        behind: number of steps by which the sampling policy is older than the trained one.
    """
    clips, answer, wrong = _SHOWN[task](folder, prompt % _SCENES)
    rng = np.random.default_rng([step, prompt, list(QUESTIONS).index(task)])
    completions = [_completion(answer, wrong, rng, skill) for _ in range(_COMPLETIONS)]
    rewards = np.array([reward for _, reward, _ in completions])
    advantages = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
    return GroupRecord(
        step=step,
        group_id=f"held-out-{task}-{prompt}" if held_out else f"{step}-{task}-{prompt}",
        task=task,
        prompt_key=f"{'held-out-' if held_out else ''}{task}-{prompt}",
        policy_version=max(0, step - behind),
        held_out=held_out,
        question=QUESTIONS[task],
        truth=answer,
        details=f"videos/landscape-{prompt % _SCENES}.mp4, {_FRAMES} frames of 2 fps",
        frames=clips,
        completions=tuple(
            CompletionRecord(
                text=text,
                reward=reward,
                advantage=float(advantage),
                valid=valid,
                finish_reason="length" if not valid else "stop",
                num_tokens=len(text) // 2 + 2,
                logprob_mean=-float(rng.uniform(0.02, 0.6)),
            )
            for (text, reward, valid), advantage in zip(completions, advantages, strict=True)
        ),
    )


def _completion(
    answer: str, wrong: list[str], rng: np.random.Generator, skill: float
) -> tuple[str, float, bool]:
    """Return (text, reward, whether the completion is valid)."""
    luck = rng.uniform()
    if luck < skill:
        return answer, 1.0, True
    if luck > 0.97:
        return (
            "The video shows a landscape with a ball that rolls from the left to the right, and",
            0.0,
            False,
        )
    worse = int(rng.integers(len(wrong)))
    return wrong[worse], [0.62, 0.33, 0.0][worse], True


def _grounding(folder: Path, prompt: int) -> tuple[tuple[ClipRecord, ...], str, list[str]]:
    first, last = 3 + prompt % 4, 6 + prompt % 5
    frames = []
    for place in range(_FRAMES):
        picture = pictures.frame(prompt, place / _FRAMES)
        edited = first <= place <= last
        picture = pictures.upside_down(picture) if edited else picture
        frames.append(
            _frame(folder, f"grounding-{prompt}-{place}", picture, place * _FRAME_INTERVAL_S, edited)
        )
    start, end = first * _FRAME_INTERVAL_S, (last + 1) * _FRAME_INTERVAL_S
    wrong = [f"{start - 2.5} - {end}", f"{start - 5} - {end + 5}", "0.0 - 2.5"]
    return (ClipRecord(label="", frames=tuple(frames)),), f"{start} - {end}", wrong


def _jigsaw(folder: Path, prompt: int) -> tuple[tuple[ClipRecord, ...], str, list[str]]:
    shown = [2, 0, 3, 1] if prompt % 2 else [1, 0, 2, 3]
    clips = []
    for number, part in enumerate(shown):
        frames = [
            _frame(
                folder,
                f"jigsaw-{prompt}-{number}-{place}",
                pictures.frame(prompt + 5, (3 * part + place) / _FRAMES),
                place * _FRAME_INTERVAL_S,
                False,
            )
            for place in range(3)
        ]
        clips.append(ClipRecord(label=f"Clip {number + 1}", true_place=part, frames=tuple(frames)))
    answer = "".join(str(shown.index(part) + 1) for part in range(4))
    return tuple(clips), answer, [answer[:2] + answer[:1:-1], answer[::-1], "1234"]


def _counting(folder: Path, prompt: int) -> tuple[tuple[ClipRecord, ...], str, list[str]]:
    rng = np.random.default_rng(prompt)
    counts, frames = [0, 0, 0], []
    for place in range(_FRAMES):
        picture = pictures.frame(prompt + 2, place / _FRAMES)
        boxes: list[pictures.Box] = []
        if place % 4 == 1:
            kind, number = place // 4, int(rng.integers(1, 4))
            picture, boxes = pictures.with_shapes(picture, kind, number, rng)
            counts[kind] += number
        name = f"counting-{prompt}-{place}"
        frames.append(_frame(folder, name, picture, place * _FRAME_INTERVAL_S, bool(boxes), tuple(boxes)))
    circles, squares, triangles = counts
    wrong = [f"{circles},{squares},{triangles + 1}", f"{circles + 1},{squares},0", "1,1,1"]
    return (ClipRecord(label="", frames=tuple(frames)),), f"{circles},{squares},{triangles}", wrong


def _frame(
    folder: Path,
    name: str,
    picture: pictures.Frame,
    time_s: float,
    edited: bool,
    boxes: tuple[pictures.Box, ...] = (),
) -> FrameRecord:
    file = f"frames/{name}.webp"
    if not (folder / file).exists():
        pictures.save(picture, folder / file)
    return FrameRecord(time_s=time_s, edited=edited, file=file, boxes=boxes)


_SHOWN = {"grounding": _grounding, "jigsaw": _jigsaw, "counting": _counting}

"""Helpers that create runs and records for the tests."""

from collections.abc import Sequence
from typing import Any

from store.database import Database
from store.records import ClipRecord, CompletionRecord, FrameRecord, GroupRecord
from store.runs import register_run
from store.writing.writer import RunWriter


def new_run(database: Database, name: str = "demo", **changes: Any) -> int:
    settings: dict[str, Any] = {
        "folder": f"/runs/{name}",
        "steps": 100,
        "config": {"train": {"steps": 100}},
        "environment": {"commit": "abc", "dirty": False, "packages": {"torch": "2.13"}, "host": "a"},
    }
    return register_run(database, name=name, **(settings | changes))


def write(database: Database, run_id: int, steps: Sequence[tuple[int, float, dict[str, float]]]) -> None:
    """Write steps, given as (step, time_s, metrics), and wait until they are stored."""
    writer = RunWriter(database, run_id)
    for step, time_s, metrics in steps:
        writer.step(step, time_s, metrics)
    writer.close()


def group(
    step: int, group_id: str = "g", rewards: Sequence[float] = (0.0, 1.0), **changes: Any
) -> GroupRecord:
    completions = tuple(
        CompletionRecord(
            text=f"answer {place}",
            reward=reward,
            advantage=reward - 0.5,
            valid=True,
            finish_reason="stop",
            num_tokens=7,
            logprob_mean=-0.25,
        )
        for place, reward in enumerate(rewards)
    )
    frame = FrameRecord(
        time_s=0.5, edited=True, file="frames/0.webp", boxes=((1.0, 2.0, 3.0, 4.0, "circle"),)
    )
    values: dict[str, Any] = {
        "task": "grounding",
        "prompt_key": "train-3",
        "policy_version": step,
        "question": "When?",
        "truth": "1-2",
        "details": "zoom",
        "frames": (ClipRecord(label="Clip 1", true_place=2, frames=(frame,)),),
        "completions": completions,
    }
    return GroupRecord(step=step, group_id=group_id, **(values | changes))

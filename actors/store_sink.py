"""A run's record in the run store, with the frames of its sampled groups as files beside it."""

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from actors.messages import EvaluationAnswers, Group, WorkerState
from actors.sinks import Sink, fmean_reward
from dataset.marks import details
from dataset.pictures import ClipPictures, Picture
from pretext.recipe import Recipe
from store import records
from store.database import open_database
from store.writer import RunWriter


class StoreSink(Sink):
    """Args: url: of the store; run_id: there; folder: the run's, for pictures."""

    def __init__(self, url: str, run_id: int, folder: Path) -> None:
        self._database = open_database(url)
        self._writer = RunWriter(self._database, run_id)
        self._folder = folder

    def event(self, time_s: float, kind: str, message: str) -> None:
        self._writer.event(kind, message, time_s)

    def step(self, step: int, time_s: float, metrics: Mapping[str, float]) -> None:
        self._writer.step(step, time_s, metrics)

    def group(self, step: int, group: Group, advantages: Sequence[float]) -> None:
        self._writer.group(_group_record(step, group, advantages, ()))

    def pictures(
        self, step: int, group: Group, advantages: Sequence[float], clips: Sequence[ClipPictures]
    ) -> None:
        """Write the files first: a group names none that is not there."""
        folder = Path("frames", f"{step:06}", re.sub(r"[^A-Za-z0-9_-]", "_", group.group_id))
        (self._folder / folder).mkdir(parents=True, exist_ok=True)
        stored = tuple(
            records.Clip(
                label=clip.label,
                true_place=clip.true_place,
                frames=tuple(
                    self._frame(picture, folder / f"{number}-{index:03}.webp")
                    for index, picture in enumerate(clip.frames)
                ),
            )
            for number, clip in enumerate(clips)
        )
        self._writer.group(_group_record(step, group, advantages, stored))

    def _frame(self, picture: Picture, file: Path) -> records.Frame:
        (self._folder / file).write_bytes(picture.webp)
        boxes = tuple((box.left, box.top, box.width, box.height, box.label) for box in picture.boxes)
        return records.Frame(time_s=picture.time_s, edited=picture.edited, file=file.as_posix(), boxes=boxes)

    def evaluation(self, answers: EvaluationAnswers) -> None:
        scores = {
            "greedy_mean": fmean_reward(answers.greedy),
            "greedy_valid": _share_valid(answers.greedy),
            "sampled_mean": fmean_reward(answers.sampled),
            "sampled_valid": _share_valid(answers.sampled),
            "samples": len(answers.truths),
        }
        self._writer.evaluation(
            records.EvaluationRecord(stage=answers.stage, step=answers.step, task=answers.task, scores=scores)
        )

    def workers(self, states: Sequence[WorkerState]) -> None:
        for state in states:
            place = state.place
            self._writer.worker(
                records.WorkerStatus(
                    role=state.role,
                    index=state.index,
                    node=place.node if place else "",
                    gpu=place.gpus if place else None,
                    pid=place.pid if place else None,
                    policy_version=state.policy_version,
                    queue=state.queue,
                    restarts=state.restarts,
                    state=state.state,
                    updated_at=time.time(),
                )
            )

    def forget(self, step: int) -> None:
        self._writer.drop_after(step - 1)

    def close(self) -> None:
        self._writer.close()
        self._database.close()


def _group_record(
    step: int, group: Group, advantages: Sequence[float], frames: tuple[records.Clip, ...]
) -> records.GroupRecord:
    meta = group.prompt.meta
    recipe = Recipe.from_json(meta.recipe)
    return records.GroupRecord(
        step=step,
        group_id=group.group_id,
        task=meta.task,
        prompt_key=recipe.id,
        policy_version=group.policy_version,
        held_out=meta.split == "held_out",
        question=meta.question,
        answer=meta.answer,
        details=details(recipe),
        frames=frames,
        completions=tuple(
            records.Completion(
                text=rollout.text,
                reward=rollout.reward,
                advantage=advantage,
                valid=rollout.valid,
                finish_reason=rollout.finish_reason,
                num_tokens=len(rollout.token_ids),
                logprob_mean=sum(rollout.logprobs) / max(1, len(rollout.logprobs)),
            )
            for rollout, advantage in zip(group.rollouts, advantages, strict=True)
        ),
    )


def _share_valid(scored: Sequence[tuple[float, bool]]) -> float:
    return sum(valid for _, valid in scored) / max(1, len(scored))

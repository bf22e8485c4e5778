"""A run's record in the run store, with the frames of its sampled groups as files beside it or in a bucket."""

import re
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from actors.messages import EvaluationAnswers, Group, WorkerState
from actors.record.background_uploads import BackgroundFiles
from actors.record.sinks import Sink, fmean_reward
from dataset.view.annotations import details
from dataset.view.thumbnails import ClipPictures, Picture
from pretext.recipe import Recipe
from store import records
from store.database import open_database
from store.files import Files
from store.writing.backlog import is_forgotten
from store.writing.writer import RunWriter

_LAST_PICTURES_S = 15.0  # that the end of a run waits for the bucket


class StoreSink(Sink):
    """Args: url: of the store; run_id: there; folder, bucket: the run's; pictures go to the latter if there is one."""

    def __init__(self, url: str, run_id: int, folder: Path, bucket: str | None = None) -> None:
        self._database = open_database(url)
        self._writer = RunWriter(self._database, run_id)
        self._files = Files(bucket or str(folder))
        self._later = BackgroundFiles(self._files) if bucket else None
        self._lock = threading.Lock()
        self._went_back: list[int] = []  # each time, the last step that it kept

    def event(self, time_s: float, kind: str, message: str) -> None:
        self._writer.event(kind, message, time_s)

    def step(self, step: int, time_s: float, metrics: Mapping[str, float]) -> None:
        self._writer.step(step, time_s, metrics)

    def group(self, step: int, group: Group, advantages: Sequence[float]) -> None:
        self._writer.group(_group_record(step, group, advantages, ()))

    def pictures(
        self, step: int, group: Group, advantages: Sequence[float], clips: Sequence[ClipPictures]
    ) -> None:
        """Write the files first: a group names none that is not there. To a bucket they go on other threads."""
        folder = f"frames/{step:06}/{re.sub(r'[^A-Za-z0-9_-]', '_', group.group_id)}"
        files: dict[str, bytes] = {}
        stored = []
        for number, clip in enumerate(clips):
            names = [f"{folder}/{number}-{index:03}.webp" for index in range(len(clip.frames))]
            files |= {name: picture.webp for name, picture in zip(names, clip.frames, strict=True)}
            frames = tuple(map(_frame, clip.frames, names))
            stored.append(records.Clip(label=clip.label, true_place=clip.true_place, frames=frames))
        record = _group_record(step, group, advantages, tuple(stored))
        if self._later is not None:
            self._later.write(files, partial(self._name_pictures, record, len(self._went_back)))
            return
        for name, data in files.items():
            self._files.write(name, data)
        self._writer.group(record)

    def _name_pictures(self, record: records.GroupRecord, times_back: int) -> None:
        with self._lock:  # a group of a step that is taken again must not come after it was forgotten
            if not any(is_forgotten(record, after) for after in self._went_back[times_back:]):
                self._writer.group(record)

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
        with self._lock:
            self._went_back.append(step - 1)
            self._writer.drop_after(step - 1)

    def close(self) -> None:
        try:
            if self._later is not None:
                self._later.close(_LAST_PICTURES_S)
        except Exception as error:
            self._writer.event("record_failed", f"Pictures are missing: {error}")
            raise
        finally:
            self._writer.close()
            self._database.close()


def _frame(picture: Picture, file: str) -> records.Frame:
    boxes = tuple((box.left, box.top, box.width, box.height, box.label) for box in picture.boxes)
    return records.Frame(time_s=picture.time_s, edited=picture.edited, file=file, boxes=boxes)


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

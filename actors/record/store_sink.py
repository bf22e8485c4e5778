"""A run's record in the run store. Frames of recorded groups are files in the run's folder or in a bucket."""

import logging
import re
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from actors.messages import Group, TaskEvaluation, WorkerState
from actors.record.background_uploads import BackgroundUploads
from actors.record.sinks import Sink, mean_reward
from dataset.view.annotations import details
from dataset.view.thumbnails import ClipThumbnails, Thumbnail
from store import records
from store.database import open_database
from store.files import Files
from store.writing.backlog import is_forgotten
from store.writing.writer import RunWriter
from vocabulary import events

logger = logging.getLogger(__name__)

_CLOSE_TIMEOUT_S = 15.0  # for the last frames on their way to a bucket


class StoreSink(Sink):
    """The run store as a sink.

    Args:
        url: address of the store.
        run_id: number of the run in the store.
        folder: the run's folder, for frames.
        bucket: the run's part of a bucket, which takes the frames instead; None: no bucket.
    """

    def __init__(self, url: str, run_id: int, folder: Path, bucket: str | None = None) -> None:
        self._database = open_database(url)
        self._writer = RunWriter(self._database, run_id)
        self._files = Files(bucket or str(folder))
        self._uploads = BackgroundUploads(self._files) if bucket else None
        self._lock = threading.Lock()
        self._kept_steps: list[int] = []  # the last step kept, each time that the learner went back

    def event(self, time_s: float, kind: str, message: str) -> None:
        """Write an event."""
        self._writer.event(kind, message, time_s)

    def step(self, step: int, time_s: float, metrics: Mapping[str, float]) -> None:
        """Write the metrics of a step."""
        self._writer.step(step, time_s, metrics)

    def group(self, step: int, group: Group, advantages: Sequence[float]) -> None:
        """Write a group without frames."""
        self._writer.group(_group_record(step, group, advantages, ()))

    def frames(
        self, step: int, group: Group, advantages: Sequence[float], clips: Sequence[ClipThumbnails]
    ) -> None:
        """Write the frames of a group, then the group that names them, so that no group names a missing file."""
        folder = f"frames/{step:06}/{re.sub(r'[^A-Za-z0-9_-]', '_', group.group_id)}"
        files: dict[str, bytes] = {}
        stored = []
        for number, clip in enumerate(clips):
            names = [f"{folder}/{number}-{index:03}.webp" for index in range(len(clip.frames))]
            files |= {name: picture.webp for name, picture in zip(names, clip.frames, strict=True)}
            frames = tuple(map(_frame, clip.frames, names))
            stored.append(records.ClipRecord(label=clip.label, true_place=clip.true_place, frames=frames))
        record = _group_record(step, group, advantages, tuple(stored))
        if self._uploads is not None:
            self._uploads.write(files, partial(self._write_uploaded, record, len(self._kept_steps)))
            return
        for name, data in files.items():
            self._files.write(name, data)
        self._writer.group(record)

    def _write_uploaded(self, record: records.GroupRecord, times_back: int) -> None:
        """Write a group whose frames are uploaded, unless the learner has gone back before its step since."""
        with self._lock:
            if not any(is_forgotten(record, kept) for kept in self._kept_steps[times_back:]):
                self._writer.group(record)

    def evaluation(self, evaluation: TaskEvaluation) -> None:
        """Write the scores on held-out samples of one task."""
        scores = {
            "greedy_mean": mean_reward(evaluation.greedy),
            "greedy_valid": _share_valid(evaluation.greedy),
            "sampled_mean": mean_reward(evaluation.sampled),
            "sampled_valid": _share_valid(evaluation.sampled),
            "samples": len(evaluation.truths),
        }
        self._writer.evaluation(
            records.EvaluationRecord(
                stage=evaluation.point, step=evaluation.step, task=evaluation.task, scores=scores
            )
        )

    def workers(self, states: Sequence[WorkerState]) -> None:
        """Write the current state of all workers."""
        for state in states:
            process = state.process
            self._writer.worker(
                records.WorkerStatus(
                    role=state.role,
                    index=state.index,
                    node=process.node if process else "",
                    gpu=process.gpus if process else None,
                    pid=process.pid if process else None,
                    policy_version=state.policy_version,
                    queue=state.queue,
                    restarts=state.restarts,
                    state=state.state,
                    updated_at=time.time(),
                )
            )

    def forget(self, step: int) -> None:
        """Drop the steps from this one on."""
        with self._lock:
            self._kept_steps.append(step - 1)
            self._writer.drop_after(step - 1)

    def close(self) -> None:
        """Wait for the last frames, then for the store's writer."""
        try:
            if self._uploads is not None:
                self._uploads.close(_CLOSE_TIMEOUT_S)
        except Exception as error:
            self._writer.event(events.RECORD_FAILED, f"Frames are missing: {error}")
            raise
        finally:
            self._writer.close()
            self._database.close()
            logger.debug("the run store is closed")


def _frame(picture: Thumbnail, file: str) -> records.FrameRecord:
    boxes = tuple((box.left, box.top, box.width, box.height, box.label) for box in picture.boxes)
    return records.FrameRecord(time_s=picture.time_s, edited=picture.edited, file=file, boxes=boxes)


def _group_record(
    step: int, group: Group, advantages: Sequence[float], frames: tuple[records.ClipRecord, ...]
) -> records.GroupRecord:
    meta = group.prompt.meta
    return records.GroupRecord(
        step=step,
        group_id=group.group_id,
        task=meta.task,
        prompt_key=meta.recipe.id,
        policy_version=group.policy_version,
        held_out=meta.split == "held_out",
        question=meta.question,
        truth=meta.truth,
        details=details(meta.recipe),
        frames=frames,
        completions=tuple(
            records.CompletionRecord(
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


def _share_valid(results: Sequence[tuple[float, bool]]) -> float:
    return sum(valid for _, valid in results) / max(1, len(results))

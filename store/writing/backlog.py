"""The entries of a run's record that are not in the database yet. Pure."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from store.records import EvaluationRecord, GroupRecord, WorkerStatus
from vocabulary.run_states import StoredState

# Approximate memory of an entry and of its parts, without their texts.
_ENTRY_BYTES, _VALUE_BYTES, _COMPLETION_BYTES, _FRAME_BYTES = 500, 100, 1000, 500


@dataclass(frozen=True)
class StepEntry:
    """The end of a step and its metrics."""

    time_s: float
    metrics: Mapping[str, float | None]

    @property
    def num_bytes(self) -> int:
        return _ENTRY_BYTES + _VALUE_BYTES * len(self.metrics)


@dataclass(frozen=True)
class EventEntry:
    """An event; `key` is unique, so that writing it twice does no harm."""

    time_s: float
    kind: str
    message: str
    key: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def num_bytes(self) -> int:
        return _ENTRY_BYTES + len(self.message)


@dataclass(frozen=True)
class StateEntry:
    """The run's state since `time_s`."""

    state: StoredState
    failure: str | None
    time_s: float


@dataclass
class Backlog:
    """Waiting entries in order of arrival, each once, in its newest form. Writing a backlog twice does no harm.

    `forget_after` applies only to the database, before the entries are written.
    """

    forget_after: int | None = None
    state: StateEntry | None = None
    steps: dict[int, StepEntry] = field(default_factory=dict)
    groups: dict[tuple[int, str], GroupRecord] = field(default_factory=dict)
    events: dict[str, EventEntry] = field(default_factory=dict)
    evaluations: dict[tuple[str, int, str, str], EvaluationRecord] = field(default_factory=dict)
    workers: dict[tuple[str, int], WorkerStatus] = field(default_factory=dict)
    lost_groups: int = 0  # dropped because the backlog was full
    lost_steps: int = 0
    lost_events: int = 0
    num_bytes: int = 0  # of steps, groups and events, approximately

    def __bool__(self) -> bool:
        waiting = (self.steps, self.groups, self.events, self.evaluations, self.workers)
        return any(waiting) or self.state is not None or self.forget_after is not None

    def add_step(self, step: int, row: StepEntry) -> None:
        """Add a step; an earlier entry for it is replaced."""
        if old := self.steps.pop(step, None):
            self.num_bytes -= old.num_bytes
        self.steps[step] = row
        self.num_bytes += row.num_bytes

    def add_group(self, group: GroupRecord) -> None:
        """Add a group; an earlier entry for it is replaced."""
        if old := self.groups.pop((group.step, group.group_id), None):
            self.num_bytes -= _group_bytes(old)
        self.groups[group.step, group.group_id] = group
        self.num_bytes += _group_bytes(group)

    def add_event(self, row: EventEntry) -> None:
        """Add an event."""
        self.events[row.key] = row
        self.num_bytes += row.num_bytes

    def add_evaluation(self, record: EvaluationRecord) -> None:
        """Add an evaluation; an earlier entry for it is replaced."""
        self.evaluations[record.stage, record.step, record.task, record.source] = record

    def add_worker(self, status: WorkerStatus) -> None:
        """Add a worker's status; an earlier one is replaced."""
        self.workers[status.role, status.index] = status

    def forget(self, after: int) -> None:
        """Remove entries of steps after `after`, and of policy versions that contain such a step."""
        self.forget_after = after if self.forget_after is None else min(after, self.forget_after)
        for step in [step for step in self.steps if step > after]:
            self.num_bytes -= self.steps.pop(step).num_bytes
        for key in [key for key, group in self.groups.items() if is_forgotten(group, after)]:
            self.num_bytes -= _group_bytes(self.groups.pop(key))
        first = first_forgotten(after, evaluated=True)
        for name in [name for name in self.evaluations if name[1] >= first]:
            del self.evaluations[name]

    def absorb(self, newer: "Backlog") -> None:
        """Add all entries of `newer`, a later backlog of the same run."""
        if newer.forget_after is not None:
            self.forget(newer.forget_after)
        self.state = newer.state or self.state
        for step, row in newer.steps.items():
            self.add_step(step, row)
        for group in newer.groups.values():
            self.add_group(group)
        for event in newer.events.values():
            self.add_event(event)
        self.evaluations |= newer.evaluations
        self.workers |= newer.workers
        self.lost_groups += newer.lost_groups
        self.lost_steps += newer.lost_steps
        self.lost_events += newer.lost_events

    def trim(self, max_bytes: int) -> None:
        """Drop groups, then steps, then events, the oldest first, until at most `max_bytes` are left."""
        while self.num_bytes > max_bytes:
            if self.groups:
                self.num_bytes -= _group_bytes(self.groups.pop(next(iter(self.groups))))
                self.lost_groups += 1
            elif self.steps:
                self.num_bytes -= self.steps.pop(next(iter(self.steps))).num_bytes
                self.lost_steps += 1
            elif self.events:
                self.num_bytes -= self.events.pop(next(iter(self.events))).num_bytes
                self.lost_events += 1
            else:
                return

    def lost(self) -> str:
        """Describe what was dropped; empty: nothing."""
        counts = {
            "sampled groups": self.lost_groups,
            "steps' metrics": self.lost_steps,
            "events": self.lost_events,
        }
        return ", ".join(f"{count} {name}" for name, count in counts.items() if count)

    def pieces(self) -> Iterator["Backlog"]:
        """Yield the backlog one entry at a time, in an order in which they can be written."""
        yield Backlog(forget_after=self.forget_after)
        yield Backlog(state=self.state)
        for step, row in self.steps.items():
            yield Backlog(steps={step: row})
        for key, group in self.groups.items():
            yield Backlog(groups={key: group})
        for key_of_event, event in self.events.items():
            yield Backlog(events={key_of_event: event})
        for name, record in self.evaluations.items():
            yield Backlog(evaluations={name: record})
        for worker, status in self.workers.items():
            yield Backlog(workers={worker: status})


def first_forgotten(after: int, *, evaluated: bool) -> int:
    """Return the first step that is forgotten when a run resumes after step `after`.

    Args:
        evaluated: for evaluations and their groups. Their step counts steps done, so `after + 1` belongs to the
            weights from which the run resumes, and those are not evaluated again.
    """
    return after + 2 if evaluated else after + 1


def is_forgotten(group: GroupRecord, after: int) -> bool:
    """Return whether a run that resumes after step `after` forgets `group`."""
    return group.step >= first_forgotten(after, evaluated=group.held_out)


def _group_bytes(group: GroupRecord) -> int:
    texts = len(group.question) + sum(len(completion.text) for completion in group.completions)
    num_frames = sum(len(clip.frames) for clip in group.frames)
    return _ENTRY_BYTES + texts + _COMPLETION_BYTES * len(group.completions) + _FRAME_BYTES * num_frames

"""What goes into the store and comes out of it. Frozen; steps count from 0, times are seconds since the epoch, UTC."""

import math
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict

from vocabulary.run_states import RunState

Action = Literal["stop", "checkpoint", "start", "resume"]
ChangeKind = Literal["run", "metrics", "events", "workers", "groups", "evaluations", "requests"]
GroupSort = Literal["-spread", "-mean_reward", "group_id"]

T = TypeVar("T")


def clean(value: Any) -> Any:
    """`value` as both databases hold it: what is not finite becomes None, in texts U+FFFD stands for NUL.

    PostgreSQL holds neither NUL in a text nor NaN in JSON, and half a surrogate pair has no bytes in UTF-8.
    """
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {clean(str(name)): clean(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [clean(entry) for entry in value]
    return value


Words = Annotated[str, BeforeValidator(clean)]
Value = Annotated[float | None, BeforeValidator(clean)]  # None: not a finite number


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


# --- what a run writes, and a page reads --------------------------------------------------------------


class WorkerStatus(Record):
    role: Words  # "rollout", "learner", "prompts", "rewards"
    index: int  # within the role
    node: Words
    gpu: Words | None = None
    pid: int | None = None
    policy_version: int | None = None  # that it holds
    queue: int | None = None  # pieces of work that wait for it
    restarts: int = 0
    state: Words = "running"
    updated_at: float  # when it said so


class FrameRecord(Record):
    time_s: float  # in the video
    edited: bool
    file: Words  # where its picture is, relative to the run's folder or bucket
    boxes: tuple[tuple[float, float, float, float, Words], ...] = ()  # x, y, width, height in pixels; label


class ClipRecord(Record):
    label: Words
    true_place: int | None = None  # where it belongs, from 0, where the task is to find that
    frames: tuple[FrameRecord, ...]


class CompletionRecord(Record):
    text: Words
    reward: Value
    advantage: Value
    valid: bool
    finish_reason: Words
    num_tokens: int
    logprob_mean: Value  # nats a token


class GroupRecord(Record):
    """The completions of one prompt at one step."""

    step: int
    group_id: Words
    task: Words
    prompt_key: Words  # the same for the same prompt at other steps
    policy_version: int
    held_out: bool = False  # of an evaluation: it trained nothing
    question: Words
    truth: Words
    details: Words = ""
    frames: tuple[ClipRecord, ...] = ()
    completions: tuple[CompletionRecord, ...]

    @property
    def rewards(self) -> list[float]:
        return [completion.reward for completion in self.completions if completion.reward is not None]

    @property
    def mean_reward(self) -> float | None:
        return sum(self.rewards) / len(self.rewards) if self.rewards else None

    @property
    def spread(self) -> float | None:
        """The largest reward less the smallest."""
        return max(self.rewards) - min(self.rewards) if self.rewards else None


class EvaluationRecord(Record):
    """What held-out or benchmark samples of one task earned at one point of a run."""

    stage: Words  # "before", "during", "after"
    step: int  # steps taken, which is the policy version
    task: Words
    source: Words = ""  # of the samples; empty: the run's own held-out ones
    scores: Annotated[dict[str, Any], BeforeValidator(clean)]


# --- what only comes out ------------------------------------------------------------------------------


class Page(Record, Generic[T]):
    items: tuple[T, ...]
    total: int  # of all pages
    offset: int
    limit: int


class RunSummary(Record):
    id: int
    name: str
    state: RunState
    silent: bool  # it should be going on, or be started, and nothing was heard of it
    created_at: float
    started_at: float | None  # last time it began or went on
    ended_at: float | None
    heartbeat_at: float | None
    step: int  # steps done
    steps: int  # steps to do
    failure: str | None
    job_id: str | None
    stage: str | None  # what a running run does: "warming up", "training", ...
    last_rewards: dict[str, float]  # the last mean reward of each task
    seconds_per_step: float | None  # median of the latest
    eta_s: float | None  # seconds to go; of running runs


class RunDetail(RunSummary):
    folder: str
    config: dict[str, Any]
    environment: dict[str, Any]
    metric_names: tuple[str, ...]


class Series(Record):
    """A metric over steps. Whole: mean = low = high. Thinned: of stretches of steps, named by their last one."""

    run_id: int
    name: str
    steps: tuple[int, ...]
    times: tuple[float, ...]  # when those steps ended
    mean: tuple[float | None, ...]  # None: no finite number there
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]


class Curve(Record):
    """A metric's course in a few points, for a small picture."""

    run_id: int
    steps: tuple[int, ...]
    values: tuple[float | None, ...]


class EventRecord(Record):
    id: int
    time: float
    kind: str
    message: str


class GroupSummary(Record):
    id: int
    run_id: int
    step: int
    group_id: str
    task: str
    prompt_key: str
    policy_version: int
    held_out: bool
    question: str
    truth: str
    mean_reward: float | None
    spread: float | None  # largest reward - smallest


class GroupHistory(GroupSummary):
    completions: tuple[CompletionRecord, ...]


class StoredGroup(GroupRecord):
    id: int
    run_id: int


class StoredEvaluation(EvaluationRecord):
    id: int


class RunRequest(Record):
    id: int
    run_id: int | None
    run_name: str | None = None  # where it is told in a list
    action: Action
    asked_by: str
    asked_at: float
    taken_at: float | None
    done_at: float | None
    outcome: str | None

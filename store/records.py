"""The records that are written to the store and read from it.

All are frozen. Steps count from 0. Times are seconds since the epoch, UTC.
"""

import math
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict

from vocabulary.run_states import RunState

Action = Literal["stop", "checkpoint", "start", "resume"]
ChangeKind = Literal["run", "metrics", "events", "workers", "groups", "evaluations", "requests"]
GroupSort = Literal["-spread", "-mean_reward", "group_id"]

T = TypeVar("T")


def clean(value: Any) -> Any:
    """Return `value` in a form that both databases accept.

    Numbers that are not finite become None. In texts, NUL becomes U+FFFD and half a surrogate pair becomes "?".
    PostgreSQL accepts neither NUL in a text nor NaN in JSON, and half a surrogate pair cannot be encoded as UTF-8.
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


CleanText = Annotated[str, BeforeValidator(clean)]
FiniteFloat = Annotated[float | None, BeforeValidator(clean)]  # None: not a finite number


class Record(BaseModel):
    """Base class of all records."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# --- written by runs, read by pages --------------------------------------------------------------


class WorkerStatus(Record):
    """The latest status of a worker."""

    role: CleanText  # a vocabulary.workers.WorkerRole
    index: int  # within the role
    node: CleanText
    gpu: CleanText | None = None
    pid: int | None = None
    policy_version: int | None = None  # of the weights it holds
    queue: int | None = None  # number of prompts it was given and has not finished
    restarts: int = 0
    state: CleanText = "running"  # a vocabulary.workers.Liveness
    updated_at: float  # when the worker reported this


class FrameRecord(Record):
    """One frame as the model saw it."""

    time_s: float  # presentation time in the video
    edited: bool
    file: CleanText  # path of its picture, relative to the run's folder or bucket
    boxes: tuple[
        tuple[float, float, float, float, CleanText], ...
    ] = ()  # x, y, width, height in pixels; label


class ClipRecord(Record):
    """One clip of a prompt."""

    label: CleanText
    true_place: int | None = None  # its correct position, from 0, if the task is to find that
    frames: tuple[FrameRecord, ...]


class CompletionRecord(Record):
    """One completion with its reward."""

    text: CleanText
    reward: FiniteFloat
    advantage: FiniteFloat
    valid: bool
    finish_reason: CleanText
    num_tokens: int
    logprob_mean: FiniteFloat  # mean over its tokens, nats


class GroupRecord(Record):
    """The completions of one prompt at one step."""

    step: int
    group_id: CleanText
    task: CleanText
    prompt_key: CleanText  # the same for the same prompt at other steps
    policy_version: int
    held_out: bool = False  # from an evaluation, not trained on
    question: CleanText
    truth: CleanText
    details: CleanText = ""
    frames: tuple[ClipRecord, ...] = ()
    completions: tuple[CompletionRecord, ...]

    @property
    def rewards(self) -> list[float]:
        """The finite rewards."""
        return [completion.reward for completion in self.completions if completion.reward is not None]

    @property
    def mean_reward(self) -> float | None:
        """The mean of the finite rewards; None: there is none."""
        return sum(self.rewards) / len(self.rewards) if self.rewards else None

    @property
    def spread(self) -> float | None:
        """The largest reward minus the smallest; None: there is no finite reward."""
        return max(self.rewards) - min(self.rewards) if self.rewards else None


class EvaluationRecord(Record):
    """Scores of held-out or benchmark samples of one task at one point of a run."""

    stage: CleanText  # a vocabulary.stages.EvaluationPoint, or BENCH
    step: int  # steps done, which is the policy version
    task: CleanText
    source: CleanText = ""  # name of the benchmark; empty: the run's own held-out samples
    scores: Annotated[dict[str, Any], BeforeValidator(clean)]


# --- only read ------------------------------------------------------------------------------


class Page(Record, Generic[T]):
    """One page of a list."""

    items: tuple[T, ...]
    total: int  # number of items on all pages
    offset: int
    limit: int


class RunSummary(Record):
    """A run as lists show it."""

    id: int
    name: str
    state: RunState
    silent: bool  # whether it is queued or running, but its heartbeat is old
    created_at: float
    started_at: float | None  # when it last started or resumed
    ended_at: float | None
    heartbeat_at: float | None
    step: int  # steps done
    steps: int  # steps of the whole run
    failure: str | None
    job_id: str | None
    stage: str | None  # of a running run; a vocabulary.stages.Stage
    last_rewards: dict[str, float]  # by task, its latest mean reward
    seconds_per_step: float | None  # median of the latest steps
    eta_s: float | None  # seconds until a running run is done


class RunDetail(RunSummary):
    """A run with its configuration and environment."""

    folder: str
    config: dict[str, Any]
    environment: dict[str, Any]
    metric_names: tuple[str, ...]


class Series(Record):
    """A metric over steps.

    Each entry is one step (mean = low = high) or, in a long series, a range of steps, named by its last one.
    """

    run_id: int
    name: str
    steps: tuple[int, ...]
    times: tuple[float, ...]  # when those steps ended
    mean: tuple[float | None, ...]  # None: no finite number there
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]


class Curve(Record):
    """A metric in a few points, for a small plot."""

    run_id: int
    steps: tuple[int, ...]
    values: tuple[float | None, ...]


class EventRecord(Record):
    """An event of a run."""

    id: int
    time: float
    kind: str
    message: str


class GroupSummary(Record):
    """A recorded group without its clips and completions."""

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
    spread: float | None  # the largest reward minus the smallest


class GroupHistory(GroupSummary):
    """A recorded group with its completions, to compare the same prompt over steps."""

    completions: tuple[CompletionRecord, ...]


class StoredGroup(GroupRecord):
    """A group as read from the store."""

    id: int
    run_id: int


class StoredEvaluation(EvaluationRecord):
    """An evaluation as read from the store."""

    id: int


class RunRequest(Record):
    """A request to a run, and its outcome."""

    id: int
    run_id: int | None
    run_name: str | None = None  # only in lists
    action: Action
    asked_by: str
    asked_at: float
    taken_at: float | None
    done_at: float | None
    outcome: str | None

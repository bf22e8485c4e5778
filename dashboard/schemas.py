"""Request and response bodies of the API, besides the store's own records."""

import hashlib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from store.records import ClipRecord, FrameRecord, StoredGroup

AccessRole = Literal["operator", "reader"]
MAX_NAME_LENGTH = 60  # characters of a name given at the log-in


class ApiModel(BaseModel):
    """The base class of request and response bodies: immutable, and closed to unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ErrorResponse(ApiModel):
    """The body of an error response: a sentence with name, value, rule and fix."""

    detail: str


class Health(ApiModel):
    """The response of a health check that passes."""

    status: Literal["ok"] = "ok"


class Me(ApiModel):
    """The permissions of the caller."""

    role: AccessRole | None
    needs_token: bool  # whether reading needs a token
    can_start: bool
    configs: tuple[str, ...]  # names of the configurations that may be started


class Login(ApiModel):
    """A token, to be exchanged for a session."""

    token: Annotated[str, Field(max_length=500)]
    name: Annotated[
        str | None,
        Field(max_length=MAX_NAME_LENGTH, description="name for the log of requests; it is not verified"),
    ] = None


class LoggedIn(ApiModel):
    """The role of the new session."""

    role: AccessRole


class Accepted(ApiModel):
    """An accepted request. The run's list of requests shows its outcome."""

    request_id: int
    run_id: int | None  # number of the run; null if none was started
    message: str


class GroupCount(ApiModel):
    """The number of groups of a task that were recorded at a step."""

    step: int
    held_out: bool  # true for groups of an evaluation after this many steps, false for training groups
    task: str
    count: int


class FrameView(FrameRecord):
    """A frame with the address of its picture."""

    url: str


class ClipView(ClipRecord):
    """A clip whose frames have addresses."""

    frames: tuple[FrameView, ...]


class GroupView(StoredGroup):
    """A recorded group whose frames have addresses."""

    frames: tuple[ClipView, ...]


class Difference(ApiModel):
    """A setting that differs between two runs."""

    key: str  # dotted name
    mine: Any  # null if the run does not have the setting
    theirs: Any


class ConfigView(ApiModel):
    """The configuration and environment of a run, and its differences from another run."""

    config: dict[str, Any]
    environment: dict[str, Any]
    differences: tuple[Difference, ...] | None  # null if no other run was given


class MetricInfo(ApiModel):
    """One metric of the catalogue (vocabulary/metrics.py)."""

    name: str  # "reward/{task}" stands for one metric per task
    title: str
    unit: str  # "share" is between 0 and 1; "" is a plain number or count
    meaning: str


class BenchmarkColumn(ApiModel):
    """One benchmark, with the scores of guessing and of the paper."""

    name: str
    task: str
    label: str
    random: float | None  # score of guessing, in percent
    published: float | None  # score of VideoSSR-8B in the paper, in percent


class BenchmarkRow(ApiModel):
    """The scores of one model."""

    run_id: int | None  # number of the run that trained the model; null if no run in this store did
    name: str
    time: float
    scores: dict[str, float]  # scores in percent, by column
    valid: dict[str, float]  # share of valid completions, by column


class Benchmarks(ApiModel):
    """The table of benchmark results, newest model first."""

    columns: tuple[BenchmarkColumn, ...]
    rows: tuple[BenchmarkRow, ...]


class ChangeNotice(ApiModel):
    """An event of the stream. It says what changed, without the new data."""

    run_id: int | None  # number of the run; null for the list of runs
    what: tuple[str, ...]  # kinds of changes, see store.records.ChangeKind
    step: int | None  # number of steps that the run has done


class StopRequest(ApiModel):
    """The manner of stopping a run."""

    now: bool = False  # whether to end its processes at once, without a checkpoint


class YamlConfig(ApiModel):
    """A configuration as YAML text."""

    yaml: Annotated[str, Field(max_length=60_000)]


class StartRequest(ApiModel):
    """A configuration, by name or as YAML, and overrides of its settings."""

    config: Annotated[str, Field(max_length=200)] | YamlConfig
    overrides: Annotated[
        tuple[Annotated[str, Field(max_length=500, examples=["train.steps=10"])], ...], Field(max_length=50)
    ] = ()


def group_view(group: StoredGroup) -> GroupView:
    """Return the group with the address of each picture.

    Browsers cache pictures forever, so the address changes when a resumed run repeats a step.
    """
    clips = []
    for number, clip in enumerate(group.frames):
        base = f"/api/runs/{group.run_id}/groups/{group.id}/frames/{number}"
        frames = tuple(
            FrameView(**frame.model_dump(), url=f"{base}/{place}?v={_version(group, frame.file)}")
            for place, frame in enumerate(clip.frames)
        )
        clips.append(ClipView(label=clip.label, true_place=clip.true_place, frames=frames))
    return GroupView(**group.model_dump(exclude={"frames"}), frames=tuple(clips))


def _version(group: StoredGroup, file: str) -> str:
    text = f"{group.step}/{group.group_id}/{group.policy_version}/{file}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


_DESCRIPTIONS = {
    401: "the token is missing or wrong",
    403: "this token or page may not do that",
    404: "there is nothing with that number or name",
    408: "the request's body took too long to arrive",
    409: "the run's state does not allow it",
    413: "the request's body is too large",
    422: "a parameter or the body is invalid",
    429: "too many requests",
    503: "the run store is unavailable, or the server is at its limit",
}
_WAIT = {"Retry-After": {"description": "seconds to wait, if known", "schema": {"type": "integer"}}}


def error_responses(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Return the API documentation of these error responses. 413 (body too long) implies 408 (body too slow)."""
    listed = (408, *codes) if 413 in codes else codes
    return {
        code: {"model": ErrorResponse, "description": _DESCRIPTIONS[code]}
        | ({"headers": _WAIT} if code in (429, 503) else {})
        for code in listed
    }


COMMON_ERRORS = error_responses(401, 403, 422, 429, 503)

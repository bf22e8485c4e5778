"""What the API answers besides the store's own records."""

import hashlib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from store.records import Clip, Frame, StoredGroup

Role = Literal["operator", "reader"]
MAX_NAME = 60  # characters of who somebody says they are


class Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Problem(Answer):
    """Why a request was not answered: value, rule and fix."""

    detail: str


class Health(Answer):
    status: Literal["ok"] = "ok"


class Me(Answer):
    """Who asks, and what they may do."""

    role: Role | None
    needs_token: bool  # reading does
    can_start: bool
    configs: tuple[str, ...]  # that may be started by name


class Login(Answer):
    token: Annotated[str, Field(max_length=500)]
    name: Annotated[
        str | None,
        Field(max_length=MAX_NAME, description="who it is, for the log of requests; it is not checked"),
    ] = None


class LoggedIn(Answer):
    role: Role


class Accepted(Answer):
    """A request was written down; what becomes of it stands in the run's requests."""

    request_id: int
    run_id: int | None  # of the run; null: none was started
    message: str


class GroupCount(Answer):
    """How many groups of a task were recorded at a step."""

    step: int
    held_out: bool  # of an evaluation of the weights after so many steps, not of training
    task: str
    count: int


class FrameView(Frame):
    url: str  # of its picture


class ClipView(Clip):
    frames: tuple[FrameView, ...]


class GroupView(StoredGroup):
    frames: tuple[ClipView, ...]


class Difference(Answer):
    key: str  # dotted
    mine: Any  # null where the run does not have it
    theirs: Any


class ConfigView(Answer):
    config: dict[str, Any]
    environment: dict[str, Any]
    differences: tuple[Difference, ...] | None  # null: compared with none


class BenchColumn(Answer):
    name: str
    task: str
    label: str
    random: float | None  # what guessing earns, in percent
    published: float | None  # VideoSSR-8B's


class BenchRow(Answer):
    run_id: int | None  # of the run whose checkpoint was asked; null: a model that no run here trained
    name: str
    time: float
    scores: dict[str, float]  # of columns, in percent
    valid: dict[str, float]  # share of answers of the task's form


class Benchmarks(Answer):
    columns: tuple[BenchColumn, ...]
    rows: tuple[BenchRow, ...]


class Change(Answer):
    """News, as the stream tells it."""

    run_id: int | None  # null: of the list of runs
    what: tuple[str, ...]
    step: int | None  # steps the run has done


class StopRequest(Answer):
    now: bool = False  # its processes are ended as they are, without a checkpoint


class YamlConfig(Answer):
    yaml: Annotated[str, Field(max_length=60_000)]


class StartRequest(Answer):
    """A configuration, by name or as YAML, and what to set otherwise."""

    config: Annotated[str, Field(max_length=200)] | YamlConfig
    overrides: Annotated[
        tuple[Annotated[str, Field(max_length=500, examples=["train.steps=10"])], ...], Field(max_length=50)
    ] = ()


def group_view(group: StoredGroup) -> GroupView:
    """With the address of each picture, which is another one where a resumed run sampled anew."""
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
    401: "a token is needed, or it is wrong",
    403: "not with this token, or not from this page",
    404: "there is none of that number or name",
    408: "the request's body took too long to arrive",
    409: "not in the state that the run is in",
    413: "the request's body is too large",
    422: "the request says something that cannot be",
    429: "too many requests",
    503: "the run store does not answer, or the server has no room",
}


_WAIT = {"Retry-After": {"description": "seconds to wait, where it is known", "schema": {"type": "integer"}}}


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The documentation of these answers. Where a body may be too long, it may be too slow as well."""
    listed = (408, *codes) if 413 in codes else codes
    return {
        code: {"model": Problem, "description": _DESCRIPTIONS[code]}
        | ({"headers": _WAIT} if code in (429, 503) else {})
        for code in listed
    }


EVERYWHERE = problems(401, 403, 422, 429, 503)

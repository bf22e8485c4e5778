"""Sampled rollouts: what the model saw, was asked and answered."""

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Response

from dashboard.access.security import reader
from dashboard.dependencies import (
    COUNTED,
    Limit,
    Number,
    Offset,
    Part,
    PartOfSteps,
    PathText,
    Place,
    Service,
    Services,
    Step,
    Text,
)
from dashboard.schemas import EVERYWHERE, GroupCount, GroupView, group_view, problems
from dashboard.services.frames import FrameRefused, FramesBusy, read_frame
from store.records import GroupHistory, GroupSort, GroupSummary, Page, StoredGroup

router = APIRouter(
    prefix="/api/runs/{run_id}",
    tags=["rollouts"],
    dependencies=[Depends(reader)],
    responses=EVERYWHERE | problems(404),
)

_PICTURE = {"schema": {"type": "string", "format": "binary"}}


@router.get("/steps", responses=COUNTED)
def list_steps(services: Services, run_id: Number, part: PartOfSteps) -> list[GroupCount]:
    """The steps of which groups were recorded."""
    services.demand_run(run_id)
    found = part.of(services.reader.group_steps(run_id))
    return [
        GroupCount(step=step, held_out=held_out, task=task, count=count)
        for step, held_out, task, count in found
    ]


@router.get("/groups")
def list_groups(
    services: Services,
    run_id: Number,
    step: Step | None = None,
    task: Annotated[Text | None, Query(max_length=200)] = None,
    held_out: Annotated[bool | None, Query(description="of evaluations, or of training")] = None,
    sort: GroupSort = "-spread",
    offset: Offset = 0,
    limit: Limit = 50,
) -> Page[GroupSummary]:
    """Recorded groups, without frames and completions."""
    services.demand_run(run_id)
    return services.reader.groups(
        run_id, step=step, task=task, held_out=held_out, sort=sort, offset=offset, limit=limit
    )


@router.get("/groups/{group_id}")
def show_group(services: Services, run_id: Number, group_id: Number) -> GroupView:
    """One group: its frames with their pictures' addresses, its question, and every completion."""
    return group_view(_group(services, run_id, group_id))


@router.get(
    "/groups/{group_id}/frames/{clip}/{number}",
    response_class=Response,
    responses={200: {"content": {"image/webp": _PICTURE, "image/jpeg": _PICTURE, "image/png": _PICTURE}}},
)
def show_frame(services: Services, run_id: Number, group_id: Number, clip: Place, number: Place) -> Response:
    """The picture of one frame."""
    group = _group(services, run_id, group_id)
    folder = services.folder(run_id)
    try:
        file = group.frames[clip].frames[number].file
    except IndexError:
        raise HTTPException(404, f"group {group_id}: has no frame {number} of a clip {clip}.") from None
    try:
        data, content_type = read_frame(folder, file)
    except FrameRefused as error:
        raise HTTPException(404, str(error)) from None
    except FramesBusy as error:
        raise HTTPException(503, str(error), {"Retry-After": "5"}) from None
    return Response(
        data, media_type=content_type, headers={"Cache-Control": "private, max-age=31536000, immutable"}
    )


@router.get("/prompts/{prompt_key}", responses=COUNTED)
def prompt_history(
    services: Services, run_id: Number, prompt_key: PathText, part: Part
) -> tuple[GroupHistory, ...]:
    """How the answers to one prompt changed over the steps that sampled it."""
    services.demand_run(run_id)
    found = services.reader.prompt_history(run_id, prompt_key, offset=part.offset, limit=part.limit)
    part.total(found.total)
    return found.items


def _group(services: Service, run_id: int, group_id: int) -> StoredGroup:
    group = services.reader.group(run_id, group_id)
    if group is None:
        raise HTTPException(
            404, f"run {run_id}: has no group {group_id}. Look it up in the run's list of groups."
        )
    return group

"""Recorded groups: the frames and question that the model was given, and its completions."""

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Response

from dashboard.access.security import reader
from dashboard.dependencies import (
    WITH_TOTAL,
    DashboardServices,
    Limit,
    ListIndex,
    ListPaging,
    Offset,
    PathId,
    PathText,
    Services,
    Step,
    StepListPaging,
    Text,
)
from dashboard.schemas import COMMON_ERRORS, GroupCount, GroupView, error_responses, group_view
from dashboard.services.frames import FrameRefused, FramesBusy, read_frame
from store.records import GroupHistory, GroupSort, GroupSummary, Page, StoredGroup

router = APIRouter(
    prefix="/api/runs/{run_id}",
    tags=["rollouts"],
    dependencies=[Depends(reader)],
    responses=COMMON_ERRORS | error_responses(404),
)

_PICTURE = {"schema": {"type": "string", "format": "binary"}}


@router.get("/steps", responses=WITH_TOTAL)
def list_steps(services: Services, run_id: PathId, paging: StepListPaging) -> list[GroupCount]:
    """List the steps with recorded groups."""
    services.require_run(run_id)
    found = paging.cut(services.reader.group_steps(run_id))
    return [
        GroupCount(step=step, held_out=held_out, task=task, count=count)
        for step, held_out, task, count in found
    ]


@router.get("/groups")
def list_groups(
    services: Services,
    run_id: PathId,
    step: Step | None = None,
    task: Annotated[Text | None, Query(max_length=200)] = None,
    held_out: Annotated[
        bool | None, Query(description="true: only groups of evaluations; false: only training groups")
    ] = None,
    sort: GroupSort = "-spread",
    offset: Offset = 0,
    limit: Limit = 50,
) -> Page[GroupSummary]:
    """List recorded groups, without frames and completions."""
    services.require_run(run_id)
    return services.reader.groups(
        run_id, step=step, task=task, held_out=held_out, sort=sort, offset=offset, limit=limit
    )


@router.get("/groups/{group_id}")
def show_group(services: Services, run_id: PathId, group_id: PathId) -> GroupView:
    """Return one group: its frames with the addresses of their pictures, its question, and every completion."""
    return group_view(_group(services, run_id, group_id))


@router.get(
    "/groups/{group_id}/frames/{clip}/{number}",
    response_class=Response,
    responses={200: {"content": {"image/webp": _PICTURE, "image/jpeg": _PICTURE, "image/png": _PICTURE}}},
)
def show_frame(
    services: Services, run_id: PathId, group_id: PathId, clip: ListIndex, number: ListIndex
) -> Response:
    """Return the picture of one frame."""
    group = _group(services, run_id, group_id)
    folder = services.folder(run_id)
    try:
        file = group.frames[clip].frames[number].file
    except IndexError:
        raise HTTPException(
            404, f"group {group_id}: has no frame {number} in a clip {clip}. See the group."
        ) from None
    try:
        data, content_type = read_frame(folder, file)
    except FrameRefused as error:
        raise HTTPException(404, str(error)) from None
    except FramesBusy as error:
        raise HTTPException(503, str(error), {"Retry-After": "5"}) from None
    return Response(
        data, media_type=content_type, headers={"Cache-Control": "private, max-age=31536000, immutable"}
    )


@router.get("/prompts/{prompt_key}", responses=WITH_TOTAL)
def prompt_history(
    services: Services, run_id: PathId, prompt_key: PathText, paging: ListPaging
) -> tuple[GroupHistory, ...]:
    """List the groups of one prompt, which show how its completions changed from step to step."""
    services.require_run(run_id)
    found = services.reader.prompt_history(run_id, prompt_key, offset=paging.offset, limit=paging.limit)
    paging.set_total(found.total)
    return found.items


def _group(services: DashboardServices, run_id: int, group_id: int) -> StoredGroup:
    group = services.reader.group(run_id, group_id)
    if group is None:
        raise HTTPException(
            404, f"run {run_id}: has no group {group_id}. Look it up in the run's list of groups."
        )
    return group

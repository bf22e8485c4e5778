"""News as server-sent events: what changed, so that a page asks for that and nothing else."""

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated, get_args

from fastapi import APIRouter, Depends, Header, HTTPException, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from dashboard.access.identity import network_of
from dashboard.access.security import client_of, gate_of, reader
from dashboard.dependencies import LARGEST, Services, no_run
from dashboard.lookups import steps_done
from dashboard.schemas import EVERYWHERE, Change, problems
from dashboard.services.change_feed import NoRoom, Subject, Subscription
from store.records import ChangeKind

router = APIRouter(
    prefix="/api", tags=["stream"], dependencies=[Depends(reader)], responses=EVERYWHERE | problems(404)
)

_RETRY_MS = 2000
_ALL = tuple(sorted(get_args(ChangeKind)))


async def subscribed(
    services: Services,
    request: Request,
    run: Annotated[list[Annotated[int, Query(ge=1, le=LARGEST)]] | None, Query(max_length=50)] = None,
) -> AsyncIterator[Subscription]:
    """Before the answer begins, so that nothing is missed from then on, and errors are answers."""
    subjects: list[Subject] = list(run) if run else [None]
    known = await run_in_threadpool(steps_done, services.database, run or [])
    for run_id in run or []:
        if run_id not in known:
            raise no_run(run_id)
    caller, network = gate_of(request).caller(request).key, network_of(client_of(request))
    async with AsyncExitStack() as stack:
        try:
            subscription = await stack.enter_async_context(services.hub.subscribe(subjects, caller, network))
        except NoRoom as error:
            raise HTTPException(503, str(error), {"Retry-After": "30"}) from None
        yield subscription


@router.get("/stream", response_class=EventSourceResponse)
async def stream(
    subscription: Annotated[Subscription, Depends(subscribed)],
    last_event_id: Annotated[str | None, Header(max_length=100)] = None,
) -> AsyncIterable[ServerSentEvent]:
    """`changed` events of the runs named (none: of the list of runs). A connection taken up again is told that
    everything may have changed."""
    # With a number, for a connection that ends before anything happened is taken up again too.
    yield ServerSentEvent(comment="connected", retry=_RETRY_MS, id="0")
    number = 0
    if last_event_id is not None:
        for subject in subscription.subjects:
            yield _event(Change(run_id=subject, what=_ALL, step=None), number)
    async for change in subscription.news():
        number += 1
        yield _event(change, number)


def _event(change: Change, number: int) -> ServerSentEvent:
    return ServerSentEvent(event="changed", data=change, id=str(number))

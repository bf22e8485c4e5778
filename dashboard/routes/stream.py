"""Changes as server-sent events. Each event says what changed, so that the page fetches only that."""

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated, get_args

from fastapi import APIRouter, Depends, Header, HTTPException, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from dashboard.access.identity import network_of
from dashboard.access.security import authenticator_of, client_of, reader
from dashboard.dependencies import MAX_ID, Services, run_not_found
from dashboard.schemas import COMMON_ERRORS, ChangeNotice, error_responses
from dashboard.services.change_feed import Subject, Subscription, TooManySubscriptions, steps_done
from store.records import ChangeKind

router = APIRouter(
    prefix="/api",
    tags=["stream"],
    dependencies=[Depends(reader)],
    responses=COMMON_ERRORS | error_responses(404),
)

_RETRY_MS = 2000
_ALL_KINDS = tuple(sorted(get_args(ChangeKind)))


async def subscribed(
    services: Services,
    request: Request,
    run: Annotated[list[Annotated[int, Query(ge=1, le=MAX_ID)]] | None, Query(max_length=50)] = None,
) -> AsyncIterator[Subscription]:
    """Yield a subscription. It starts before the response, so that errors have a status and no change is missed."""
    subjects: list[Subject] = list(run) if run else [None]
    known = await run_in_threadpool(steps_done, services.database, run or [])
    for run_id in run or []:
        if run_id not in known:
            raise run_not_found(run_id)
    caller, network = authenticator_of(request).caller(request).key, network_of(client_of(request))
    async with AsyncExitStack() as stack:
        try:
            subscription = await stack.enter_async_context(
                services.change_feed.subscribe(subjects, caller, network)
            )
        except TooManySubscriptions as error:
            raise HTTPException(503, str(error), {"Retry-After": "30"}) from None
        yield subscription


@router.get("/stream", response_class=EventSourceResponse)
async def stream(
    subscription: Annotated[Subscription, Depends(subscribed)],
    last_event_id: Annotated[str | None, Header(max_length=100)] = None,
) -> AsyncIterable[ServerSentEvent]:
    """Send a `changed` event whenever one of the runs changes, or without runs, whenever the list of runs changes.

    A client that reconnects first gets an event that says that everything may have changed.
    """
    # The comment carries an id, so that a client whose connection breaks before the first event sends Last-Event-ID.
    yield ServerSentEvent(comment="connected", retry=_RETRY_MS, id="0")
    number = 0
    if last_event_id is not None:
        for subject in subscription.subjects:
            yield _event(ChangeNotice(run_id=subject, what=_ALL_KINDS, step=None), number)
    async for change in subscription.changes():
        number += 1
        yield _event(change, number)


def _event(change: ChangeNotice, number: int) -> ServerSentEvent:
    return ServerSentEvent(event="changed", data=change, id=str(number))

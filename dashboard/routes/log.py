"""The log of what people asked for."""

from fastapi import APIRouter, Depends

from dashboard.access.security import reader
from dashboard.dependencies import Limit, Offset, Services
from dashboard.schemas import EVERYWHERE
from store.records import Page, Request

router = APIRouter(prefix="/api", tags=["actions"], dependencies=[Depends(reader)], responses=EVERYWHERE)


@router.get("/requests")
def list_all_requests(services: Services, offset: Offset = 0, limit: Limit = 50) -> Page[Request]:
    """What was asked of all runs, and to start one: by whom, and what became of it. Newest first."""
    return services.reader.requests(offset=offset, limit=limit)

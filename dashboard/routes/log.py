"""The log of requests: starting, stopping, saving and resuming runs."""

from fastapi import APIRouter, Depends

from dashboard.access.security import reader
from dashboard.dependencies import Limit, Offset, Services
from dashboard.schemas import COMMON_ERRORS
from store.records import Page, RunRequest

router = APIRouter(prefix="/api", tags=["actions"], dependencies=[Depends(reader)], responses=COMMON_ERRORS)


@router.get("/requests")
def list_all_requests(services: Services, offset: Offset = 0, limit: Limit = 50) -> Page[RunRequest]:
    """List all requests to runs, and to start runs, newest first: who made them, and their outcome."""
    return services.reader.requests(offset=offset, limit=limit)

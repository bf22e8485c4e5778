"""For those who watch over the server: whether it lives, and whether it can work."""

from fastapi import APIRouter

from dashboard.dependencies import Services
from dashboard.schemas import Health, problems

router = APIRouter(tags=["health"])


@router.get("/healthz")
def healthz() -> Health:
    """The process lives."""
    return Health()


@router.get("/readyz", responses=problems(503))
def readyz(services: Services) -> Health:
    """The run store answers."""
    services.database.ping()
    return Health()

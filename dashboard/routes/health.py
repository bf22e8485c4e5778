"""Liveness and readiness, for Kubernetes or another supervisor."""

from fastapi import APIRouter

from dashboard.dependencies import Services
from dashboard.schemas import Health, error_responses

router = APIRouter(tags=["health"])


@router.get("/healthz")
def healthz() -> Health:
    """Report that the process is alive."""
    return Health()


@router.get("/readyz", responses=error_responses(503))
def readyz(services: Services) -> Health:
    """Report that the run store is available."""
    services.database.ping()
    return Health()

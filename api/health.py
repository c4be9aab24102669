"""Is this process alive, may it be sent requests, and what does it measure?"""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from api import deps

router = APIRouter(tags=["operations"])


class Health(BaseModel):
    status: Literal["ok"] = "ok"


@router.get("/healthz")
async def alive() -> Health:
    """The process answers. Says nothing of the database: restarting a process does not mend one."""
    return Health()


@router.get("/readyz")
async def ready(request: Request) -> Health:
    """The database answers and its schema is new enough; 503 otherwise."""
    await deps.services(request).readiness.check()
    return Health()


@router.get("/metrics", response_class=Response)
def metrics() -> Response:
    """Prometheus metrics of this process."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

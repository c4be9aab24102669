"""Is this process alive, may it be sent requests, and what does it measure?"""

from __future__ import annotations

from typing import Any, Literal

from fastapi import Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from api import deps
from api.dialects import DIALECTS
from api.wire.routes import Router
from orchestrator.telemetry import health

router = Router(tags=["operations"])
# Only where `/metrics` has no port of its own.
measures = Router(tags=["operations"])


_OK: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {"example": {"status": "ok"}}}}}
_ERRORS = DIALECTS[0].docs.open_route()


class Health(BaseModel):
    """All is well; anything else is an error."""

    status: Literal["ok"] = "ok"


@router.get("/healthz", summary="Is it alive?", responses=_OK | _ERRORS)
async def alive() -> Health:
    """The process answers. Says nothing of the database: restarting a process does not mend one."""
    return Health()


@router.get("/readyz", summary="May it be sent requests?", responses=_OK | DIALECTS[0].docs.open_route(503))
async def ready(request: Request) -> Health:
    """The database answers and its schema is new enough; 503 otherwise."""
    await deps.services(request).readiness.check()
    return Health()


@measures.get(
    "/metrics",
    response_class=Response,
    summary="What does it measure?",
    responses=_ERRORS
    | {
        200: {"content": {CONTENT_TYPE_LATEST: {"schema": {"type": "string"}}}},
        401: {"description": "`metrics.token` is set, and was not sent", "content": {"text/plain": {}}},
    },
)
def metrics(request: Request) -> Response:
    """Prometheus metrics of this process; where `metrics.token` is set, for `Authorization: Bearer` with it."""
    token = deps.services(request).settings.metrics.bearer
    if not health.lets_in(token, request.headers.get("authorization")):
        refused = "metrics.token is missing or wrong\n"
        return Response(refused, 401, {"WWW-Authenticate": "Bearer"}, media_type="text/plain")
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

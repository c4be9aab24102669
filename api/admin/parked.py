"""`/v1/admin/parked`: batches, campaigns and events that broke the loop that met them, and sending them there again."""

from __future__ import annotations

from typing import Literal

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, Field, JsonValue

from api import deps
from api.openai.errors import DOCS
from api.wire.replies import reply, unix
from api.wire.routes import Router
from orchestrator.domain.errors import NotFound
from orchestrator.domain.rights import Scope
from orchestrator.ports.parked import ParkedKind

router = Router(tags=["administration"])

_EXAMPLE: dict[str, JsonValue] = {
    "object": "list",
    "data": [
        {
            "id": "campaign_0199c3a57be47c21b1f3a1d3c5e7f901",
            "object": "parked",
            "kind": "campaign",
            "tenant": "acme",
            "error": "KeyError: 'template'",
            "at": 1758941485,
        }
    ],
}


class ParkedThing(BaseModel):
    """What was put aside."""

    id: str = Field(description="The batch's or the campaign's, or the event's own.")
    object: Literal["parked"] = "parked"
    kind: ParkedKind
    tenant: str
    error: str = Field(description="What its loop raised.")
    at: int


class ParkedList(BaseModel):
    """All of them, the oldest first."""

    object: Literal["list"] = "list"
    data: list[ParkedThing]


class ResumedThing(BaseModel):
    """It is met again."""

    id: str
    object: Literal["parked.resumed"] = "parked.resumed"
    resumed: bool = True


@router.get(
    "/v1/admin/parked",
    response_model=ParkedList,
    summary="List what was parked",
    **DOCS.route(Scope.VIEW, example=_EXAMPLE),
)
async def list_parked(request: Request, viewer: deps.Key) -> Response:
    """With the evidence."""
    found = await deps.services(request).administration.parked.list_parked()
    data = [
        ParkedThing(id=each.subject, kind=each.kind, tenant=each.tenant, error=each.error, at=unix(each.at))
        for each in found
    ]
    return reply(ParkedList(data=data))


@router.post(
    "/v1/admin/parked/{subject}/resume",
    response_model=ResumedThing,
    summary="Resume what was parked",
    **DOCS.route(
        Scope.OPERATE,
        errors=(404,),
        example={"id": "campaign_0199c3a57be47c21b1f3a1d3c5e7f901", "object": "parked.resumed", "resumed": True},
    ),
)
async def resume_parked(request: Request, subject: str, operator: deps.Key) -> Response:
    """Let its loop meet it again. Asked again, nothing of that id is parked (404), unless it broke once more."""
    if not await deps.services(request).administration.parked.resume_parked(subject):
        raise NotFound(f"nothing with the id {subject[:80]!r} is parked", param="subject")
    return reply(ResumedThing(id=subject))

"""`/v1/jobs/{job_id}/trace`: the life of one job as a tree, from the database alone."""

from __future__ import annotations

from typing import Literal

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, Field, JsonValue

from api import deps
from api.openai.errors import DOCS
from api.wire.paging import Identified
from api.wire.replies import reply
from api.wire.routes import Router
from orchestrator.domain.life import Life
from orchestrator.domain.life_tree import document
from orchestrator.domain.rights import Scope
from orchestrator.domain.states import JobState

router = Router(tags=["jobs"])


def _example(
    number: int, parent: int | None, name: str, began_at: float, seconds: float, note: str = ""
) -> dict[str, JsonValue]:
    ended_at = round(began_at + seconds, 3)
    return {
        "number": number, "parent": parent, "name": name, "began_at": began_at, "ended_at": ended_at,
        "seconds": seconds, "note": note,
    }  # fmt: skip


TRACE_EXAMPLE: JsonValue = {
    "id": "video_0198c5a7e3b97d6f8a0c1f2e3d4c5b6a",
    "object": "job.trace",
    "tenant": "acme",
    "pool": "main",
    "model": "cogvideox-5b",
    "state": "succeeded",
    "campaign": None,
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "spans": [
        _example(0, None, "job", 1758941485.2, 203.1, "succeeded"),
        _example(1, 0, "wait", 1758941485.2, 4.1, "its turn"),
        _example(2, 0, "attempt 1", 1758941489.3, 199.0, "succeeded on main-0, 181 GPU seconds"),
        _example(3, 2, "assignment", 1758941489.3, 0.012),
        _example(4, 2, "encoding", 1758941489.4, 0.9),
        _example(5, 2, "denoising", 1758941490.3, 174.6),
        _example(6, 0, "webhook", 1758941688.8, 0.4, "video.completed to example.com, delivered, 1 try"),
    ],
}


class TraceSpan(BaseModel):
    """Something that went on for a while: the job, a wait, an attempt, a stage of it, a webhook."""

    number: int = Field(description="Its place in the list.")
    parent: int | None = Field(description="The number of what it is a part of; null for the job itself.")
    name: str
    began_at: float = Field(description="Seconds of Unix time.")
    ended_at: float | None = Field(description="Null while it goes on.")
    seconds: float = Field(description="How long it took, or has taken so far.")
    note: str = Field(description="In words: how it ended, or why it took so long. May be empty.")


class JobTrace(Identified):
    """The life of a job; what it shows is not told here."""

    object: Literal["job.trace"] = "job.trace"
    tenant: str
    pool: str
    model: str
    state: JobState
    campaign: str | None = Field(description="The campaign or the batch that it is a row of.")
    trace_id: str | None = Field(description="The trace that it was asked for in (W3C Trace Context).")
    spans: list[TraceSpan] = Field(description="Each behind its parent, and in the order of their beginnings.")


def trace_of(life: Life) -> JobTrace:
    """A job's life as it is answered."""
    return JobTrace.model_validate(document(life))


@router.get(
    "/v1/jobs/{job_id}/trace",
    response_model=JobTrace,
    summary="Retrieve a job's life",
    **DOCS.route(Scope.READ, errors=(404,), example=TRACE_EXAMPLE),
)
async def trace_job(request: Request, job_id: str, key: deps.Key) -> Response:
    """What a job waited for and why, its attempts with their stages, and who was told of its end.

    The last is for keys with the scope `webhooks` alone. It comes from the database: no tracing has to be on.
    """
    sent = Scope.WEBHOOKS in key.rights.scopes
    return reply(trace_of(await deps.services(request).lives.of(job_id, key.tenant, webhooks=sent)))

"""`/v1/videos/{id}/events`: a video's life as server-sent events, from any replica, resumable (HTML, section 9.2)."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from typing import Annotated, Any

from fastapi import Depends, Header, Query, Request
from fastapi.responses import Response

from api import deps
from api.openai.errors import DOCS
from api.openai.translate import progress_of, video_of
from api.services import Services
from api.wire.holding import held
from api.wire.problem import problem_of
from api.wire.routes import Router
from api.wire.streaming import Streamed
from orchestrator.domain.errors import Forbidden, InvalidField, Unauthenticated, Unavailable
from orchestrator.domain.events import Event, Kind, Place, gone, news, parse_id, stage_of
from orchestrator.domain.job import public_id
from orchestrator.domain.rights import Scope
from orchestrator.notify.feed import Watch
from orchestrator.ports import EndedAttempt, Snapshot

router = Router(tags=["native"])

HEARTBEAT_S = 15.0
HEARTBEAT = ": still here\n\n"
REVOKED = "revoked"
_PARAM = "Last-Event-ID"
# Proxies must neither keep nor gather what is to be seen at once (the last one is nginx's).
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}

# One event, as `itemSchema` of OpenAPI 3.2 would have it (section 4.14.4); 3.1 has no word for it.
_EVENT = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": r"^\d+(\.\d+){6}$"},
        "event": {"type": "string", "enum": [*(kind.value for kind in Kind), "queue", REVOKED]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
    "required": ["event", "data"],
}
_STREAM = {"type": "string", "x-item-schema": _EVENT}
_EXAMPLE = (
    'id: 1.0.0.1.0.0.0\nevent: stage\ndata: {"stage": "assigned", "attempt": 1}\n\n'
    'id: 1.0.0.3.21.0.0\nevent: step\ndata: {"step": 21, "steps": 50, "progress": 42}\n\n'
    'id: 1.0.1.3.21.0.0\nevent: incident\ndata: {"incident": "preempted", "attempt": 1}\n\n'
    'id: 1.0.1.3.21.1.0\nevent: stage\ndata: {"stage": "preempted", "attempt": 1}\n\n'
)


async def _watch(request: Request, video_id: str, tenant: deps.Tenant) -> AsyncIterator[Watch]:
    """Opened before the status goes out, so that whatever is wrong is an error, and closed after the last byte."""
    services = deps.services(request)
    job, limits = await services.jobs.get(tenant, video_id), await services.limits.of(tenant)
    with services.feed.watch(job, limits.event_streams) as watch:
        held(request).give_back(services.rooms.requests)
        yield watch


@router.get(
    "/v1/videos/{video_id}/events",
    response_class=Response,
    summary="Follow a video",
    **DOCS.route(
        Scope.READ,
        errors=(400, 404),
        sends=("cache-control", "x-accel-buffering"),
        answers={
            200: {
                "description": "Events until the video has ended; a comment now and then while nothing happens.",
                "content": {"text/event-stream": {"schema": _STREAM, "example": _EXAMPLE}},
            },
            204: {"description": "The video has ended, and `Last-Event-ID` is its end: there is nothing to wait for."},
        },
    ),
)
async def events(
    request: Request,
    watch: Annotated[Watch, Depends(_watch)],
    last_event_id: Annotated[str | None, Header(description="The id of the last event heard.")] = None,
    last_event_id_query: Annotated[
        str | None, Query(alias="last_event_id", description="The same, where no header can be set.")
    ] = None,
) -> Response:
    """Server-sent events with JSON data.

    `attempt`: one has begun or ended, and how earlier ones ended. Its number counts like `claims` of the video object,
    its `attempts` are those that `max_attempts` bounds. `stage`: where the job is. `step` of `steps`: denoise steps
    done, from a checkpoint's on where an attempt begins at one. `preview`: a signed URL of one frame of what is coming.
    `incident`: something befell the render, which goes on all the same. `queue`: why no worker takes it, or null again;
    it has no id. `end`: the video object, and the last event. `revoked`: the key is not good any more, and this is the
    last event, too. Events tell where the video stands, so what came and went unseen is not made up for.
    """
    known = _known(last_event_id or last_event_id_query)
    services = deps.services(request)
    first = (await services.store.snapshots([watch.key])).get(watch.key)
    watch.show(first)
    if first is not None and first.job.state.terminal and not any(news(first.job, known)):
        return Response(status_code=204)
    stream = _stream(services, watch, known, ended_by_key(request))
    return Streamed(stream, 200, HEADERS, "text/event-stream")


def _known(event_id: str | None) -> Place:
    if not event_id:
        return Place()
    place = parse_id(event_id)
    if place is None:
        raise InvalidField("is not the id of an event", param=_PARAM)
    return place


# The last event of a stream whose key is not good any more; None as long as it is.
Ended = Callable[[], Awaitable[str | None]]


def ended_by_key(request: Request) -> Ended:
    """Looks again at the key of a request: one statement in `api.key_cache_s` seconds, however often it is called."""
    keyring = deps.services(request).keyring
    key = deps.key_of(request)

    async def look() -> str | None:
        try:
            await keyring.check_still(key)
        except (Unauthenticated, Forbidden) as error:
            body = DOCS.word(problem_of(error)).model_dump(mode="json")
            return f"event: {REVOKED}\ndata: {json.dumps(body)}\n\n"
        return None

    return look


async def _stream(services: Services, watch: Watch, known: Place, ended: Ended) -> AsyncGenerator[str, None]:
    reason: str | None = None
    while True:
        moved = await watch.changed(HEARTBEAT_S)
        if watch.over:
            return  # the hearer comes back with its last id, to another process
        try:
            if (last := await ended()) is not None:
                yield last
                return
        except Unavailable:
            if moved:  # nothing is told until the key can be looked at
                return  # the hearer comes back with its last id
        snapshot = watch.latest
        if snapshot is not None and not snapshot.job.state.terminal:
            waits = (await services.waiting.told(snapshot.job)).queue_reason
            if waits != reason:  # not a place in the job's life, so without an id: the hearer's last one stays
                reason = waits
                yield f"event: queue\ndata: {json.dumps({'queue_reason': waits})}\n\n"
        if not moved:
            yield HEARTBEAT
            continue
        if snapshot is None:
            yield _written(gone(known), {"id": public_id(watch.key), "object": "video.deleted", "deleted": True})
            return
        for event in news(snapshot.job, known):
            try:
                data = await _data(services, event, snapshot)
            except Unavailable:
                return  # the hearer comes back with its last id
            yield _written(event, data)
            known = event.place
        if snapshot.job.state.terminal:
            return


def _written(event: Event, data: Mapping[str, Any]) -> str:
    return f"id: {event.place}\nevent: {event.kind}\ndata: {json.dumps(data)}\n\n"


async def _data(services: Services, event: Event, snapshot: Snapshot) -> dict[str, Any]:
    job = snapshot.job
    match event.kind:
        case Kind.ATTEMPT:
            ended = [_ended(attempt) for attempt in snapshot.ended]
            return {"attempt": job.claims, "attempts": job.attempts, "max_attempts": job.max_attempts, "ended": ended}
        case Kind.STAGE:
            return {"stage": stage_of(job), "attempt": job.claims}
        case Kind.STEP:
            return {"step": job.step, "steps": job.steps, "progress": progress_of(job)}
        case Kind.PREVIEW:
            assert job.preview is not None  # or there would be no such news
            url = await services.downloads.sign(job.preview, lifetime_s=services.settings.s3.url_lifetime_s)
            return {"url": url, "content_type": job.preview.content_type}
        case Kind.INCIDENT:
            return {"incident": job.incidents[event.place.incidents - 1], "attempt": job.claims}
        case Kind.END:
            return video_of(job, keep_s=services.settings.retention.jobs_s).model_dump(mode="json")


def _ended(attempt: EndedAttempt) -> dict[str, Any]:
    failure = attempt.failure
    error = None if failure is None else {"code": failure.code, "message": failure.message}
    return {"attempt": attempt.number, "outcome": attempt.outcome, "error": error}

"""`/v1/campaigns/{id}/events`: a campaign's life as server-sent events, from any replica, resumable."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from fastapi import Depends, Header, Query, Request
from fastapi.responses import Response

from api import deps
from api.native import events
from api.native.campaign_answers import CampaignCounts
from api.native.campaign_translate import campaign_of, counts_of, forecast_of
from api.openai.errors import DOCS
from api.services import Services
from api.wire.holding import held
from api.wire.routes import Router
from api.wire.streaming import Streamed
from orchestrator.domain.campaign import Campaign, CampaignState, PauseReason
from orchestrator.domain.campaign_waiting import waiting_for
from orchestrator.domain.errors import InvalidField, Unavailable
from orchestrator.domain.outlooks import Subject
from orchestrator.domain.rights import Scope
from orchestrator.notify.campaign_feed import Watch

router = Router(tags=["campaigns"])

_ID = re.compile(r"(\d{1,10})\.(-1|\d{1,10})(\.end)?", re.ASCII)
_EVENT = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": r"^\d+\.-?\d+(\.end)?$"},
        "event": {"type": "string", "enum": ["state", "counts", "end", events.REVOKED]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
    "required": ["event", "data"],
}
_STREAM = {"type": "string", "x-item-schema": _EVENT}
_EXAMPLE = (
    'id: 9.-1\nevent: state\ndata: {"state": "running", "pause_reasons": [], "version": 9, "waiting_for": null}\n\n'
    'id: 9.1138\nevent: counts\ndata: {"counts": {"rows": 4000, "succeeded": 1138}, "rows_per_hour": 640.0, '
    '"forecast": null}\n\n'
)


@dataclass(frozen=True, slots=True)
class Place:
    """What a hearer knows: the campaign's version, how many rows have ended (-1: nothing yet), and whether it is over.

    As text it is the id of the event that told it. Told apart, so that a connection that breaks between two events of
    one moment neither repeats the first nor loses the second.
    """

    version: int = 0
    ended: int = -1
    over: bool = False

    def __str__(self) -> str:
        return f"{self.version}.{self.ended}{'.end' if self.over else ''}"

    @classmethod
    def parse(cls, event_id: str) -> Self:
        """Raises `InvalidField` for what is not the id of an event."""
        match = _ID.fullmatch(event_id)
        if match is None:
            raise InvalidField("is not the id of an event", param="Last-Event-ID")
        return cls(int(match[1]), int(match[2]), match[3] is not None)


async def _watch(request: Request, campaign_id: str, tenant: deps.Tenant) -> AsyncIterator[Watch]:
    """Opened before the status goes out, so that whatever is wrong is an error, and closed after the last byte."""
    services = deps.services(request)
    campaign = await services.campaigns.get(tenant, campaign_id)
    limits = await services.limits.of(tenant)
    with services.campaign_feed.watch(campaign, limits.event_streams) as watch:
        watch.show(campaign)
        held(request).give_back(services.rooms.requests)
        yield watch


@router.get(
    "/v1/campaigns/{campaign_id}/events",
    response_class=Response,
    summary="Follow a campaign",
    **DOCS.route(
        Scope.READ,
        errors=(400, 404),
        sends=("cache-control", "x-accel-buffering"),
        answers={
            200: {
                "description": "Events until the campaign has ended; a comment now and then while nothing happens.",
                "content": {"text/event-stream": {"schema": _STREAM, "example": _EXAMPLE}},
            },
            204: {"description": "It has ended, and `Last-Event-ID` is its end: there is nothing to wait for."},
        },
    ),
)
async def follow(
    request: Request,
    watch: Annotated[Watch, Depends(_watch)],
    last_event_id: Annotated[str | None, Header(description="The id of the last event heard.")] = None,
    last_event_id_query: Annotated[
        str | None, Query(alias="last_event_id", description="The same, where no header can be set.")
    ] = None,
) -> Response:
    """Server-sent events with JSON data, at most once a second.

    `state`: where it stands, why it pauses, and what it waits for. `counts`: its rows by where they stand, how many get
    done in an hour, and the forecast. `end`: the campaign object, and the last event; a retry may wake it again.
    `revoked`: the key is not good any more, and this is the last event, too. Events tell where the campaign stands, so
    what came and went unseen is not made up for.
    """
    heard = last_event_id or last_event_id_query
    known = Place.parse(heard) if heard else Place()
    campaign = watch.latest
    assert campaign is not None, "it was shown when the watch began"
    if _over(campaign) and known.over and known.version == campaign.version:
        return Response(status_code=204)
    stream = _stream(deps.services(request), watch, known, events.ended_by_key(request))
    return Streamed(stream, 200, events.HEADERS, "text/event-stream")


@dataclass(slots=True)
class _Told:
    """What this connection has told last; None before the first time."""

    state: tuple[CampaignState, frozenset[PauseReason]] | None = None
    counts: CampaignCounts | None = None


async def _stream(
    services: Services, watch: Watch, known: Place, ended_by_key: events.Ended
) -> AsyncGenerator[str, None]:
    told = _Told()
    while True:
        moved = await watch.changed(events.HEARTBEAT_S)
        if watch.over:
            return  # the hearer comes back with its last id, to another process
        try:
            if (last := await ended_by_key()) is not None:
                yield last
                return
        except Unavailable:
            if moved:  # nothing is told until the key can be looked at
                return  # the hearer comes back with its last id
        if not moved:
            yield events.HEARTBEAT
            continue
        campaign = watch.latest
        if campaign is None:
            gone = {"id": watch.key[0], "object": "campaign.deleted", "deleted": True}
            yield _written("end", Place(known.version, known.ended, True), gone)
            return
        state = (campaign.state, campaign.pauses)
        if known.version != campaign.version and told.state != state:
            known = Place(campaign.version, known.ended)
            yield _written("state", known, await _state(services, campaign))
        told.state = state
        counts, ended = counts_of(campaign.tally), campaign.tally.ended
        if known.ended != ended or told.counts not in (None, counts):
            known = Place(campaign.version, ended)
            yield _written("counts", known, await _progress(services, campaign, counts))
        told.counts = counts
        if _over(campaign):
            yield _written("end", Place(campaign.version, ended, True), await _whole(services, campaign))
            return


def _over(campaign: Campaign) -> bool:
    """Whether nothing more happens to it by itself: a cancelled one still stops what renders."""
    return campaign.state.ended and campaign.ended_at is not None


def _written(kind: str, place: Place, data: Mapping[str, Any]) -> str:
    return f"id: {place}\nevent: {kind}\ndata: {json.dumps(data)}\n\n"


async def _state(services: Services, campaign: Campaign) -> dict[str, Any]:
    known, turn = await services.waiting.known(), await services.waiting.turn_of(campaign)
    return {
        "state": campaign.state,
        "pause_reasons": sorted(campaign.pauses),
        "version": campaign.version,
        "waiting_for": waiting_for(campaign, known.loads, known.pauses, datetime.now(UTC), turn, known.unheld),
    }


async def _progress(services: Services, campaign: Campaign, counts: CampaignCounts) -> dict[str, Any]:
    outlook = await services.forecasts.of(Subject.CAMPAIGN, campaign.id)
    forecast = forecast_of(campaign, outlook, datetime.now(UTC))
    return {
        "counts": counts.model_dump(),
        "rows_per_hour": None if forecast is None else forecast.rows_per_hour,
        "forecast": None if forecast is None else forecast.model_dump(),
    }


async def _whole(services: Services, campaign: Campaign) -> dict[str, Any]:
    known = await services.waiting.known()
    outlook = await services.forecasts.of(Subject.CAMPAIGN, campaign.id)
    return campaign_of(campaign, services.settings, known, outlook, datetime.now(UTC)).model_dump(mode="json")

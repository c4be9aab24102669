"""A campaign's events: told by any replica, taken up again behind any of them, and over when the campaign is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import asyncpg
import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from api.native import events
from orchestrator.config import Settings
from orchestrator.domain.campaign import CampaignState
from orchestrator.notify import watching
from tests.contract.api.test_api_events import Heard, Stream
from tests.support.api import Api, listening, serving
from tests.support.campaigns import CSV, PROMPT, CampaignScene, a_campaign_scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

CAMPAIGNS = "/v1/campaigns"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def replicas(api_app: tuple[FastAPI, Settings]) -> AsyncIterator[tuple[str, str]]:
    """Two processes' worth of the API on one database, behind real servers."""
    app, settings = api_app
    async with serving(settings) as other, listening(app) as one_port, listening(other) as other_port:
        yield f"http://127.0.0.1:{one_port}", f"http://127.0.0.1:{other_port}"


@pytest.fixture
def scene(api: Api) -> CampaignScene:
    """What works on the tenant's campaigns."""
    return a_campaign_scene(cast(Any, api.services.store), cast(Any, api.services.objects), api.settings, api.tenant)


@asynccontextmanager
async def following(api: Api, replica: str, campaign_id: str, last: str | None = None) -> AsyncIterator[Stream]:
    headers = {"authorization": api.http.headers["authorization"]} | ({"last-event-id": last} if last else {})
    async with (
        httpx.AsyncClient(headers=headers, timeout=20) as client,
        client.stream("GET", f"{replica}{CAMPAIGNS}/{campaign_id}/events") as answer,
    ):
        yield Stream(answer)


async def a_campaign(api: Api) -> str:
    """A draft whose rows are known and not yet sent."""
    wish = {"prompt": PROMPT, "approval": "none"}
    return str((await api.http.post(CAMPAIGNS, json=wish)).raise_for_status().json()["id"])


async def send(api: Api, campaign_id: str) -> None:
    (await api.http.put(f"{CAMPAIGNS}/{campaign_id}/input", content=CSV)).raise_for_status()


async def complete(api: Api, scene: CampaignScene, campaign_id: str) -> None:
    await scene.until(await scene.campaigns.get(api.tenant, campaign_id), CampaignState.COMPLETED)


async def heard_of(stream: Stream) -> list[Heard]:
    heard = []
    while (event := await stream.next()) is not None:
        heard.append(event)
    return heard


async def test_a_life_is_told_from_the_draft_to_the_campaign_object(
    api: Api, scene: CampaignScene, replicas: tuple[str, str]
) -> None:
    campaign_id = await a_campaign(api)
    async with following(api, replicas[0], campaign_id) as stream:
        assert stream.answer.headers["content-type"].startswith("text/event-stream")
        assert stream.answer.headers["x-accel-buffering"] == "no"
        first, counts = await stream.until("counts")
        assert (first.kind, first.data["state"], first.data["waiting_for"][:8]) == ("state", "draft", "its rows")
        assert (counts.data["counts"]["rows"], counts.data["forecast"]) == (0, None)
        await send(api, campaign_id)
        assert (await stream.until("state"))[-1].data["state"] == "ingesting"
        await complete(api, scene, campaign_id)
        rest = await stream.until("end")
        assert rest[-1].data == (await api.http.get(f"{CAMPAIGNS}/{campaign_id}")).json()
        (last,) = [event for event in rest if event.kind == "counts"][-1:]
        assert last.data["counts"]["succeeded"] == 20
        assert await stream.next() is None


async def test_another_replica_takes_up_behind_the_last_event_and_repeats_nothing(
    api: Api, scene: CampaignScene, replicas: tuple[str, str]
) -> None:
    campaign_id = await a_campaign(api)
    async with following(api, replicas[0], campaign_id) as stream:
        first, counts = await stream.until("counts")
    async with following(api, replicas[1], campaign_id, first.id) as stream:
        assert [event.id for event in await stream.until("counts")] == [counts.id]
    async with following(api, replicas[1], campaign_id, counts.id) as stream:
        await send(api, campaign_id)
        (begun,) = await stream.until("state")
        assert begun.data["state"] == "ingesting"
    await complete(api, scene, campaign_id)
    async with following(api, replicas[0], campaign_id, begun.id) as stream:
        rest = await heard_of(stream)
    assert [event.kind for event in rest] == ["state", "counts", "end"]
    # A connection that broke before the end tells the end, and nothing else.
    async with following(api, replicas[1], campaign_id, rest[1].id) as stream:
        assert [event.kind for event in await heard_of(stream)] == ["end"]
    async with following(api, replicas[1], campaign_id, rest[2].id) as stream:
        assert stream.answer.status_code == 204


async def test_a_comment_keeps_the_connection_while_nothing_happens(
    api: Api, replicas: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.05)
    async with following(api, replicas[0], await a_campaign(api)) as stream:
        await stream.until("counts")
        silence = asyncio.create_task(stream.next())
        async with asyncio.timeout(10):
            await stream.commented.wait()
        silence.cancel()


async def test_a_campaign_that_is_deleted_while_somebody_watches_ends_the_stream(
    api: Api, replicas: tuple[str, str]
) -> None:
    campaign_id = await a_campaign(api)
    async with following(api, replicas[0], campaign_id) as stream:
        await stream.until("counts")
        connection = await asyncpg.connect(api.settings.database_url)
        try:
            await connection.execute("UPDATE campaigns SET deleted_at = cogmill_now() WHERE id = $1", campaign_id)
        finally:
            await connection.close()
        (end,) = await stream.until("end")
    assert end.data == {"id": campaign_id, "object": "campaign.deleted", "deleted": True}


async def test_what_is_no_place_in_a_life_is_refused_and_so_are_too_many_watchers(
    api: Api, replicas: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign_id = await a_campaign(api)
    odd = await api.http.get(f"{CAMPAIGNS}/{campaign_id}/events", params={"last_event_id": "1.2.3"})
    assert (odd.status_code, odd.json()["error"]["param"]) == (400, "Last-Event-ID")
    monkeypatch.setattr(watching, "_FREE_FOR_ONE", 1_000)  # room for one of each tenant
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(following(api, replicas[0], campaign_id))
        full = await api.http.get(f"{CAMPAIGNS}/{campaign_id}/events")
    assert (full.status_code, full.json()["error"]["code"]) == (429, "limit_event_streams")

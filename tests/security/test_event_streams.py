"""Streams of events end with the key that opened them, and no tenants' take all that a process has."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
import pytest_asyncio
from cogmill_client import AsyncCogmill, Unauthenticated

from api.native import events
from orchestrator.notify.campaign_feed import CampaignFeed
from orchestrator.notify.feed import Feed
from tests.support.api import Api, id_of, listening, reaching

pytestmark = pytest.mark.asyncio(loop_scope="module")

WATCHED = ["/v1/videos", "/v1/campaigns"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(api_app: Any) -> AsyncIterator[str]:
    """The API behind a real server."""
    async with listening(api_app[0]) as port:
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def watching_one(site: str, path: str, key: str) -> AsyncIterator[httpx.Response]:
    """A stream of a new video's or campaign's events."""
    async with reaching(site, key) as http:
        made = (await http.post(path, json={"prompt": "sea"})).raise_for_status().json()
        async with http.stream("GET", f"{path}/{made['id']}/events") as answer:
            yield answer


@pytest.mark.parametrize("path", WATCHED)
async def test_a_silent_stream_of_a_revoked_key_says_so_and_ends(
    api: Api, site: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.05)
    key = await api.key()
    async with watching_one(site, path, key) as answer:
        lines = answer.aiter_lines()
        async for line in lines:
            if line.startswith(":"):  # all that there is to tell is told
                break
        await api.services.store.revoke_key(id_of(key))
        rest = [line async for line in lines if line and not line.startswith(":")]
    assert rest[0] == "event: revoked"
    error = json.loads(rest[1].removeprefix("data: "))["error"]
    assert (error["code"], error["message"]) == ("invalid_api_key", "the API key was revoked")
    assert len(rest) == 2


async def test_a_revoked_key_gets_no_url_of_a_preview(api: Api, site: str) -> None:
    """No heartbeat comes between: events would go on and on."""
    key = await api.key()
    async with watching_one(site, "/v1/videos", key) as answer:
        lines = answer.aiter_lines()
        async for line in lines:
            if line == "event: stage":
                break
        await api.services.store.revoke_key(id_of(key))
        page = await api.services.jobs.list(api.tenant, limit=1)
        await api.services.store.request_cancel(page.jobs[0].id, api.tenant)  # news
        rest = [line async for line in lines if line.startswith("event: ")]
    assert rest == ["event: revoked"]


async def test_the_client_raises_what_the_stream_says(api: Api, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.05)
    key = await api.key()
    video = (await api.http.post("/v1/videos", json={"prompt": "sea"})).json()
    async with AsyncCogmill(base_url=site, api_key=key) as cogmill:
        heard = aiter(cogmill.videos.events(video["id"]))
        assert (await anext(heard)).kind == "stage"
        await api.services.store.revoke_key(id_of(key))
        with pytest.raises(Unauthenticated, match="revoked"):
            await anext(heard)


@pytest.mark.parametrize("path", WATCHED)
async def test_five_tenants_that_take_all_they_can_keep_nobody_out(api: Api, site: str, path: str) -> None:
    """The process has room for 20 in this test; five tenants try to open 20 each."""
    usual, store = api.services, api.services.store
    async with AsyncExitStack() as open_:
        open_.callback(setattr, api.app.state, "services", usual)
        small = {"feed": Feed(store, watchers=20), "campaign_feed": CampaignFeed(store, watchers=20)}
        api.app.state.services = replace(usual, **small)
        for n in range(5):
            http, events_of_one = await hearer(api, site, path, open_, f"greedy-{n}")
            for _ in range(20):
                answer = await open_.enter_async_context(http.stream("GET", events_of_one))
                if answer.status_code == 429:
                    break
            error = json.loads(await answer.aread())["error"]
            assert (answer.status_code, error["code"]) == (429, "limit_event_streams")
            assert "being watched here; at most" in error["message"]
            assert int(answer.headers["retry-after"]) > 0
        for n in range(10):
            http, events_of_one = await hearer(api, site, path, open_, f"modest-{n}")
            answer = await open_.enter_async_context(http.stream("GET", events_of_one))
            assert answer.status_code == 200


async def hearer(api: Api, site: str, path: str, open_: AsyncExitStack, tenant: str) -> tuple[httpx.AsyncClient, str]:
    """A tenant's client, and where the events of something of its are."""
    key = await api.key(f"{tenant}-{api.tenant}")
    http = await open_.enter_async_context(reaching(site, key))
    made = (await http.post(path, json={"prompt": "sea"})).raise_for_status().json()
    return http, f"{path}/{made['id']}/events"

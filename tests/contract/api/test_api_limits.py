"""What the API refuses although it is well formed: limits, keys that come again, moderation; in each dialect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import httpx
import pytest

from api.bigmodel import errors as bigmodel
from api.openai import errors as openai
from api.wire.problem import problem_of
from orchestrator.config import LimitSettings, ModerationSettings
from orchestrator.domain.errors import (
    Crowded,
    KeyReused,
    LimitExceeded,
    ModerationUnavailable,
    Refused,
    StoreUnavailable,
    SubmitUnconfirmed,
    WrongState,
)
from orchestrator.tenants.turns import Turns
from tests.support.api import Api, api_settings, in_process, listening, serving

OPENAI, BIGMODEL = "/v1/videos", "/api/paas/v4/videos/generations"
FILES = "/v1/files"
BODY = {"model": "tiny-2b", "prompt": "a mill"}
LIMITED = "rate_limit_exceeded"
INVALID, RATE, QUOTA, SERVER = "invalid_request_error", "rate_limit_error", "insufficient_quota", "server_error"


def limit(name: str, retry_after_s: float | None) -> LimitExceeded:
    return LimitExceeded("too much", limit=name, retry_after_s=retry_after_s)


def told(retry: str, after_s: str | None = None) -> dict[str, str]:
    return {"x-should-retry": retry} | ({} if after_s is None else {"retry-after": after_s})


@pytest.mark.parametrize(
    ("error", "status", "kind", "code", "business", "headers"),
    [
        (limit("requests_per_s", 0.2), 429, RATE, LIMITED, "1303", told("true", "1")),
        (limit("queued", 10.0), 429, RATE, LIMITED, "1302", told("true", "10")),
        (limit("queued", None), 429, RATE, LIMITED, "1302", told("false")),
        (limit("large_bodies", 20.0), 429, RATE, LIMITED, "1302", told("true", "20")),
        (limit("requests_in_flight", 1.0), 429, RATE, LIMITED, "1302", told("true", "1")),
        (limit("body_bytes", 1.0), 429, RATE, LIMITED, "1302", told("true", "1")),
        (limit("downloads", 1.0), 429, RATE, LIMITED, "1302", told("true", "1")),
        (limit("gpu_seconds_per_day", 3600.5), 429, QUOTA, QUOTA, "1304", told("false", "3601")),
        (limit("gpu_seconds_per_day", None), 429, QUOTA, QUOTA, "1304", told("false")),
        (limit("largest_request", None), 400, INVALID, "request_limit_exceeded", "1210", {}),
        (limit("most_urgent", None), 403, INVALID, "limit_most_urgent", "1220", {}),
        (KeyReused("another request"), 400, INVALID, "idempotency_key_reused", "1231", {}),
        (WrongState("it runs"), 400, INVALID, "wrong_state", "1210", {}),
        (Refused("not this"), 400, INVALID, "content_policy_violation", "1301", {}),
        (ModerationUnavailable("gone"), 503, SERVER, "unavailable", "1234", told("true", "2")),
        (StoreUnavailable("gone"), 503, SERVER, "unavailable", "1234", told("true", "2")),
        (Crowded("full"), 503, SERVER, "unavailable", "1234", told("true", "2")),
        (SubmitUnconfirmed("gone"), 503, SERVER, "unavailable", "1234", told("false")),
    ],
)  # fmt: skip
def test_each_refusal_has_its_status_its_codes_and_says_whether_to_try_again(
    error: Exception, status: int, kind: str, code: str, business: str, headers: dict[str, str]
) -> None:
    problem = problem_of(error)
    assert (problem.status, problem.headers) == (status, headers)
    openai_error = openai.body(problem).error
    assert (openai_error.type, openai_error.code) == (kind, code)
    body = bigmodel.body(problem).model_dump()
    assert body["error"]["code"] == business
    assert body.get("contentFilter") == ([{"level": 1, "role": "user"}] if business == "1301" else None)


@asynccontextmanager
async def opened(database_url: str, **sections: Any) -> AsyncIterator[Api]:
    """An API with these sections of the settings, and a tenant of its own."""
    settings = api_settings(database_url).model_copy(update=sections)
    async with serving(settings) as app:
        api = Api(app, settings, tenant=uuid4().hex, http=in_process(app))
        api.http.headers["authorization"] = f"Bearer {await api.key(api.tenant)}"
        async with api.http:
            yield api


async def test_every_authenticated_request_counts_and_each_tenant_for_itself(database_url: str) -> None:
    async with opened(database_url, limits=LimitSettings(requests_per_s=0.05)) as api:
        assert (await api.http.get(OPENAI)).status_code == 200
        for refused in (await api.http.get(OPENAI), await api.http.post(BIGMODEL, json=BODY)):
            assert refused.status_code == 429
            assert 15 < int(refused.headers["retry-after"]) <= 20
        assert (await api.http.get("/healthz")).status_code == 200
        async with await api.client("other") as other:
            assert (await other.get(OPENAI)).status_code == 200
        assert await api.rows() == 0


async def test_a_tenants_own_limits_are_told_in_its_dialect_and_leave_no_row(database_url: str) -> None:
    async with opened(database_url) as api:
        store = api.services.store
        cost = (await api.services.jobs.get(api.tenant, (await api.http.post(OPENAI, json=BODY)).json()["id"])).cost
        for changes, status, code in [
            ({"queued": 1}, 429, "1302"),
            ({"queued": None, "gpu_seconds_per_day": cost * 1.5}, 429, "1304"),
            ({"gpu_seconds_per_day": None, "largest_request": cost / 2}, 400, "1210"),
        ]:
            await store.set_limits(api.tenant, changes)
            refused = await api.http.post(BIGMODEL, json=BODY)
            assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)
        assert await api.rows() == 1


@pytest.mark.parametrize("route", [OPENAI, BIGMODEL])
async def test_what_moderation_refuses_is_not_accepted(database_url: str, route: str) -> None:
    hook = ModerationSettings(entry_point="tests.support.moderators:refuses_blood")
    async with opened(database_url, moderation=hook) as api:
        assert (await api.http.post(route, json=BODY)).status_code == 200
        refused = await api.http.post(route, json=BODY | {"prompt": "a river of blood"})
        assert refused.status_code == 400
        assert refused.json()["error"]["code"] in ("1301", "content_policy_violation")
        assert await api.rows() == 1


async def test_without_an_answer_from_moderation_nothing_is_accepted(database_url: str) -> None:
    async with opened(
        database_url, moderation=ModerationSettings(entry_point="tests.support.moderators:breaks")
    ) as api:
        refused = await api.http.post(OPENAI, json=BODY)
        assert (refused.status_code, refused.headers["x-should-retry"]) == (503, "true")
        assert await api.rows() == 0


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("path", [OPENAI, f"{OPENAI}/video_x/remix", BIGMODEL, FILES])
async def test_a_tenants_large_bodies_wait_for_each_other_and_hold_up_nothing_else(api: Api, path: str) -> None:
    """One body of the tenant stays unfinished; what it holds then is its own tenant's room, and for large bodies."""
    begun, enough = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        begun.set()
        yield b"--B"
        await enough.wait()

    def send(http: httpx.AsyncClient, content: bytes | AsyncIterator[bytes]) -> Awaitable[httpx.Response]:
        kind = "application/json" if path == BIGMODEL else "multipart/form-data; boundary=B"
        return http.post(path, content=content, headers={"content-type": kind})

    large = b" " * (api.settings.api.max_body_bytes + 1)
    with _narrow(api):
        unfinished = asyncio.ensure_future(send(api.http, body()))
        await asyncio.wait_for(begun.wait(), 5)
        refused = await send(api.http, large)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "20")
        assert (await api.http.post(OPENAI, json=BODY)).status_code == 200
        async with await api.client(uuid4().hex) as other:
            assert (await send(other, large)).status_code == 400
        enough.set()
        assert (await unfinished).status_code == 400
        assert (await send(api.http, large)).status_code == 400


HELD = [
    ("requests_in_flight", {"max_requests_in_flight_per_tenant": 1}),
    ("body_bytes", {"max_bodies_bytes": 2**20, "max_bodies_bytes_per_tenant": 2**20}),
]


@pytest.mark.parametrize(("named", "bounds"), HELD)
async def test_what_a_tenant_holds_in_a_process_is_refused_by_name_and_given_back(
    database_url: str, named: str, bounds: dict[str, int]
) -> None:
    """One body stays unfinished: that is one request in flight, and all the bytes that there is room for."""
    settings = api_settings(database_url)
    settings = settings.model_copy(update={"api": settings.api.model_copy(update=bounds)})
    begun, enough = asyncio.Event(), asyncio.Event()
    piece = b" " * (2**20 - 10)

    async def body() -> AsyncIterator[bytes]:
        yield piece
        begun.set()
        await enough.wait()
        yield b"{}"

    async with serving(settings) as app:
        api = Api(app, settings, tenant=uuid4().hex, http=in_process(app))
        async with await api.client(api.tenant) as http, await api.client("other") as other:
            json_body = {"content-type": "application/json"}
            unfinished = asyncio.ensure_future(http.post(OPENAI, content=body(), headers=json_body))
            await asyncio.wait_for(begun.wait(), 5)
            refused = await http.post(OPENAI, json=BODY)
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, LIMITED)
            assert named in refused.json()["error"]["message"]
            most = next(iter(bounds.values()))
            assert refused.headers["ratelimit-policy"] == f'"{named}";q={most}'
            assert refused.headers["ratelimit"] == f'"{named}";r={most - (1 if most == 1 else len(piece))}'
            answer = await other.post(OPENAI, json=BODY)
            if named == "body_bytes":  # all that the process has: nobody's own doing, and it passes
                assert (answer.status_code, answer.headers["x-should-retry"]) == (503, "true")
            else:
                assert answer.status_code == 200
            enough.set()
            assert (await unfinished).status_code == 400  # without a prompt
            for each in (http, other):
                assert (await each.post(OPENAI, json=BODY)).status_code == 200
            assert app.state.services.rooms.bodies.of(api.tenant) == 0


async def test_an_event_stream_counts_by_its_own_bound_and_not_as_a_request_in_flight(database_url: str) -> None:
    settings = api_settings(database_url, max_requests_in_flight_per_tenant=1)
    async with serving(settings) as app, listening(app) as port:
        api = Api(app, settings, tenant=uuid4().hex, http=in_process(app))
        headers = {"authorization": f"Bearer {await api.key(api.tenant)}"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as http:
            video_id = (await http.post(OPENAI, json=BODY)).json()["id"]
            async with http.stream("GET", f"{OPENAI}/{video_id}/events") as stream:
                assert (await anext(stream.aiter_lines())).startswith("id: ")
                assert (await http.get(OPENAI)).status_code == 200


@contextmanager
def _narrow(api: Api) -> Iterator[None]:
    """Room for one large body of a tenant."""
    wide = api.services
    api.app.state.services = replace(wide, large_bodies=Turns(1, wait_s=0.1), uploads=Turns(1, wait_s=0.1))
    try:
        yield
    finally:
        api.app.state.services = wide

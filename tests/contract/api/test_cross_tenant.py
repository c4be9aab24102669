"""No route tells a tenant anything of another's: what is another's answers exactly as what does not exist.

And lists hold what is their reader's alone.

A route that the tables below do not know fails its test, so that none is forgotten.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from PIL import Image

from api.app import create_app
from orchestrator.campaigns.manifest import ManifestWriter
from orchestrator.campaigns.signing import Signer
from orchestrator.config import ModelSettings, PoolSettings, Settings
from orchestrator.domain.campaign import CampaignState, ManifestMark
from orchestrator.domain.manifest import ManifestHead, ManifestRow
from orchestrator.ports.campaign_values import Change
from tests.support.api import MASTER_KEY, Api, api_settings, in_process, serving
from tests.support.postgres import Server
from tests.support.receivers import LOOPBACK, posting
from tests.support.s3 import S3Server
from tests.support.sockets import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

# What anybody may read.
OPEN = {
    "/", "/healthz", "/readyz", "/metrics", "/docs", "/docs/{name}", "/openapi.json", "/llms.txt",
    "/.well-known/jwks.json",
}  # fmt: skip
# The console's page and files are everybody's; its sessions are what the cookie says (`test_sessions.py` and
# `test_signing_in.py` in `tests/security/`).
CONSOLE = "/console"
# Queries that take no id, but words, numbers and the names of what is configured.
PLAIN = {
    "limit", "order", "variant", "purpose", "state", "last_event_id", "format", "from", "to", "by", "reason",
    "custom_id", "var", "model", "pool", "resolution", "decision", "rating", "flagged", "promoted",
    "name", "at_risk",
}  # fmt: skip
# Of a page within the path's thing, and of a tenant, which is forbidden whoever that is (`test_usage.py`).
WITHIN = {
    ("GET", "/v1/campaigns/{campaign_id}/rows", "after"),
    ("GET", "/v1/campaigns/{campaign_id}/reviews", "after"),
    ("GET", "/v1/usage", "tenant"),
}
# Paths about things that are the same for every tenant.
SHARED = {
    "/v1/models/{model_id:path}", "/v1/videos/characters/{character_id}", "/v1/pools/{pool}/pause",
    "/v1/pools/{pool}/resume",
}  # fmt: skip
# What makes a thing under a name that everybody may use for their own (`test_notes.py`).
MAKING = {("PUT", "/v1/job-filters/{filter_name}")}
ROUTES = [
    (method, context.original_route)
    for context in iter_route_contexts(create_app(api_settings("postgresql://nowhere/none")).routes)
    for method in sorted(context.methods or ())
]
CALLS = [(method, route.path) for method, route in ROUTES]
KEYED = [call for call in CALLS if call[1] not in OPEN and not call[1].startswith(CONSOLE)]
# What is about every tenant, and asks for a scope that no tenant's key has (`test_scopes.py`, `test_admin.py`).
ADMINISTRATION = "/v1/admin/"
ABOUT_A_THING = [
    call
    for call in KEYED
    if "{" in call[1] and call[1] not in SHARED and call not in MAKING and not call[1].startswith(ADMINISTRATION)
]

Maker = Callable[[Api], Awaitable[str]]
REVIEW = {"version": 0, "decision": "reject"}
BATCH = {"endpoint": "/v1/videos", "completion_window": "24h"}
Ask = Callable[[str], dict[str, Any]]


async def a_video(api: Api) -> str:
    """A finished one, so that it has contents."""
    answer = await api.http.post("/v1/videos", json={"prompt": "a lighthouse"})
    video_id = str(answer.raise_for_status().json()["id"])
    await api.succeed(video_id)
    return video_id


async def a_review(api: Api) -> str:
    video_id = await a_video(api)
    (await api.http.put(f"/v1/reviews/{video_id}", json=REVIEW)).raise_for_status()
    return video_id


async def a_file(api: Api) -> str:
    files = {"purpose": (None, "batch"), "file": ("shots.jsonl", b"{}\n")}
    return str((await api.http.post("/v1/files", files=files)).raise_for_status().json()["id"])


async def a_picture(api: Api) -> str:
    data = io.BytesIO()
    Image.new("RGB", (96, 64)).save(data, "PNG")
    files = {"purpose": (None, "vision"), "file": ("first.png", data.getvalue())}
    return str((await api.http.post("/v1/files", files=files)).raise_for_status().json()["id"])


async def a_batch(api: Api) -> str:
    answer = await api.http.post("/v1/batches", json={**BATCH, "input_file_id": await a_file(api)})
    return str(answer.raise_for_status().json()["id"])


async def an_endpoint(api: Api) -> str:
    endpoint = {"name": "ends", "url": f"http://127.0.0.1:{free_port()}/", "event_types": ["video.completed"]}
    return str((await api.http.post("/v1/webhook_endpoints", json=endpoint)).raise_for_status().json()["id"])


async def a_delivery(api: Api) -> str:
    await an_endpoint(api)
    await a_video(api)
    async with posting(api.settings.database_url) as post:
        await post.announcer.run_once()
    return str((await api.http.get("/v1/webhook_deliveries")).raise_for_status().json()["data"][0]["id"])


async def a_key(api: Api) -> str:
    return str((await api.http.post("/v1/keys", json={"name": "another"})).raise_for_status().json()["id"])


async def a_campaign(api: Api) -> str:
    """One that has ended, so that its events do, and has a manifest."""
    made = await api.http.post("/v1/campaigns", json={"prompt": "a {product}"})
    campaign_id = str(made.raise_for_status().json()["id"])
    head = ManifestHead(campaign=campaign_id, revision=1, final=True)
    written = await ManifestWriter(api.services.objects, Signer(MASTER_KEY)).write(api.tenant, head, no_pages())
    signed = written.signature
    mark = ManifestMark(
        revision=1, final=True, rows=0, sha256=signed.sha256, key=written.manifest.key, key_id=signed.key_id
    )
    await api.services.store.change_campaign(
        campaign_id, api.tenant, lambda _: Change(state=CampaignState.CANCELLED, values={"manifest": mark})
    )
    connection = await asyncpg.connect(api.settings.database_url)
    try:
        await connection.execute(
            "UPDATE campaigns SET ended_at = cogmill_now(), drained = true WHERE id = $1", campaign_id
        )
    finally:
        await connection.close()
    return campaign_id


async def a_bulk_action(api: Api) -> str:
    answer = await api.http.post("/v1/bulk-actions", json={"action": "cancel", "filter": {"pool": "none"}})
    return str(answer.raise_for_status().json()["id"])


async def a_note(api: Api) -> str:
    note = {"about": await a_video(api), "body": "look at this"}
    return str((await api.http.post("/v1/notes", json=note)).raise_for_status().json()["id"])


async def a_saved_filter(api: Api) -> str:
    name = f"filter-of-{api.tenant[:8]}"
    return str((await api.http.put(f"/v1/job-filters/{name}", json={"filter": {}})).raise_for_status().json()["id"])


async def no_pages() -> AsyncIterator[Sequence[ManifestRow]]:
    for page in ():
        yield page


# A path parameter's name: makes such a thing for the first tenant, and returns its id.
THINGS: dict[str, Maker] = {
    "video_id": a_video,
    "file_id": a_file,
    "batch_id": a_batch,
    "endpoint_id": an_endpoint,
    "delivery_id": a_delivery,
    "campaign_id": a_campaign,
    "key_id": a_key,
    "job_id": a_video,
    "bulk_id": a_bulk_action,
    "note_id": a_note,
    "filter_name": a_saved_filter,
}

# Routes that list things: makes one for a tenant, and returns its id.
LISTS: dict[str, Maker] = {
    "/v1/videos": a_video,
    "/v1/files": a_file,
    "/api/paas/v4/files": a_file,
    "/v1/batches": a_batch,
    "/api/paas/v4/batches": a_batch,
    "/v1/webhook_endpoints": an_endpoint,
    "/v1/webhook_deliveries": a_delivery,
    "/v1/campaigns": a_campaign,
    "/v1/keys": a_key,
    "/v1/jobs": a_video,
    "/v1/bulk-actions": a_bulk_action,
    "/v1/job-filters": a_saved_filter,
    "/v1/reviews": a_review,
}
# Routes without a thing in their path that list nothing of a tenant's.
LISTING_NOTHING = {
    "/v1/fleet",
    "/v1/jobs/counts",  # `test_jobs.py`
    "/v1/models",
    "/v1/notes",  # about one thing: below
    # Counts of the tenant's own: `test_overview.py`.
    "/v1/overview",
    "/v1/overview/history",
    "/v1/pools",
    "/v1/predictions",
    "/v1/usage",
    "/v1/usage/waste",
    "/v1/usage/workers",
    "/v1/webhook_event_types",
    "/v1/webhook_secret",
}

# What to send with a POST, PUT or PATCH about such a thing; GET, HEAD and DELETE take nothing.
BODIES: dict[str, dict[str, Any]] = {
    "/v1/videos/{video_id}/remix": {"json": {"prompt": "a lighthouse at dawn"}},
    "/v1/videos/{video_id}/retry": {},
    "/v1/videos/{video_id}/cancel": {},
    "/v1/bulk-actions/{bulk_id}/cancel": {},
    "/v1/batches/{batch_id}/cancel": {},
    "/api/paas/v4/batches/{batch_id}/cancel": {},
    "/v1/webhook_endpoints/{endpoint_id}": {"json": {"name": "another"}},
    "/v1/webhook_endpoints/{endpoint_id}/disable": {},
    "/v1/webhook_endpoints/{endpoint_id}/rotate_secret": {},
    "/v1/webhook_endpoints/{endpoint_id}/test": {"json": {"event_type": "video.completed"}},
    "/v1/webhook_deliveries/{delivery_id}/resend": {},
    "/v1/keys/{key_id}/rotate": {},
    "/v1/keys/{key_id}/revoke": {},
    "/v1/campaigns/{campaign_id}": {"json": {"name": "another"}},
    "/v1/campaigns/{campaign_id}/input": {"content": b"product\nmug\n"},
    "/v1/campaigns/{campaign_id}/upload": {},
    "/v1/campaigns/{campaign_id}/ingest": {},
    "/v1/campaigns/{campaign_id}/plan": {},
    "/v1/campaigns/{campaign_id}/approve": {"json": {"plan_token": "plan_0"}},
    "/v1/campaigns/{campaign_id}/reject": {"json": {"rows": ["1"], "do": "drop"}},
    "/v1/campaigns/{campaign_id}/pause": {},
    "/v1/campaigns/{campaign_id}/resume": {},
    "/v1/campaigns/{campaign_id}/cancel": {},
    "/v1/campaigns/{campaign_id}/retry": {},
    "/v1/campaigns/{campaign_id}/waive": {},
    "/v1/campaigns/{campaign_id}/promote": {},
    "/v1/campaigns/{campaign_id}/reviews/hold": {},
    "/v1/campaigns/{campaign_id}/reviews/release": {},
    "/v1/campaigns/{campaign_id}/reviews/apply": {},
    "/v1/campaigns/{campaign_id}/reviews/promote": {},
    "/v1/reviews/{video_id}": {"json": REVIEW},
    "/v1/reviews/{video_id}/undo": {"json": {"version": 1}},
    "/v1/reviews/{video_id}/render_again": {"json": {"version": 1}},
}


def after(cursor: str) -> dict[str, Any]:
    return {"params": {"after": cursor}}


# Ids that come in a query or a body: the route, what makes the thing, and how the call names it.
REFERENCES: dict[tuple[str, str, str], tuple[Maker, Ask]] = {
    ("GET", "/v1/videos", "after"): (a_video, after),
    ("GET", "/v1/jobs", "after"): (a_video, after),
    ("GET", "/v1/bulk-actions", "after"): (a_bulk_action, after),
    ("GET", "/v1/notes", "after"): (a_note, lambda made: {"params": {"about": "video_0", "after": made}}),
    ("GET", "/v1/notes", "about"): (a_video, lambda made: {"params": {"about": made}}),
    ("POST", "/v1/notes", "about"): (a_video, lambda made: {"json": {"about": made, "body": "mine"}}),
    ("GET", "/v1/files", "after"): (a_file, after),
    ("GET", "/api/paas/v4/files", "after"): (a_file, after),
    ("GET", "/v1/batches", "after"): (a_batch, after),
    ("GET", "/api/paas/v4/batches", "after"): (a_batch, after),
    ("GET", "/v1/webhook_endpoints", "after"): (an_endpoint, after),
    ("GET", "/v1/webhook_deliveries", "after"): (a_delivery, after),
    ("GET", "/v1/campaigns", "after"): (a_campaign, after),
    ("GET", "/v1/keys", "after"): (a_key, after),
    ("GET", "/v1/reviews", "after"): (a_review, after),
    ("GET", "/v1/usage", "campaign"): (
        a_campaign,
        lambda made: {"params": {"campaign": made, "from": 1_700_000_000, "to": 1_702_000_000}},
    ),
    ("POST", "/v1/campaigns", "input"): (a_file, lambda made: {"json": {"input": made}}),
    ("POST", "/v1/campaigns", "like"): (a_file, lambda made: {"json": {"like": made}}),
    ("POST", "/v1/campaigns", "clone_of"): (a_campaign, lambda made: {"json": {"clone_of": made}}),
    ("GET", "/v1/webhook_deliveries", "endpoint"): (an_endpoint, lambda made: {"params": {"endpoint": made}}),
    ("POST", "/v1/videos", "input_reference"): (
        a_picture,
        lambda made: {"json": {"prompt": "the mill turns", "input_reference": {"file_id": made}}},
    ),
    ("POST", "/api/paas/v4/videos/generations", "image_url"): (
        a_picture,
        lambda made: {"json": {"model": "cogvideox-3", "image_url": {"file_id": made}}},
    ),
    ("POST", "/v1/batches", "input_file_id"): (a_file, lambda made: {"json": {**BATCH, "input_file_id": made}}),
    ("POST", "/api/paas/v4/batches", "input_file_id"): (
        a_file,
        lambda made: {"json": {**BATCH, "endpoint": "/v4/videos/generations", "input_file_id": made}},
    ),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api_app(
    postgres_server: Server, migrated_template: str, s3_server: S3Server
) -> AsyncIterator[tuple[FastAPI, Settings]]:
    """As every test's, but with a model for pictures, and tries of webhooks to this machine, where nobody answers."""
    database_url = postgres_server.url(postgres_server.new_database(migrated_template))
    settings = api_settings(database_url, s3_server.new_bucket())
    pictures = ModelSettings(family="tiny-5b-i2v", source="/models/tiny-5b-i2v")
    settings = settings.model_copy(
        update={
            "fetch": LOOPBACK,
            "models": settings.models | {"pictures": pictures},
            "pools": settings.pools | {"pictures": PoolSettings(model="pictures")},
        }
    )
    async with serving(settings) as app, posting(database_url) as post, post.delivering():
        yield app, settings


@pytest.mark.parametrize(("method", "path"), ABOUT_A_THING)
async def test_a_thing_of_another_tenant_answers_as_one_that_does_not_exist(api: Api, method: str, path: str) -> None:
    parameter = path.partition("{")[2].partition("}")[0]
    assert parameter in THINGS, f"say in THINGS how to make what {path} is about"
    assert method not in ("POST", "PUT", "PATCH") or path in BODIES, f"say in BODIES what to send to {path}"
    owned = await THINGS[parameter](api)

    def ask(client: httpx.AsyncClient, thing: str) -> Awaitable[httpx.Response]:
        return client.request(method, path.replace(f"{{{parameter}}}", thing), **BODIES.get(path, {}))

    answer = await _told_alike(api, owned, ask)
    assert answer.status_code == 404
    assert (await ask(api.http, owned)).status_code != 404  # it was there, and still is


@pytest.mark.parametrize(("method", "path", "field"), REFERENCES)
async def test_a_thing_of_another_tenant_cannot_be_referred_to(api: Api, method: str, path: str, field: str) -> None:
    make, kwargs = REFERENCES[method, path, field]
    owned = await make(api)

    def ask(client: httpx.AsyncClient, thing: str) -> Awaitable[httpx.Response]:
        return client.request(method, path, **kwargs(thing))

    await _told_alike(api, owned, ask)
    assert (await ask(api.http, owned)).is_success


@pytest.mark.parametrize("path", LISTS)
async def test_a_list_holds_what_is_its_readers_and_nothing_else(api: Api, path: str) -> None:
    another = f"another-{api.tenant}"
    async with await api.client(another) as client:
        stranger = replace(api, tenant=another, http=client)
        mine, theirs = {await LISTS[path](api)}, {await LISTS[path](stranger)}
        listed = [
            {thing["id"] for thing in (await http.get(path, params={"limit": 50})).raise_for_status().json()["data"]}
            for http in (api.http, client)
        ]
        if path == "/v1/keys":  # its reader has the one that it reads with, too
            for ids, http in ((mine, api.http), (theirs, client)):
                ids.add(http.headers["authorization"].removeprefix("Bearer ").split(".")[0])
    assert listed == [mine, theirs]


async def test_every_list_is_among_those_whose_contents_are_looked_at() -> None:
    plain = {
        path for method, path in KEYED if method == "GET" and "{" not in path and not path.startswith(ADMINISTRATION)
    }
    assert plain == LISTS.keys() | LISTING_NOTHING


async def test_a_key_of_repetition_is_no_other_tenants(api: Api) -> None:
    asked: dict[str, Any] = {"json": {"prompt": "a lighthouse"}, "headers": {"idempotency-key": "the-same"}}
    async with await api.client("stranger") as stranger:
        mine, again, theirs = [await http.post("/v1/videos", **asked) for http in (api.http, api.http, stranger)]
        assert mine.json()["id"] == again.json()["id"] != theirs.json()["id"]
        assert (await api.http.get(f"/v1/videos/{theirs.json()['id']}")).status_code == 404


async def test_every_query_that_takes_an_id_is_among_the_references() -> None:
    taken = {
        (method, route.path, query.alias)
        for method, route in ROUTES
        if isinstance(route, APIRoute) and not route.path.startswith((ADMINISTRATION, CONSOLE))
        for query in route.dependant.query_params
        if query.alias not in PLAIN
    }
    assert taken - WITHIN == {key for key in REFERENCES if key[0] == "GET"}


@pytest.mark.parametrize(("method", "path"), KEYED)
@pytest.mark.parametrize("authorization", [{}, {"authorization": "Bearer nobody.secret"}], ids=["none", "unknown"])
async def test_a_route_needs_a_key(api: Api, method: str, path: str, authorization: dict[str, str]) -> None:
    async with in_process(api.app) as stranger:
        answer = await stranger.request(method, path, headers=authorization)
    assert answer.status_code == 401


@pytest.mark.parametrize("path", sorted(OPEN))
async def test_an_open_route_needs_none(api: Api, path: str) -> None:
    async with in_process(api.app) as stranger:
        assert (await stranger.get(path.replace("{name}", "docs.js"))).status_code == 200


async def _told_alike(
    api: Api, owned: str, ask: Callable[[httpx.AsyncClient, str], Awaitable[httpx.Response]]
) -> httpx.Response:
    """Another tenant asks about the thing, and about one that nobody has: told apart by nothing but the id."""
    absent = f"{owned[:-8]}00000000"
    async with await api.client("stranger") as stranger:
        existing = await asyncio.wait_for(ask(stranger, owned), 10)
        missing = await asyncio.wait_for(ask(stranger, absent), 10)
    assert _told(existing, owned) == _told(missing, absent)
    return existing


def _told(answer: httpx.Response, thing: str) -> tuple[int, dict[str, str], str]:
    headers = {name: value for name, value in answer.headers.items() if name not in ("x-request-id", "date")}
    return answer.status_code, headers, answer.text.replace(thing, "ID")

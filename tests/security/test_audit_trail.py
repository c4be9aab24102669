"""Who does something to a deployment leaves a trail, who is refused a bounded one; and nothing secret is in it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from ipaddress import ip_address, ip_network
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from structlog.testing import capture_logs

from api.wire.scopes import scope_of
from orchestrator.audit.refusals import Refusals
from orchestrator.config import Settings
from orchestrator.domain.audit import Change
from orchestrator.domain.errors import StoreUnavailable
from orchestrator.domain.rights import ADMINISTRATIVE, USUAL, Scope
from orchestrator.telemetry import metrics
from orchestrator.tenants import keys
from tests.support.api import CLUSTER, WORKER, Api, api_settings, id_of, in_process, serving
from tests.support.bad_items import fake
from tests.support.postgres import Server
from tests.support.s3 import S3Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

AUDIT = "/v1/admin/audit"
OFFICE = "203.0.113.7"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api_app(
    postgres_server: Server, migrated_template: str, s3_server: S3Server
) -> AsyncIterator[tuple[FastAPI, Settings]]:
    """As every test's, with a line for each request."""
    database = postgres_server.new_database(migrated_template)
    settings = api_settings(postgres_server.url(database), s3_server.new_bucket())
    settings = settings.model_copy(update={"log": settings.log.model_copy(update={"access": True})})
    async with serving(settings) as app:
        yield app, settings
    postgres_server.drop_database(database)


async def trail(api: Api, **wanted: str) -> list[dict[str, Any]]:
    """What the API shows of it to a viewer, the oldest first."""
    async with in_process(api.app, await api.key("viewers", scopes=frozenset({Scope.VIEW}))) as viewer:
        answer = await viewer.get(AUDIT, params={"limit": 100, **wanted})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found[::-1]


async def test_what_a_key_does_is_told_with_the_key_its_tenant_its_address_and_the_request(api: Api) -> None:
    maker = await api.key()
    async with in_process(api.app, maker, address=OFFICE, headers={"x-request-id": "trace-1"}) as http:
        made = (await http.post("/v1/keys", json={"name": "ci", "scopes": ["read"]})).json()
        new = (await http.post(f"/v1/keys/{made['id']}/rotate", json={"overlap_s": 60})).json()
        for _ in range(2):  # the second changes nothing
            await http.post(f"/v1/keys/{new['id']}/revoke")
    created, rotated, revoked = await trail(api, actor=f"key:{id_of(maker)}")
    who = {"actor": f"key:{id_of(maker)}", "actor_tenant": api.tenant, "address": OFFICE, "request_id": "trace-1"}
    for entry, action in ((created, "key.create"), (rotated, "key.rotate"), (revoked, "key.revoke")):
        assert who | {"action": action, "outcome": "done", "tenant": api.tenant} == {
            name: entry[name] for name in (*who, "action", "outcome", "tenant")
        }
    assert created["subject"] == rotated["subject"] == f"key:{made['id']}"
    assert created["after"] == {
        "name": "ci", "scopes": ["read"], "allow": [], "expires_at": None, "made_by": id_of(maker)
    }  # fmt: skip
    assert rotated["after"]["replaced_by"] == new["id"]
    assert list(revoked["after"]) == ["revoked_at"]


async def test_a_webhooks_url_is_told_without_what_opens_a_door_and_its_secret_not_at_all(api: Api) -> None:
    where = "https://hooks.example.com/T0/B1/pathsecret"
    made = (
        await api.http.post(
            "/v1/webhook_endpoints",
            json={"name": "ops", "url": f"{where}?token=s3cret", "event_types": ["video.completed"]},
        )
    ).json()
    path = f"/v1/webhook_endpoints/{made['id']}"
    await api.http.post(path, json={"url": f"{where}/2?token=s3cret"})
    await api.http.post(f"{path}/rotate_secret", json={})
    await api.http.delete(path)
    told = await trail(api, subject=f"webhook:{made['id']}")
    assert [entry["action"] for entry in told] == [
        "webhook.create", "webhook.update", "webhook.rotate", "webhook.delete"
    ]  # fmt: skip
    urls = [told[1][when]["url"] for when in ("before", "after")]
    assert all(url.startswith("https://hooks.example.com/sha256:") for url in urls)
    assert len(set(urls)) == 2
    assert "s3cret" not in json.dumps(told)
    assert "pathsecret" not in json.dumps(told)
    assert made["signing_secret"].removeprefix("whsec_") not in json.dumps(told)


async def test_what_a_campaign_may_use_and_that_it_ends_is_told_and_none_of_its_words(api: Api) -> None:
    asked = {"prompt": "a secret {thing}", "webhook_url": "https://hooks.example.com/in?token=s3cret"}
    made = (await api.http.post("/v1/campaigns", json=asked)).json()
    path = f"/v1/campaigns/{made['id']}"
    for change in (
        {"budget": {"amount": 60, "unit": "gpu_seconds"}},
        {"name": "of no interest"},
        {"prompt": "another {thing}"},
    ):
        assert (await api.http.patch(path, json=change)).status_code == 200
    assert (await api.http.post(f"{path}/cancel")).status_code == 200
    told = await trail(api, subject=f"campaign:{made['id']}")
    assert [(entry["action"], entry["before"], entry["after"]) for entry in told] == [
        ("campaign.update", {"budget": None}, {"budget": "60 gpu_seconds"}),
        ("campaign.update", {"template": 1}, {"template": 2}),
        ("campaign.cancel", {"state": "draft"}, {"state": "cancelled"}),
    ]


async def test_only_who_may_see_what_concerns_every_tenant_sees_it(api: Api) -> None:
    assert (await api.http.get(AUDIT)).status_code == 403


async def test_a_listing_goes_on_behind_an_entry_and_is_of_a_time(api: Api) -> None:
    for _ in range(3):
        await api.key()
    async with in_process(api.app, await api.key("viewers", scopes=frozenset({Scope.VIEW}))) as viewer:
        params = {"tenant": api.tenant, "limit": "2"}
        first = (await viewer.get(AUDIT, params=params)).json()
        second = (await viewer.get(AUDIT, params={**params, "after": first["last_id"]})).json()
        ids = [entry["id"] for page in (first, second) for entry in page["data"]]
        assert (len(set(ids)), first["has_more"], second["has_more"]) == (4, True, False)
        assert (await viewer.get(AUDIT, params={**params, "from": "2100-01-01"})).json()["data"] == []
        no_ids = ("audit_x", "12", f"audit_{2**70}", "audit_" + "0" * 5000, "audit_" + "0" * 19 + "1" * 30)
        for name, value in (*(("after", each) for each in no_ids), ("from", "soon")):
            error = (await viewer.get(AUDIT, params={name: value})).json()["error"]
            assert error["param"] == name


class TestRefusals:
    async def test_what_an_administrator_alone_may_ask_is_told_as_refused(self, api: Api) -> None:
        narrow = await api.key(scopes=frozenset({Scope.READ}))
        async with in_process(api.app, narrow, address=OFFICE) as http:
            for _ in range(3):
                assert (await http.post("/v1/keys", json={})).status_code == 403
            assert (await http.post("/v1/videos", json={"prompt": "a mill"})).status_code == 403  # nothing of theirs
        maker = await api.key(scopes=USUAL)
        async with in_process(api.app, maker) as http:
            assert (await http.post("/v1/keys", json={"scopes": ["admin"]})).status_code == 403
        await api.services.refusals.flush()
        (told,) = await trail(api, actor=f"key:{id_of(narrow)}")
        assert (told["action"], told["outcome"], told["subject"]) == ("request.refuse", "refused", "POST /v1/keys")
        assert (told["after"]["reason"], told["after"]["count"], told["address"]) == ("missing_scope", 3, OFFICE)
        (beyond,) = await trail(api, actor=f"key:{id_of(maker)}")
        assert (beyond["after"]["reason"], beyond["tenant"]) == ("beyond_own_rights", api.tenant)

    async def test_requests_without_a_good_key_are_counted_by_whose_they_claim_to_be(self, api: Api) -> None:
        good = await api.key()
        away = await api.key(allow=(ip_network("192.0.2.0/24"),))
        before = {reason: _counted(reason) for reason in ("invalid", "malformed", "missing", "address")}
        for authorization in (f"Bearer {id_of(good)}.wrong", f"Bearer {id_of(good)}.worse", "Bearer x", None, away):
            headers = {} if authorization is None else {"authorization": authorization}
            async with in_process(api.app, address="2001:db8:1:2::7", headers=headers) as http:
                assert (await http.get("/v1/videos")).status_code in (401, 403)
        await api.services.refusals.flush()
        told = await trail(api, action="authentication.fail")
        assert {entry["address"] for entry in told} == {"2001:db8:1:2::/64"}
        counts = {(entry["subject"], entry["after"]["reason"]): entry["after"]["count"] for entry in told}
        assert counts == {
            (f"key:{id_of(good)}", "invalid"): 2, ("key", "malformed"): 1, ("key", "missing"): 1,
            (f"key:{id_of(away)}", "address"): 1,
        }  # fmt: skip
        # What is told of a tenant's key goes with the tenant.
        assert {entry["tenant"] for entry in told if entry["subject"] != "key"} == {api.tenant}
        grown = {reason: _counted(reason) - before[reason] for reason in before}
        assert grown == {"invalid": 2, "malformed": 1, "missing": 1, "address": 1}

    async def test_a_flood_of_ids_and_addresses_takes_few_entries_few_lines_and_bounded_memory(self) -> None:
        told: list[Change] = []

        async def note(change: Change) -> None:
            told.append(change)

        async def find_key(key_id: str) -> None: ...

        refusals = Refusals(fake(note=note, find_key=find_key))
        with capture_logs() as logged:
            for number in range(10_000):
                refusals.unauthenticated("invalid", ip_address(number), f"cgm_{number}", "r")
                refusals.unauthenticated("invalid", ip_address(7), "cgm_same", "r")
            assert len(refusals._counts) <= 1_001
            await refusals.flush()
        assert len(logged) == 20
        assert len(told) == 21
        counts = {change.object: (change.after or {})["count"] for change in told}
        assert counts["key:cgm_same"] == 10_000  # not lost among them
        assert sum(counts.values()) == 20_000
        assert not refusals._counts

    async def test_what_cannot_be_written_is_kept_and_does_not_grow(self) -> None:
        async def note(change: Change) -> None:
            raise StoreUnavailable("away")

        async def find_key(key_id: str) -> None: ...

        refusals = Refusals(fake(note=note, find_key=find_key))
        for around in range(3):
            for number in range(2_000):
                refusals.unauthenticated("invalid", None, f"cgm_{around}_{number}", "r")
            with pytest.raises(StoreUnavailable):
                await refusals.flush()
        assert sum(refusals._counts.values()) == 6_000
        assert len(refusals._counts) <= 1_001


def _counted(reason: str) -> float:
    return float(metrics.unauthenticated.labels(reason)._value.get())


async def test_every_job_names_the_key_that_it_was_asked_for_with(api: Api) -> None:
    other = await api.key()
    video = (await api.http.post("/v1/videos", json={"prompt": "a mill"})).json()
    task = (
        await api.http.post("/api/paas/v4/videos/generations", json={"model": "cogvideox-3", "prompt": "a mill"})
    ).json()
    async with in_process(api.app, other) as http:
        remix = (await http.post(f"/v1/videos/{video['id']}/remix", json={"prompt": "a pond"})).json()
        campaign = (await http.post("/v1/campaigns", json={"prompt": "a {thing}"})).json()
    mine = id_of(api.http.headers["authorization"].removeprefix("Bearer "))
    connection = await asyncpg.connect(api.settings.database_url)
    try:
        rows = await connection.fetch("SELECT id, made_by FROM jobs WHERE tenant = $1", api.tenant)
        of_campaign = await connection.fetchval("SELECT made_by FROM campaigns WHERE id = $1", campaign["id"])
    finally:
        await connection.close()
    made = {f"video_{row['id'].hex}": row["made_by"] for row in rows}
    assert made == {video["id"]: mine, f"video_{_digits(task['id'])}": mine, remix["id"]: id_of(other)}
    assert of_campaign == id_of(other)


def _digits(task_id: str) -> str:
    return task_id.rpartition("_")[2]


class TestAccessLog:
    async def test_a_request_is_one_line_with_the_ids_that_the_audit_log_has(self, api: Api) -> None:
        key = await api.key()
        async with in_process(api.app, key, address=OFFICE, headers={"x-request-id": "trace-2"}) as http:
            with capture_logs() as logged:
                answer = await http.get("/v1/videos?limit=5&after=")
        (line,) = [line for line in logged if line["component"] == "access"]
        assert line.pop("seconds") >= 0
        assert line == {
            "event": "request", "log_level": "info", "component": "access", "request_id": "trace-2", "key": id_of(key),
            "tenant": api.tenant, "address": OFFICE, "method": "GET", "route": "/v1/videos", "path": "/v1/videos",
            "status": answer.status_code, "bytes": len(answer.content),
        }  # fmt: skip

    async def test_no_line_holds_a_secret_and_probes_have_none(self, api: Api) -> None:
        whole = keys.issue("another deployment's master key", keys.new_id())
        with capture_logs() as logged:
            async with in_process(api.app, whole) as http:
                await http.get(f"/v1/videos?token={whole}")
                await http.get(f"/{whole}")
                await http.get("/healthz")
        lines = [line for line in logged if line["component"] == "access"]
        assert [(line["route"], line["path"], line["status"]) for line in lines] == [
            ("/v1/videos", "/v1/videos", 401),
            ("unmatched", None, 404),
        ]
        assert whole.split(".")[1] not in repr(logged)


async def things_of(api: Api) -> dict[str, str]:
    """What administrators do something to, by the names in their routes."""
    video = {"prompt": "a mill"}
    failed = (await api.http.post("/v1/videos", json=video)).json()["id"]
    await api.fail(failed)
    campaign = f"campaign_{api.tenant}"
    database = await asyncpg.connect(api.settings.database_url)
    await database.execute(
        "INSERT INTO parked (kind, subject, tenant, error, detail) VALUES ('campaign', $1, $2, 'it broke', '{}')",
        campaign, api.tenant,
    )  # fmt: skip
    await database.close()
    return {
        "tenant": f"of-{api.tenant[:9]}", "period": "day", "unit": "gpu_seconds", "key": id_of(await api.key()),
        "worker_id": f"{CLUSTER}:{WORKER.name}", "failed": failed, "subject": campaign,
        "waiting": (await api.http.post("/v1/videos", json=video)).json()["id"],
    }  # fmt: skip


def nameless(path: str) -> str:
    """A route, whatever its places are called."""
    return re.sub(r"\{\w+\}", "{}", path)


async def test_every_route_that_changes_what_administrators_guard_is_recorded(
    api: Api, subtests: pytest.Subtests
) -> None:
    """Whoever adds such a route says here what it records, and sees that it does."""
    endpoint = {"name": "ops", "url": "https://hooks.example.com/in", "event_types": ["video.completed"]}
    hook = (await api.http.post("/v1/webhook_endpoints", json=endpoint)).json()["id"]
    key = id_of(await api.key())
    operator = await api.key(scopes=frozenset(Scope))
    ids = {"key_id": key, "endpoint_id": hook, "pool": "small"} | await things_of(api)
    recorded: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {
        ("POST", "/v1/keys"): ("key.create", {}),
        ("POST", "/v1/keys/{key_id}/rotate"): ("key.rotate", {}),
        ("POST", "/v1/keys/{key_id}/revoke"): ("key.revoke", {}),
        ("POST", "/v1/webhook_endpoints"): ("webhook.create", endpoint),
        ("POST", "/v1/webhook_endpoints/{endpoint_id}"): ("webhook.update", {"name": "another"}),
        ("POST", "/v1/webhook_endpoints/{endpoint_id}/disable"): ("webhook.update", {}),
        ("POST", "/v1/webhook_endpoints/{endpoint_id}/rotate_secret"): ("webhook.rotate", {}),
        ("DELETE", "/v1/webhook_endpoints/{endpoint_id}"): ("webhook.delete", {}),
        ("POST", "/v1/webhook_secret/rotate"): ("webhook.rotate", {}),
        ("POST", "/v1/pools/{pool}/pause"): ("pool.pause", {"reason": "new driver"}),
        ("POST", "/v1/pools/{pool}/resume"): ("pool.resume", {}),
        ("POST", "/v1/queue/pause"): ("pool.pause", {"reason": "new driver"}),
        ("POST", "/v1/queue/resume"): ("pool.resume", {}),
        ("POST", "/v1/admin/pools/{pool}/pause"): ("pool.pause", {"reason": "new driver"}),
        ("POST", "/v1/admin/pools/{pool}/resume"): ("pool.resume", {}),
        ("POST", "/v1/admin/queue/pause"): ("pool.pause", {"reason": "new driver"}),
        ("POST", "/v1/admin/queue/resume"): ("pool.resume", {}),
        ("PUT", "/v1/admin/tenants/{tenant}"): ("tenant.create", {}),
        ("PATCH", "/v1/admin/tenants/{tenant}"): ("tenant.limits", {"limits": {"queued": 5}}),
        ("PUT", "/v1/admin/tenants/{tenant}/shares/{pool}"): ("tenant.share", {"running": 3}),
        ("PUT", "/v1/admin/tenants/{tenant}/budgets/{period}/{unit}"): ("tenant.budget", {"amount": 9}),
        ("DELETE", "/v1/admin/tenants/{tenant}/budgets/{period}/{unit}"): ("tenant.budget", {}),
        ("POST", "/v1/admin/keys"): ("key.create", {"tenant": ids["tenant"]}),
        ("POST", "/v1/admin/keys/{key}/rotate"): ("key.rotate", {}),
        ("POST", "/v1/admin/keys/{key}/revoke"): ("key.revoke", {}),
        ("POST", "/v1/admin/workers/{worker_id}/drain"): ("worker.drain", {"within_s": 60}),
        ("POST", "/v1/admin/workers/{worker_id}/replace"): ("worker.replace", {}),
        ("POST", "/v1/admin/workers/{worker_id}/resume"): ("worker.resume", {}),
        ("POST", "/v1/admin/jobs/{waiting}/cancel"): ("job.cancel", {}),
        ("POST", "/v1/admin/jobs/{waiting}/retry"): ("job.retry", {}),
        ("POST", "/v1/admin/dead_letters/{failed}/forget"): ("dead_letter.forget", {}),
        ("POST", "/v1/admin/dead_letters/{failed}/release"): ("dead_letter.release", {}),
        ("POST", "/v1/admin/parked/{subject}/resume"): ("parked.resume", {}),
        ("POST", "/v1/admin/tenants/{tenant}/erasure"): ("tenant.erase", {"confirm": ids["tenant"]}),
    }
    sends_only = {
        ("POST", "/v1/webhook_endpoints/{endpoint_id}/test"),
        ("POST", "/v1/webhook_deliveries/{delivery_id}/resend"),
    }
    guarded = {
        (method, nameless(route.path))
        for context in iter_route_contexts(api.app.routes)
        if isinstance(route := context.original_route, APIRoute)
        for method in (route.methods or set()) - {"GET", "HEAD"}
        if (route.openapi_extra or {}).get("security") and scope_of(route.openapi_extra) in ADMINISTRATIVE
    }
    assert guarded == {(method, nameless(path)) for method, path in recorded.keys() | sends_only}
    async with in_process(api.app, operator) as http:
        for (method, path), (action, body) in recorded.items():
            with subtests.test(f"{method} {path}"):
                answer = await http.request(method, path.format(**ids), json=None if method == "DELETE" else body)
                assert answer.status_code == 200, answer.text
                (newest, *_) = (await trail(api, actor=f"key:{id_of(operator)}"))[::-1]
                assert newest["action"] == action

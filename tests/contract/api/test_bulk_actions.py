"""`/v1/bulk-actions`: what is asked for once is done to every job that matched then, once, and to no other."""

from __future__ import annotations

from typing import Any

import asyncpg
import httpx
import pytest

from orchestrator.config.logins import Login
from orchestrator.domain.job import parse_public_id
from orchestrator.domain.rights import ROLES, Role
from orchestrator.intake.bulk import MOST_RUNNING, BulkCarrier
from orchestrator.ports.bulk import Match
from orchestrator.store import Store, bulk_steps
from orchestrator.store.bulk_steps import BulkSteps
from tests.contract.api.test_jobs import admin_of, made, row_of
from tests.support.api import Api
from tests.support.logins import acting

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def asked(http: httpx.AsyncClient, action: str, path: str = "/v1/bulk-actions", **fields: Any) -> dict[str, Any]:
    answer = await http.post(path, json={"action": action, "filter": {}, **fields})
    return dict(answer.raise_for_status().json())


async def carried(api: Api, bulk: dict[str, Any], path: str = "/v1/bulk-actions") -> dict[str, Any]:
    """As a maintainer carries it on, until it is over."""
    store: Store = acting(api.services.store, Login.MAINTAIN)
    await BulkCarrier(store, api.services.jobs).run_once()
    async with await admin_of(api) as admin:
        http = admin if "admin" in path else api.http
        told = dict((await http.get(f"{path}/{bulk['id']}")).raise_for_status().json())
    assert told["state"] == "completed"
    return told


async def states(api: Api) -> dict[str, str]:
    page = (await api.http.get("/v1/jobs", params={"limit": 100})).raise_for_status().json()
    return {job["id"]: job["state"] for job in page["data"]}


async def test_all_that_match_are_cancelled_and_what_came_later_is_left_alone(api: Api) -> None:
    done = await made(api, "scene one")
    await api.succeed(done)
    ran = await made(api, "scene two")
    await api.claim(ran)
    waiting = [await made(api, "scene three") for _ in range(3)]
    other = await made(api, "a mill")
    bulk = await asked(api.http, "cancel", filter={"text": "SCENE"})
    assert (bulk["state"], bulk["expected"], bulk["done"]) == ("running", {"count": 4, "about": False}, 0)
    late = await made(api, "scene four")
    told = await carried(api, bulk)
    assert (told["matched"], told["done"], told["skipped"], told["failed"]) == (4, 4, {}, {})
    assert await states(api) == {
        done: "succeeded", ran: "running", **dict.fromkeys(waiting, "cancelled"), other: "queued", late: "queued",
    }  # fmt: skip
    assert (await api.http.get(f"/v1/jobs/{ran}")).json()["cancel_requested"]


async def test_what_has_moved_on_by_itself_is_passed_over_and_counted(api: Api) -> None:
    first, second = await made(api), await made(api)
    bulk = await asked(api.http, "cancel", filter={"state": ["queued"]})
    await api.succeed(first)
    told = await carried(api, bulk)
    assert (told["matched"], told["done"], told["skipped"]) == (2, 1, {"succeeded": 1})
    assert await states(api) == {first: "succeeded", second: "cancelled"}


async def test_a_job_that_began_to_run_meanwhile_matched_as_it_was(api: Api) -> None:
    job = await made(api)
    runs = await asked(api.http, "cancel", filter={"state": ["running"]})
    waits = await asked(api.http, "priority", filter={"state": ["queued"]}, priority=30)
    await api.claim(job)
    told = [await carried(api, bulk) for bulk in (runs, waits)]
    assert [(each["matched"], each["done"], each["skipped"]) for each in told] == [(0, 0, {}), (1, 0, {"running": 1})]


async def test_failed_jobs_are_retried_once_each_but_for_rows_of_campaigns(api: Api) -> None:
    plain = await made(api)
    await api.fail(plain)
    row = await made(api)
    await api.fail(row)
    campaign = (await api.http.post("/v1/campaigns", json={"prompt": "a {product}"})).json()["id"]
    await run(api, "UPDATE jobs SET campaign = $1 WHERE id = $2", campaign, row.removeprefix("video_"))
    bulk = await asked(api.http, "retry", filter={"state": ["failed"], "code": "out_of_memory"})
    told = await carried(api, bulk)
    assert (told["matched"], told["done"], told["skipped"]) == (2, 1, {"row_of_campaign": 1})
    queued = (await api.http.get("/v1/jobs", params={"state": "queued"})).json()["data"]
    assert [job["video"]["retry_of"] for job in queued] == [plain]


async def test_what_cannot_be_retried_says_why_and_holds_up_no_other(api: Api) -> None:
    gone, fine = await made(api), await made(api)
    await api.fail(gone)
    await api.fail(fine)
    spec = '{"model": "gone"}'
    await run(api, "UPDATE jobs SET spec = spec || $1::jsonb WHERE id = $2", spec, gone.removeprefix("video_"))
    told = await carried(api, await asked(api.http, "retry"))
    assert (told["done"], sum(told["failed"].values())) == (1, 1)
    (example,) = told["examples"]
    assert example["job"] == gone
    assert "gone" in example["message"]


async def test_a_full_queue_makes_it_rest_where_it_is(api: Api) -> None:
    for _ in range(3):
        await api.fail(await made(api))
    await run(api, "UPDATE tenants SET queued = 1 WHERE name = $1", api.tenant)
    bulk = await asked(api.http, "retry")
    store: Store = acting(api.services.store, Login.MAINTAIN)
    await BulkCarrier(store, api.services.jobs).run_once()
    told = (await api.http.get(f"/v1/bulk-actions/{bulk['id']}")).json()
    assert (told["state"], told["matched"] < 3) == ("running", True)
    assert "at most 1 may" in told["waits_for"]
    await run(api, "UPDATE tenants SET queued = NULL WHERE name = $1", api.tenant)
    await run(api, "UPDATE bulk_actions SET leased_until = NULL WHERE id = $1", bulk["id"])
    told = await carried(api, bulk)
    assert (told["done"], told["matched"], told["waits_for"]) == (3, 3, None)
    assert sorted((await states(api)).values()) == ["failed"] * 3 + ["queued"] * 3


async def test_priorities_change_with_their_lanes_and_within_the_tenants_limit(api: Api) -> None:
    job = await made(api)
    bulk = await asked(api.http, "priority", priority=33)
    assert (await carried(api, bulk))["done"] == 1
    assert (await api.http.get(f"/v1/jobs/{job}")).json()["priority"] == 33
    assert (await api.claim(job)).priority == 33  # in a lane that the claim knows
    answer = await api.http.post("/v1/bulk-actions", json={"action": "priority", "filter": {}, "priority": 0})
    assert (answer.status_code, answer.json()["error"]["param"]) == (403, "priority")


async def test_a_dry_run_begins_nothing(api: Api) -> None:
    await made(api)
    told = await asked(api.http, "cancel", dry_run=True)
    assert told == {
        "object": "bulk_action.preview", "action": "cancel", "expected": {"count": 1, "about": False},
    }  # fmt: skip
    assert (await api.http.get("/v1/bulk-actions")).json()["data"] == []


async def test_jobs_until_the_last_second_that_there_is_are_counted(api: Api) -> None:
    await made(api)
    told = await asked(api.http, "cancel", dry_run=True, filter={"created_to": "9999-12-31T23:59:59Z"})
    assert told["expected"]["count"] == 1


async def test_jobs_that_are_swept_meanwhile_hide_no_others(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [await made(api) for _ in range(7)]
    bulk = await asked(api.http, "cancel")
    monkeypatch.setattr(bulk_steps, "WINDOW", 3)
    matching, swept = BulkSteps._matching, iter(jobs[:2])

    async def then_sweep(self: BulkSteps, *args: Any) -> list[Match]:
        found = await matching(self, *args)
        for job in swept:
            await run(api, "DELETE FROM jobs WHERE id = $1", parse_public_id(job))
        return found

    monkeypatch.setattr(BulkSteps, "_matching", then_sweep)
    await carried(api, bulk)
    assert await states(api) == dict.fromkeys(jobs[2:], "cancelled")


async def test_one_that_is_called_off_goes_no_further_and_a_repeated_one_is_the_first(api: Api) -> None:
    job = await made(api)
    keyed = {"headers": {"idempotency-key": "all-of-them"}}
    body: dict[str, Any] = {"action": "cancel", "filter": {}}
    bulk, again = [(await api.http.post("/v1/bulk-actions", json=body, **keyed)).json() for _ in range(2)]
    assert again["id"] == bulk["id"]
    other = await api.http.post("/v1/bulk-actions", json={**body, "action": "retry"}, **keyed)
    assert other.json()["error"]["code"] == "idempotency_key_reused"
    for _ in range(2):
        assert (await api.http.post(f"/v1/bulk-actions/{bulk['id']}/cancel")).json()["state"] == "cancelled"
    store: Store = acting(api.services.store, Login.MAINTAIN)
    await BulkCarrier(store, api.services.jobs).run_once()
    assert await states(api) == {job: "queued"}


async def test_a_tenant_has_only_so_many_at_a_time(api: Api) -> None:
    for _ in range(MOST_RUNNING):
        await asked(api.http, "cancel")
    answer = await api.http.post("/v1/bulk-actions", json={"action": "cancel", "filter": {}})
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "limit_bulk_actions")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"action": "delete"}, "action"),
        ({"action": "priority"}, "priority"),
        ({"action": "cancel", "priority": 3}, "priority"),
        ({"action": "priority", "priority": 101}, "priority"),
        ({"action": "cancel", "filter": {"state": ["failed"]}}, "filter.state"),
        ({"action": "cancel", "filter": {"prompt": "sea"}}, "filter.prompt"),
        ({"action": "cancel", "filter": None}, "filter"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_its_field(api: Api, fields: dict[str, Any], param: str) -> None:
    answer = await api.http.post("/v1/bulk-actions", json={"filter": {}, **fields})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_an_administrators_reaches_other_tenants_and_is_recorded(api: Api) -> None:
    job = await made(api)
    path = "/v1/admin/bulk-actions"
    async with await admin_of(api) as admin:
        bulk = await asked(admin, "cancel", path, tenant=api.tenant)
        told = await carried(api, bulk, path)
        assert (told["tenant"], told["done"]) == (api.tenant, 1)
        refused = await admin.post(path, json={"action": "cancel", "filter": {"text": "sea"}})
        assert refused.json()["error"]["param"] == "filter.text"
        refused = await admin.post(path, json={"action": "cancel", "filter": {}, "tenant": "a\x00b"})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "tenant")
        entries = (await admin.get("/v1/admin/audit", params={"subject": f"bulk_action:{bulk['id']}"})).json()["data"]
        assert [entry["action"] for entry in entries] == ["bulk_action.complete", "bulk_action.create"]
        assert entries[0]["after"]["done"] == 1
        assert entries[0]["actor"] == entries[1]["actor"] != "nobody"
        assert bulk["id"] not in (await api.http.get("/v1/bulk-actions")).text
        assert (await api.http.get(f"/v1/bulk-actions/{bulk['id']}")).status_code == 404
    assert await states(api) == {job: "cancelled"}


async def test_a_viewer_looks_and_begins_none(api: Api) -> None:
    async with await api.client("staff") as http:
        http.headers["authorization"] = f"Bearer {await api.key('staff', scopes=ROLES[Role.VIEWER])}"
        assert (await http.get("/v1/admin/bulk-actions")).status_code == 200
        answer = await http.post("/v1/admin/bulk-actions", json={"action": "cancel", "filter": {}})
        assert answer.status_code == 403


async def test_a_cancelled_row_of_a_campaign_is_told_to_nobody_but_its_campaign(api: Api) -> None:
    row = await made(api)
    campaign = (await api.http.post("/v1/campaigns", json={"prompt": "a {product}"})).json()["id"]
    await row_of(api, campaign, row)
    await run(api, "UPDATE jobs SET quiet = true WHERE id = $1", row.removeprefix("video_"))
    plain = await made(api)
    assert (await carried(api, await asked(api.http, "cancel")))["done"] == 2
    told = await run(api, "SELECT job_id FROM outbox WHERE tenant = $1 AND event = 'job.cancelled'", api.tenant)
    assert [f"video_{each['job_id'].hex}" for each in told] == [plain]


async def test_the_end_of_a_cancelled_job_is_told_in_the_trace_that_it_was_asked_for_in(api: Api) -> None:
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
    api.http.headers["traceparent"] = parent
    try:
        await made(api)
    finally:
        del api.http.headers["traceparent"]
    await carried(api, await asked(api.http, "cancel"))
    told = await run(api, "SELECT trace FROM outbox WHERE tenant = $1 AND event = 'job.cancelled'", api.tenant)
    assert [each["trace"] for each in told] == [parent]


async def run(api: Api, sql: str, *values: object) -> list[Any]:
    connection = await asyncpg.connect(api.settings.database_url)
    try:
        return list(await connection.fetch(sql, *values))
    finally:
        await connection.close()

"""The overview by HTTP: a tenant's own and everybody's, its history, its alerts, and what each worker does now."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from orchestrator.config import Settings
from orchestrator.domain.job import WorkerRef, parse_public_id
from orchestrator.domain.loading import LoadState, WorkerLoad
from orchestrator.domain.outlooks import LaneOutlook
from orchestrator.domain.protocol import Stage
from orchestrator.domain.rights import ROLES, Role
from orchestrator.ports import Progress
from tests.support.api import CLUSTER, POOL, WORKER, Api, api_settings, in_process, serving
from tests.support.postgres import Server
from tests.support.s3 import S3Server

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def api_app(
    postgres_server: Server, migrated_template: str, s3_server: S3Server
) -> AsyncIterator[tuple[FastAPI, Settings]]:
    """One for each test: what everybody has together is counted."""
    database = postgres_server.new_database(migrated_template)
    settings = api_settings(postgres_server.url(database), s3_server.new_bucket())
    async with serving(settings) as app:
        yield app, settings
    postgres_server.drop_database(database)


@pytest_asyncio.fixture(loop_scope="module")
async def admin(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process(api.app, await api.key("platform", scopes=ROLES[Role.VIEWER])) as http:
        yield http


async def made(http: httpx.AsyncClient, count: int = 1) -> list[str]:
    answers = [await http.post("/v1/videos", json={"prompt": "a lighthouse"}) for _ in range(count)]
    return [str(answer.raise_for_status().json()["id"]) for answer in answers]


async def told(http: httpx.AsyncClient, path: str, **query: Any) -> Any:
    return (await http.get(path, params=query)).raise_for_status().json()


async def sampled(api: Api) -> None:
    """A sample is taken, as if the last one had been two minutes ago."""
    connection = await asyncpg.connect(api.settings.database_url)
    await connection.execute(
        "UPDATE flow_clock SET until = until - interval '2 minutes';"
        "UPDATE flow_samples SET at = at - interval '2 minutes';"
        "UPDATE jobs SET finished_at = finished_at - interval '1 minute' WHERE finished_at IS NOT NULL"
    )
    await connection.close()
    assert await api.maintaining.sample_flow()


async def test_a_tenant_sees_its_own_and_an_administrator_everybodys(api: Api, admin: httpx.AsyncClient) -> None:
    async with await api.client("birch") as birch:
        await made(birch, 3)
        mine = await made(api.http, 2)
        await api.maintaining.sample_flow()
        await api.claim(mine[0])  # which claims the others', too, until it is this one's turn
        await sampled(api)
        own = await told(api.http, "/v1/overview")
        theirs = await told(birch, "/v1/overview")
        whole = await told(admin, "/v1/admin/overview")
    assert own["running"] + own["waiting"] == 2
    assert theirs["running"] + theirs["waiting"] == 3
    assert own["tenants"] == theirs["tenants"] == []
    assert {pool["forecast"] for pool in own["pools"]} == {None}
    assert (whole["running"] + whole["waiting"], whole["more_tenants"]) == (5, 0)
    tenants = {each["tenant"]: each["running"] + each["waiting"] for each in whole["tenants"]}
    assert tenants == {api.tenant: 2, "birch": 3}
    assert "birch" not in str(own)
    assert [each["priority"] for each in whole["priorities"]] == [each["priority"] for each in own["priorities"]]
    assert whole["pools"][0]["oldest_wait_s"] >= 0
    for path in ("/v1/admin/overview", "/v1/admin/overview/history", "/v1/admin/quarantines"):
        assert (await api.http.get(path)).status_code == 403


async def test_what_ended_is_told_by_pool_priority_and_tenant(api: Api, admin: httpx.AsyncClient) -> None:
    first, second = await made(api.http, 2)
    await api.maintaining.sample_flow()
    await api.succeed(first)
    await api.fail(second)
    await sampled(api)
    ended = {"succeeded": 1, "failed": 1, "cancelled": 0}
    whole, own = await told(admin, "/v1/admin/overview"), await told(api.http, "/v1/overview")
    for each in (whole, own, whole["pools"][0], whole["priorities"][0], whole["tenants"][0]):
        assert (each["ended_hour"], each["ended_day"]) == (ended, ended)
    history = await told(api.http, "/v1/overview/history")
    assert history["resolution"] == 60
    assert sum(point["succeeded"] + point["failed"] for point in history["data"]) == 2
    assert {point["busy"] for point in history["data"]} == {None}
    async with await api.client("stranger") as stranger:
        assert (await told(stranger, "/v1/overview/history"))["data"] == []
        assert (await told(stranger, "/v1/overview"))["ended_day"]["succeeded"] == 0
    for query in ({}, {"pool": POOL}, {"tenant": api.tenant}):
        assert (await told(admin, "/v1/admin/overview/history", **query))["data"][-1]["succeeded"] == 1


@pytest.mark.parametrize(
    ("query", "status", "param"),
    [
        ({"from": "soon"}, 400, "from"),
        ({"resolution": "7"}, 400, "resolution"),
        ({"from": "2020-01-01", "to": "2026-01-01"}, 400, "from"),
        ({"pool": "nowhere"}, 404, "pool"),
        ({"pool": POOL, "tenant": "acme"}, 400, "tenant"),
    ],
)
async def test_a_history_that_cannot_be_told_is_refused_by_field(
    api: Api, admin: httpx.AsyncClient, query: dict[str, str], status: int, param: str
) -> None:
    answer = await admin.get("/v1/admin/overview/history", params=query)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


async def test_forecasts_pauses_and_alerts_are_told(api: Api, admin: httpx.AsyncClient) -> None:
    await made(api.http)
    now = datetime.now(UTC)
    marks = {"ahead_s": [0, 9, 90], "low_s": [5, 9, 90], "likely_s": [10, 9, 90], "high_s": [15, 9, 90]}
    lane = LaneOutlook(pool=POOL, tenant=api.tenant, priority=20, made_at=now, stretch=[1, 1, 1], **marks)
    connection = await asyncpg.connect(api.settings.database_url)
    await connection.execute(
        "INSERT INTO lane_forecasts (pool, tenant, priority, made_at, ahead_s, low_s, likely_s, high_s, stretch) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        lane.pool, lane.tenant, lane.priority, lane.made_at, *marks.values(), lane.stretch,
    )  # fmt: skip
    await connection.close()
    load = WorkerLoad(worker="small-0", pool=POOL, model="tiny-2b", state=LoadState.BROKEN, reason="no memory")
    await api.dispatching.record_loads(CLUSTER, [load])
    await api.services.store.pause(POOL, reason="it moves", by="tests")
    whole = await told(admin, "/v1/admin/overview")
    of_pool = [alert["name"] for alert in whole["alerts"] if alert["subject"] == POOL]
    assert of_pool == ["NoReadyWorker", "WorkerBroken", "PoolPaused"]
    (pool,) = whole["pools"]
    assert "it moves" in pool["paused"]
    assert 8 <= pool["next_start_at"] - now.timestamp() <= 11
    own = await told(api.http, "/v1/overview")
    assert (own["alerts"], "it moves" in own["pools"][0]["paused"]) == ([], True)


async def test_a_worker_tells_what_it_holds_and_what_it_does(api: Api, admin: httpx.AsyncClient) -> None:
    (video,) = await made(api.http)
    claim = await api.claim(video)
    progress = Progress(job_id=claim.job_id, token=claim.token, stage=Stage.PREEMPTED.value, step=1)
    await api.dispatching.record_progress([progress])
    load = WorkerLoad(worker=WORKER.name, pool=POOL, model="tiny-2b", state=LoadState.LOADED, adapters=("noir", "warm"))
    await api.dispatching.record_loads(CLUSTER, [load])
    (worker,) = (await told(admin, "/v1/admin/workers"))["data"]
    assert (worker["adapters"], worker["running"], worker["detail"]) == (["noir", "warm"], 1, "")
    (render,) = worker["renders"]
    assert (render["job"], render["tenant"], render["stage"], render["step"]) == (video, api.tenant, "preempted", 1)
    assert render["steps"] == claim.spec.num_inference_steps


async def test_a_quarantine_is_kept_once_with_what_failed_there(api: Api, admin: httpx.AsyncClient) -> None:
    failed = await made(api.http, 2)
    for each in failed:
        await api.fail(each)
    jobs = [job for job in map(parse_public_id, failed) if job is not None]
    for _ in range(2):
        await api.dispatching.record_quarantine(CLUSTER, WORKER, POOL, jobs)
    await api.dispatching.record_quarantine(CLUSTER, WorkerRef(name="small-1", incarnation="a"), "other", jobs[:1])
    (quarantine,) = (await told(admin, "/v1/admin/quarantines", pool=POOL))["data"]
    assert (quarantine["worker"], quarantine["incarnation"]) == (f"{CLUSTER}:{WORKER.name}", WORKER.incarnation)
    assert [(job["job"], job["tenant"], job["code"]) for job in quarantine["jobs"]] == [
        (each, api.tenant, "out_of_memory") for each in failed
    ]
    assert len((await told(admin, "/v1/admin/quarantines"))["data"]) == 2

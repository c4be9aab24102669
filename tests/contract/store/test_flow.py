"""Samples of the queue: one a minute whoever asks, in which no job is lost or counted twice, bounded as they age."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from sqlalchemy.dialects.postgresql import asyncpg as dialect

from orchestrator.domain.worker_time import Spell, Spent
from orchestrator.policy.sampling import LAG_S, MOST_TENANTS
from orchestrator.ports.overview import Ends, FlowPoint, FlowSubject
from orchestrator.store import Store, flow
from orchestrator.store.connecting import SESSION
from tests.contract.store.test_fleet_plans import WAITERS
from tests.support.jobs import CLUSTER, POOL, broke, ending, new_job, success, worker
from tests.support.postgres import Clock

START = datetime(2030, 1, 1, tzinfo=UTC)


async def history(store: Store, subject: FlowSubject = FlowSubject.POOL, name: str | None = POOL) -> list[FlowPoint]:
    until = START + timedelta(days=400)
    return await store.flow(subject, name, since=START - timedelta(days=1), until=until, step_s=60)


async def test_accepted_is_what_waits_runs_and_has_ended_whenever_that_was(store: Store, clock: Clock) -> None:
    await store.beat(CLUSTER, {worker(): POOL})
    await store.submit(new_job())
    assert await store.sample_flow()  # what was there before the first sample came at no known time
    for n in range(3):
        await store.submit(new_job("birch" if n else "acme"))
    await clock.advance(60)
    (claim,) = await store.claim(POOL, CLUSTER, [worker()])
    await store.settle([success(claim)])  # within the lag: its end is the next sample's
    assert await store.sample_flow()
    await clock.advance(60)
    (claim,) = await store.claim(POOL, CLUSTER, [worker()])
    await clock.advance(LAG_S + 1)
    await store.settle([ending(claim, broke(retryable=False))])
    await clock.advance(60)
    assert await store.sample_flow()
    points = await history(store)
    assert [(point.accepted, point.waiting, point.running) for point in points] == [(0, 1, 0), (3, 3, 0), (0, 2, 0)]
    assert [point.ended for point in points] == [Ends(), Ends(), Ends(succeeded=1, failed=1)]
    of_birch = await history(store, FlowSubject.TENANT, "birch")
    assert sum(point.accepted for point in of_birch) == 2
    assert (await store.ends_since(FlowSubject.PRIORITY, None, hours=1, most=9)) == {"0": Ends(succeeded=1, failed=1)}
    assert sum(point.accepted for point in await history(store, FlowSubject.TENANT, None)) == 3


async def test_one_of_all_who_ask_samples_a_minute(store: Store, clock: Clock, database: asyncpg.Connection) -> None:
    await store.submit(new_job())
    assert sorted(await asyncio.gather(*(store.sample_flow() for _ in range(4)))) == [False, False, False, True]
    for _ in range(3):
        await clock.advance(60)
        await store.submit(new_job())
        assert sum(await asyncio.gather(*(store.sample_flow() for _ in range(4)))) == 1
        assert not await store.sample_flow()
    assert [point.accepted for point in await history(store)] == [0, 1, 1, 1]
    assert await database.fetchval("SELECT count(*) FROM flow_clock") == 1


async def test_a_pool_that_empties_says_so_once(store: Store, clock: Clock, database: asyncpg.Connection) -> None:
    job = await store.submit(new_job())
    await store.sample_flow()
    await store.request_cancel(job.id, "acme")
    for _ in range(4):
        await clock.advance(60)
        await store.sample_flow()
    points = await history(store)
    assert [(point.waiting, point.ended.cancelled) for point in points] == [(1, 0), (0, 1)]


async def test_how_busy_gpus_were_is_what_their_ledger_gained(store: Store, clock: Clock) -> None:
    await store.submit(new_job())
    await store.record_worker_time([Spent(pool=POOL, spell=Spell.BUSY, seconds=500.0)])
    await store.sample_flow()
    spells = ((Spell.BUSY, 45.0), (Spell.IDLE, 10.0), (Spell.LOADING, 5.0))
    for _ in range(2):
        await clock.advance(3600)  # into the next hour's rows
        await store.record_worker_time([Spent(pool=POOL, spell=spell, seconds=seconds) for spell, seconds in spells])
        await store.sample_flow()
    points = await history(store)
    assert [(point.busy_s, point.worker_s) for point in points] == [(None, None), (45.0, 60.0), (45.0, 60.0)]


async def test_a_thousand_tenants_make_rows_of_the_largest_alone(
    store: Store, clock: Clock, database: asyncpg.Connection
) -> None:
    job = await store.submit(new_job("t"))
    await database.execute(
        "INSERT INTO jobs (id, tenant, pool, priority, state, ready, cost, max_attempts, spec, request) "
        "SELECT gen_random_uuid(), 't' || n % 1000, pool, priority, 'queued', true, cost, 3, spec, request "
        "FROM jobs, generate_series(1, 1010) AS n WHERE id = $1",
        job.id,
    )
    for _ in range(2):
        await store.sample_flow()
        await clock.advance(60)
    rows = {row["subject"]: row["n"] for row in await database.fetch(_ROWS_PER_SUBJECT)}
    assert rows == {"pool": 2, "priority": 2, "tenant": 2 * MOST_TENANTS}
    # Those with two jobs are among them; and the pool counts them all.
    assert len(await history(store, FlowSubject.TENANT, "t10")) == 2
    assert [point.waiting for point in await history(store)] == [1011, 1011]


_ROWS_PER_SUBJECT = "SELECT subject, count(*) AS n FROM flow_samples GROUP BY subject"


async def test_what_ages_is_merged_without_losing_anything_and_forgotten_at_last(
    store: Store, clock: Clock, database: asyncpg.Connection
) -> None:
    await database.execute(
        """
        INSERT INTO flow_samples (subject, name, at, accepted, waiting, running, ending, succeeded, failed, cancelled)
        SELECT 'pool', 'tiny', cogmill_now() - make_interval(mins => n), 2, n, 1, 0, 1, 0, 1
        FROM generate_series(0, 60 * 50) AS n;
        INSERT INTO gpu_samples (pool, at, busy_s, worker_s)
        SELECT 'tiny', cogmill_now() - make_interval(mins => n), 30, 60 FROM generate_series(0, 60 * 50) AS n;
        """
    )

    whole = 60 * 50 + 1
    since = START - timedelta(days=3)
    assert await store.thin_samples() > 0
    points = await store.flow(FlowSubject.POOL, POOL, since=since, until=START + timedelta(days=1), step_s=60)
    assert sum(point.accepted for point in points) == 2 * whole
    assert sum(point.ended.all for point in points) == 2 * whole
    assert sum(point.busy_s or 0.0 for point in points) == 30.0 * whole
    # The last of each ten minutes says what waited.
    assert (points[0].at.minute % 10, points[0].waiting) == (0, 60 * 50 - 9)
    assert points[1].waiting == 60 * 50 - 19
    assert len(points) < 60 * 27 + 6 * 24
    assert await store.thin_samples() == 0  # nothing is merged twice
    await clock.advance(9 * 86_400)
    await store.thin_samples()
    points = await store.flow(FlowSubject.POOL, POOL, since=since, until=START + timedelta(days=1), step_s=60)
    assert {point.at.minute for point in points} == {0}
    assert sum(point.accepted for point in points) == 2 * whole
    await clock.advance(90 * 86_400)
    await store.thin_samples()
    assert await database.fetchval("SELECT count(*) FROM flow_samples") == 0
    assert await database.fetchval("SELECT count(*) FROM gpu_samples") == 0


@pytest.mark.parametrize("analysed", [False, True])
async def test_a_sample_counts_what_waits_by_indexes_alone(
    store: Store, clock: Clock, database: asyncpg.Connection, database_url: str, analysed: bool
) -> None:
    await store.submit(new_job())
    await database.execute(WAITERS)
    await database.execute("VACUUM ANALYZE jobs" if analysed else "VACUUM jobs")
    assert await store.sample_flow()
    compiled = flow._SAMPLE.compile(dialect=dialect.dialect())
    given = {"since": "cogmill_now()", "until": "cogmill_now()", "first": "false", "most": "200"}
    session = await asyncpg.connect(database_url, server_settings=SESSION)
    await session.execute(f"PREPARE statement AS {compiled}")
    arguments = ", ".join(given[name] for name in compiled.positiontup or [])
    (told,) = json.loads(await session.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE statement({arguments})"))
    await session.close()
    counts = [node for node in nodes(told["Plan"]) if node.get("Relation Name") == "jobs" and node["Actual Rows"] > 100]
    assert len(counts) == 2  # of the pools, and of the tenants
    for node in counts:
        assert (node["Node Type"], node["Heap Fetches"]) == ("Index Only Scan", 0), node


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)

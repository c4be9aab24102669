"""What a fleet has to do is read from what waits and runs: what has ended costs nothing, what waits no row of it."""

from __future__ import annotations

import json
from typing import Any

import asyncpg
import pytest
from sqlalchemy.dialects.postgresql import asyncpg as dialect

from orchestrator.store import fleet
from orchestrator.store.connecting import SESSION

LIVE, ENDED = 300, 30_000
SCENE = f"""
    INSERT INTO jobs (id, tenant, pool, priority, state, ready, cost, max_attempts, spec, request)
    SELECT gen_random_uuid(), 't1', 'small', 20, 'queued', true, 2, 3, '{{}}', '{{}}' FROM generate_series(1, {LIVE});
    INSERT INTO campaigns (id, kind, tenant, state, ask, templates, priority, rows, estimate)
    SELECT 'campaign_' || n, 'campaign', 't1', 'running', '{{}}', '[]', 20, 1000,
           '[{{"pool": "small", "model": "m", "rows": 1000, "gpu_seconds": 1000}}]'
    FROM generate_series(1, 20) AS n;
"""
ENDINGS = f"""
    INSERT INTO jobs (id, tenant, pool, priority, state, ready, cost, max_attempts, spec, request, finished_at, result,
                      token, cluster, worker, incarnation, claimed_at, claims)
    SELECT gen_random_uuid(), 't1', 'small', 20, 'succeeded', false, 2, 3, '{{}}', '{{}}', now(), '{{}}',
           gen_random_uuid(), 'default', 'small-0', 'first', now(), 1
    FROM generate_series(1, {ENDED});
    INSERT INTO campaigns (id, kind, tenant, state, ask, templates, priority, rows, ended_at, estimate)
    SELECT 'ended_' || n, 'campaign', 't1', 'completed', '{{}}', '[]', 20, 1000, now(), '[]'
    FROM generate_series(1, 2000) AS n;
"""

# As wide as a job's row is.
WAITERS = f"""
    INSERT INTO jobs (id, tenant, pool, priority, state, ready, cost, max_attempts, spec, request)
    SELECT gen_random_uuid(), 't' || n % 10, 'small', 20, 'queued', true, 2, 3,
           jsonb_build_object('prompt', (SELECT string_agg(md5(n::text || i), '') FROM generate_series(1, 30) AS i)),
           '{{}}'
    FROM generate_series(1, {ENDED}) AS n;
"""
ROWS = "SELECT pg_relation_size('jobs') / current_setting('block_size')::int"
INDEX = "SELECT pg_relation_size('jobs_ready') / current_setting('block_size')::int"


async def read(database_url: str, label: str) -> tuple[int, str]:
    """How many pages a statement touches, and its plan, as the store's own sessions make it."""
    compiled = getattr(fleet, label).compile(dialect=dialect.dialect())
    given = ["'{small}'" if name == "pools" else "10" for name in compiled.positiontup or []]
    session = await asyncpg.connect(database_url, server_settings=SESSION)
    await session.execute(f"PREPARE statement AS {compiled}")
    explained = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE statement({', '.join(given)})"
    await session.fetchval(explained)  # so that what is read once for ever is in memory
    (told,) = json.loads(await session.fetchval(explained))
    await session.close()
    plan: dict[str, Any] = told["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"], json.dumps(plan, indent=1)


@pytest.mark.parametrize("analysed", [False, True])
async def test_what_has_ended_costs_the_demand_nothing(
    database_url: str, database: asyncpg.Connection, analysed: bool
) -> None:
    await database.execute(SCENE)
    await database.execute("VACUUM ANALYZE")
    before = {label: await read(database_url, label) for label in ("_JOBS", "_ROWS")}
    await database.execute(ENDINGS)
    if analysed:
        await database.execute("VACUUM ANALYZE")
    whole = await database.fetchval("SELECT pg_relation_size('jobs') / current_setting('block_size')::int")
    # An index is asked once for each of what is alive.
    most = 2 * LIVE
    assert whole > 2 * most
    for label, (pages, _) in before.items():
        now, plan = await read(database_url, label)
        assert now <= most, f"{label}: {pages} pages before, {now} after\n{plan}"


async def test_what_waits_is_counted_by_its_index_and_read_by_the_first_of_each_lane(
    database_url: str, database: asyncpg.Connection
) -> None:
    await database.execute(SCENE)
    await database.execute(
        """
        UPDATE campaigns SET deadline = now() + interval '1 hour' WHERE id = 'campaign_1';
        UPDATE jobs SET campaign = 'campaign_1' WHERE id IN (SELECT id FROM jobs LIMIT 100);
        INSERT INTO campaign_jobs (campaign, place, pass, ordinal, version, job_id, reserved, day)
        SELECT c.number, row_number() OVER (), 1, 1, 1, j.id, 1, '2026-01-01'
        FROM jobs AS j JOIN campaigns AS c ON c.id = j.campaign;
        """
    )
    await database.execute("VACUUM ANALYZE")
    before = {label: await read(database_url, label) for label in ("_JOBS", "_WAITING")}
    index_before = await database.fetchval(INDEX)
    await database.execute(WAITERS)
    await database.execute("VACUUM ANALYZE")
    rows, index = await database.fetchval(ROWS), await database.fetchval(INDEX) - index_before
    # Of each new lane its way down the index, and the first fifty rows.
    most = index + 10 * 60
    assert rows > 4 * most
    for label, (pages, _) in before.items():
        now, plan = await read(database_url, label)
        assert now - pages <= most, f"{label}: {pages} pages before, {now} after\n{plan}"

"""The migrations build what `store/tables` says, once, from the package itself; the queue's plans stay on indexes."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import TextClause
from sqlalchemy.dialects.postgresql import asyncpg as dialect
from sqlalchemy.ext.asyncio import create_async_engine

from orchestrator.domain.errors import StoreUnavailable
from orchestrator.store import Store, admission, claim, jobs, migrate, schema_version, settle, shares, turns, workers
from orchestrator.store.connecting import SESSION
from orchestrator.store.tables import metadata
from tests.support.jobs import CLUSTER, POOL, new_job
from tests.support.jobs import workers as some_workers
from tests.support.postgres import Server, sqlalchemy_url

SHAPE = """
    SELECT c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
           || CASE WHEN a.attnotnull THEN ' not null ' ELSE ' ' END || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
    FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
    LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname <> 'alembic_version'
    UNION ALL
    SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace AND conrelid <> 'alembic_version'::regclass
    UNION ALL
    SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'
    UNION ALL
    SELECT relname || ' ' || array_to_string(reloptions, ',') FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND reloptions IS NOT NULL
    ORDER BY 1
"""


def test_migrating_twice_and_at_once_ends_at_the_newest_schema(empty_database_url: str) -> None:
    assert schema_version(empty_database_url)[0] is None
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(migrate, [empty_database_url] * 3))
    migrate(empty_database_url)
    current, head = schema_version(empty_database_url)
    assert current == head


async def test_the_migrations_build_exactly_what_the_tables_say(
    postgres_server: Server, empty_database_url: str, database: asyncpg.Connection
) -> None:
    engine = create_async_engine(sqlalchemy_url(empty_database_url))
    other = await asyncpg.connect(empty_database_url)
    await other.execute("CREATE FUNCTION cogmill_now() RETURNS timestamptz LANGUAGE sql STABLE RETURN now()")
    await other.execute("CREATE TABLE alembic_version ()")
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    await engine.dispose()
    declared = [row[0] for row in await other.fetch(SHAPE)]
    await other.close()
    assert [row[0] for row in await database.fetch(SHAPE)] == declared


def test_the_migrations_are_found_from_anywhere(
    empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    migrate(empty_database_url)


async def test_a_database_without_the_schema_is_unavailable_not_a_crash(empty_database_url: str) -> None:
    async with Store.open(empty_database_url) as store:
        with pytest.raises(StoreUnavailable, match="jobs"):
            await store.queue_depth()
        with pytest.raises(StoreUnavailable):
            await store.submit(new_job())


def _compiled(statement: TextClause) -> tuple[str, list[str]]:
    compiled = statement.compile(dialect=dialect.dialect())
    return str(compiled), list(compiled.positiontup or [])


@pytest.mark.parametrize("rows", ["never analysed", "large"])
async def test_no_statement_of_the_queue_scans_the_jobs(
    store: Store, database_url: str, database: asyncpg.Connection, rows: str
) -> None:
    await store.submit(new_job())
    if rows == "large":
        await database.execute(
            "INSERT INTO jobs (id, tenant, pool, priority, state, ready, cost, max_attempts, spec, request) "
            "SELECT gen_random_uuid(), 'tenant' || n % 50, pool, 0, 'queued', true, 90, 3, spec, request "
            "FROM jobs, generate_series(1, 20000) AS n"
        )
        await database.execute("INSERT INTO lanes SELECT DISTINCT pool, 0, tenant, 1 FROM jobs ON CONFLICT DO NOTHING")
        await database.execute("ANALYZE")
        await store.claim(POOL, CLUSTER, some_workers(32))
    session = await asyncpg.connect(database_url, server_settings=SESSION)
    arguments = {
        **{"pool": "'tiny'", "cluster": "'here'", "tenant": "'acme'", "workers": "'{w0}'", "incarnations": "'{first}'"},
        **{"n": "32", "batch": "'[]'", "chunk": "100", "id": "gen_random_uuid()", "tombstone": "false"},
        **{"ids": "'{}'", "tokens": "'{}'", "stages": "'{}'", "steps": "'{}'", "previews": "'{}'"},
        **{"checkpoints": "'{}'", "incidents": "'{}'", "passed": "'{}'", "more_urgent_than": "32768"},
        **{"tenants": "'{acme}'", "keys": "'{}'", "running": "3", "most": "3", "queued": "9", "gpu_seconds": "9"},
        **{"most_ahead": "1000", "number": "1", "shapes": "'{NULL}'", "adapters": "'{[]}'", "warm": "true"},
    }
    for statement in (
        *(claim.CLAIM, claim.CLAIM_SHARED, settle._SETTLE, settle._PROGRESS, workers._WAKE, workers._RUNNING),
        *(
            shares._STANDINGS,
            turns._OF_JOB,
            turns._OF_CAMPAIGN,
            jobs._CANCEL,
            admission._INSERT_UNBOUNDED,
            admission._INSERT_ALL,
            admission._EARLIER,
            admission._STANDING,
        ),
    ):
        sql, names = _compiled(statement)
        await session.execute(f"PREPARE statement AS {sql}")
        given = ", ".join(arguments[name] for name in names)
        plan = "\n".join(row[0] for row in await session.fetch(f"EXPLAIN EXECUTE statement({given})"))
        await session.execute("DEALLOCATE statement")
        assert not re.search("Seq Scan on (jobs|usage|tenants)", plan), plan
        if statement is admission._STANDING:
            assert "jobs_live" in plan, plan
        if statement in (settle._SETTLE, settle._PROGRESS, jobs._CANCEL):
            assert "jobs_pkey" in plan or "jobs_listing" in plan, plan
            assert "jobs_running" not in plan, plan  # one job each: not all that run
    body = await session.fetchval("SELECT prosrc FROM pg_proc WHERE proname = 'cogmill_running'")
    counts = body[body.index("(SELECT") + 1 : body.rindex(");")].replace("= of", "= 'acme'").replace("here", "'tiny'")
    plan = "\n".join(row[0] for row in await session.fetch(f"EXPLAIN {counts}"))
    assert "jobs_live" in plan, plan
    await asyncio.wait_for(session.close(), 5)

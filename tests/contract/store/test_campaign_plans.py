"""Statements about campaigns and their rows stay on indexes, and read no more rows than they are about."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import asyncpg
import pytest
from sqlalchemy import TextClause
from sqlalchemy.dialects.postgresql import asyncpg as dialect

from orchestrator.store import (
    campaign_rows,
    campaign_search,
    campaigns,
    changes,
    fleet,
    forecasts,
    review_sheets,
    rivals,
    row_ends,
    spending,
    window,
)
from orchestrator.store import quotas as held
from orchestrator.store.connecting import SESSION

ROWS, JOBS = 20_000, 1_000
# A large campaign among small ones, with a window of jobs. Some rows have ended, few of them badly.
SCENE = f"""
    INSERT INTO campaigns (id, kind, tenant, state, ask, templates, priority, rows, idempotency_key, request_hash)
    SELECT 'campaign_' || n, 'campaign', 't' || n % 9, 'running', '{{}}', '[]', 20, {ROWS}, n, n
    FROM generate_series(1, 2000) AS n;
    INSERT INTO campaign_rows (campaign, place, line, custom_id, body, outcome, result)
    SELECT 1, n, n, 'clip-' || n, '{{"vars": {{}}, "params": {{}}}}',
           CASE WHEN n < 5000 THEN CASE WHEN n % 100 = 0 THEN 'failed' ELSE 'succeeded' END END,
           CASE WHEN n < 5000 THEN '{{}}'::jsonb END
    FROM generate_series(0, {ROWS - 1}) AS n;
    INSERT INTO campaign_rows (campaign, place, line, custom_id, body)
    SELECT c, n, n, n, '{{}}' FROM generate_series(2, 500) AS c, generate_series(0, 9) AS n;
    INSERT INTO jobs (id, tenant, pool, priority, state, ready, cost, max_attempts, spec, request)
    SELECT gen_random_uuid(), 't1', 'small', 20, 'queued', true, 2, 3, '{{}}', '{{}}'
    FROM generate_series(1, {JOBS + 2_000});
    INSERT INTO campaign_jobs (campaign, place, pass, ordinal, version, job_id, reserved, day)
    SELECT 1, 5000 + n, 1, 5000 + n, 1, id, 2, '2026-01-01'
    FROM (SELECT id, row_number() OVER () AS n FROM jobs LIMIT {JOBS}) AS of;
    INSERT INTO campaign_passes (campaign, number, kind, cursor) VALUES (1, 1, 'main', 6000);
    INSERT INTO reviews (job_id, tenant, campaign, place)
    SELECT gen_random_uuid(), 't1', n % 50, n FROM generate_series(1, 20000) AS n;
"""
# As in a database that was made just now: this one may have been another test's, and its tables keep what was known of
# them when they are emptied.
FORGET = """
    DO $$
    DECLARE it text;
    BEGIN
        FOR it IN SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' LOOP
            EXECUTE format('ALTER TABLE %I SET (autovacuum_enabled = false)', it);
            PERFORM pg_clear_relation_stats('public', it);
        END LOOP;
        DELETE FROM pg_statistic WHERE starelid IN (
            SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace);
    END $$
"""
REMEMBER = """
    DO $$
    DECLARE it text;
    BEGIN
        FOR it IN SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' LOOP
            EXECUTE format('ALTER TABLE %I RESET (autovacuum_enabled)', it);
        END LOOP;
    END $$
"""
_ID = "00000000-0000-0000-0000-000000000000"
_ARGUMENTS = {
    **dict.fromkeys(("number", "pass", "generation"), "1"),
    **dict.fromkeys(("after", "first", "cursor"), "1000"),
    **{"id": "'campaign_1'", "tenant": "'t1'", "custom_id": "'clip-7'", "outcome": "'failed'", "last": "1063"},
    **dict.fromkeys(("places", "of", "names", "pools", "ids", "told"), "'{}'"),
    **dict.fromkeys(("token", "writer"), f"'{_ID}'"),
    **dict.fromkeys(("batch", "history", "estimate", "overrides", "made"), "'[]'"),
    **{"day": "'2026-01-01'", "variables": "'{}'"},
    **dict.fromkeys(("again", "done", "put_off", "reseed", "unended", "flagged", "promoted", "undecided"), "false"),
    **{"duty": "'forecasts'", "lease_s": "30", "weeks": "4", "seconds": "3600"},
    **{"believed": "'10 minutes'", "pool": "'small'", "most": "9"},
    **{"kinds": "'[]'", "decisions": "'[]'", "cluster": "'default'", "kept": "1000", "stale": "'1 hour'"},
    **{
        "nothing": "'{}'",
        "look": "5000",
        "decision": "'undecided'",
        "holder": "NULL",
        "put": "'upload'",
        "quota": "'files'",
    },
    **dict.fromkeys(("code", "key", "error", "kind", "period", "unit", "state"), "'x'"),
}
# Of these tables nobody reads more than an index gives. `campaigns` has few rows that have not ended.
_LARGE = "jobs|attempts|campaign_rows|campaign_jobs|campaign_bad_rows|campaign_passes|outbox|reviews"


def statements() -> Iterator[tuple[str, TextClause]]:
    of_rows = (window, row_ends, rivals, campaign_rows, review_sheets)
    for module in (campaigns, campaign_search, changes, *of_rows, spending, forecasts, fleet, held):
        name = module.__name__.rpartition(".")[2]
        for label, found in vars(module).items():
            several = found if isinstance(found, dict) else {"": found}
            for key, statement in several.items():
                if isinstance(statement, TextClause):
                    yield f"{name}.{label}{key and f'[{key}]'}", statement


STATEMENTS = dict(statements())


async def plans_of(database_url: str, settings: Mapping[str, str] = SESSION) -> dict[str, str]:
    """Each statement's plan, as the store's own sessions make it, or others."""
    session = await asyncpg.connect(database_url, server_settings=dict(settings))
    plans = {}
    for label, statement in STATEMENTS.items():
        compiled = statement.compile(dialect=dialect.dialect())
        await session.execute(f"PREPARE statement AS {compiled}")
        given = ", ".join(_ARGUMENTS.get(name, "1") for name in compiled.positiontup or [])
        call = f"EXPLAIN EXECUTE statement({given})" if given else "EXPLAIN EXECUTE statement"
        plans[label] = "\n".join(row[0] for row in await session.fetch(call))
        await session.execute("DEALLOCATE statement")
    await session.close()
    return plans


@pytest.mark.parametrize("rows", ["never analysed", "large"])
async def test_no_statement_of_campaigns_scans_a_table(
    database_url: str, database: asyncpg.Connection, rows: str
) -> None:
    await database.execute(FORGET)
    try:
        await database.execute(SCENE)
        if rows == "large":
            await database.execute("ANALYZE")
        plans = await plans_of(database_url)
    finally:
        await database.execute(REMEMBER)
    assert len(plans) >= 45
    for label, plan in plans.items():
        assert not re.search(f"Seq Scan on ({_LARGE})", plan), f"{label}\n{plan}"
        # Rows are found by place, by name or by their end: nobody goes through all of a campaign to find some.
        for condition in re.findall(r"campaign_rows_(?:pkey|ended).*\n\s+Index Cond: \((.*)\)", plan):
            assert re.search("place|outcome", condition), f"{label}\n{plan}"
    # A page is a stretch of places, with both its ends: not the first of all that are behind one, sorted.
    for label in ("campaign_rows._ALL", "campaign_rows._WITH_JOBS", "campaign_rows._SHOWNS[next]"):
        assert re.search(r"campaign_rows_pkey.*\n\s+Index Cond: .*place >= .*place <= ", plans[label]), plans[label]
    # Each row's job is found by its id: by which index, statistics that come meanwhile decide.
    jobs = plans["campaign_rows._WITH_JOBS"]
    assert re.search(r"Index Scan using jobs_\w+ on jobs.*\n\s+Index Cond: \(id = ", jobs), jobs
    # What has ended is deleted from the window by its place, not by comparing each with each.
    settling = plans["row_ends._SETTLE"]
    assert re.search(r"campaign_jobs_pkey.*\n\s+Index Cond: .*place = ANY", settling), settling
    # What a tenant has is summed over what it has open, and over its campaigns.
    assert "campaigns_held" in plans["quotas._HOLDING"], plans["quotas._HOLDING"]
    assert "campaign_rows_custom_id" in plans["campaign_rows._SHOWNS[named]"], plans["campaign_rows._SHOWNS[named]"]
    for label in ("campaign_rows._SHOWNS[ended]", "campaign_rows._FAILED", "changes._EDIT_ENDED"):
        assert "campaign_rows_ended" in plans[label], f"{label}\n{plans[label]}"


# Few large campaigns, of which a page may look at thousands of rows, and many reviews.
REVIEWED = """
    INSERT INTO campaigns (id, kind, tenant, state, ask, templates, priority, rows)
    SELECT 'campaign_' || n, 'campaign', 't' || n, 'running', '{}', '[]', 20, 10000 FROM generate_series(1, 2) AS n;
    INSERT INTO campaign_rows (campaign, place, line, custom_id, body, outcome, result)
    SELECT c.number, n, n, 'clip-' || n, '{}', 'succeeded', jsonb_build_object('job', gen_random_uuid())
    FROM campaigns AS c, generate_series(0, 9999) AS n;
    INSERT INTO reviews (job_id, tenant, campaign, place)
    SELECT CAST(result ->> 'job' AS uuid), 't1', campaign, place FROM campaign_rows WHERE place < 5000;
    ANALYZE;
"""


async def test_a_page_of_the_review_desk_reads_the_reviews_of_its_videos_alone(
    database_url: str, database: asyncpg.Connection
) -> None:
    await database.execute(REVIEWED)
    plans = await plans_of(database_url, {})  # as behind a pooler that keeps a session's settings for itself
    sheet = plans["review_sheets._STRETCH"]
    assert re.search(r"Index Scan using reviews_pkey on reviews.*\n\s+Index Cond: \(job_id = ", sheet), sheet
    counts = plans["review_sheets._COUNT"]
    assert re.search(r"campaign_rows_pkey.*\n\s+Index Cond: .*place = ", counts), counts

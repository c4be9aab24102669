"""Every table says whose its rows are; what a round of an erasure does is bounded, counted and repeatable."""

from __future__ import annotations

import re

import asyncpg
import pytest

from orchestrator.adapters.s3 import S3Objects
from orchestrator.domain.errors import TenantErased
from orchestrator.store import Store, erased_objects, erasures
from orchestrator.store.belongings import BLANKED, LAST, OF_JOBS, OF_NOBODY, OF_TENANT
from orchestrator.store.connecting import SESSION
from tests.support.estates import Estate, rows_of
from tests.support.jobs import new_job
from tests.support.postgres import Clock

# What leads to a tenant, itself or through another table.
LEADING = {"tenant", "campaign", "batch_id", "job_id"}


async def test_every_table_says_which_of_its_rows_are_a_tenants_or_why_none_is(database: asyncpg.Connection) -> None:
    columns = await database.fetch("""
        SELECT table_name, array_agg(column_name::text) AS names FROM information_schema.columns
        WHERE table_schema = 'public' GROUP BY table_name
    """)
    found = {row["table_name"]: set(row["names"]) for row in columns}
    owned = OF_TENANT | OF_JOBS | BLANKED | LAST
    assert found.keys() == owned.keys() | OF_NOBODY.keys()
    assert not owned.keys() & OF_NOBODY.keys()
    # An erasure names its tenant until it is finished.
    assert {table for table in OF_NOBODY if found[table] & LEADING} == {"erasures"}
    assert all(OF_NOBODY.values())


async def test_no_foreign_key_leads_past_the_list(database: asyncpg.Connection) -> None:
    """There are none: a row that belonged to a tenant by one alone would be in no list."""
    assert await database.fetch("SELECT conname FROM pg_constraint WHERE contype = 'f'") == []


async def test_the_estate_of_the_tests_has_a_row_in_every_table(
    store: Store, database: asyncpg.Connection, objects: S3Objects
) -> None:
    await Estate.of(store, database, objects, "acme")
    assert [table for table, rows in (await rows_of(database, "acme")).items() if not rows] == []


async def test_rows_go_a_bounded_number_at_a_time_and_what_leads_to_others_goes_after_them(
    store: Store, database: asyncpg.Connection, objects: S3Objects
) -> None:
    await Estate.of(store, database, objects, "acme")
    await store.request_erasure("acme", by="tests", keep_usage=False)
    round_ = await store.next_erasure(hold_s=60)
    assert round_ is not None
    gone, rows = 0, await rows_of(database, "acme")
    while done := await store.erase_rows(round_, limit=3):
        assert done <= 3
        gone += done
        rows = await rows_of(database, "acme")
        orphans = await database.fetch("SELECT FROM campaign_rows WHERE campaign NOT IN (SELECT number FROM campaigns)")
        assert not orphans
    assert [table for table in OF_TENANT if rows[table]] == []
    erased = (await store.list_erasures(limit=1))[0].erased
    assert sum(erased.values()) == gone
    assert erased["campaign_rows"] == 10


async def test_who_asks_twice_asks_once_and_nobody_erases_who_is_not_there(
    store: Store, database: asyncpg.Connection, clock: Clock
) -> None:
    await store.add_key("key", "acme", "tests", master=1)
    first = await store.request_erasure("acme", by="tests", keep_usage=False)
    assert first is not None
    assert await store.request_erasure("acme", by="another", keep_usage=True) == first
    assert await store.request_erasure("acm", by="tests", keep_usage=False) is None
    assert await store.request_erasure("acm_", by="tests", keep_usage=False) is None
    assert (await store.next_erasure(hold_s=60)) is not None
    assert (await store.next_erasure(hold_s=60)) is None
    await clock.advance(61)  # whoever had it was killed
    assert (await store.next_erasure(hold_s=60)) is not None


async def test_a_tenant_is_not_closed_while_anything_of_its_is_left(store: Store, database: asyncpg.Connection) -> None:
    await store.add_key("key", "acme", "tests", master=1)
    await store.submit(new_job("acme"))
    await store.request_erasure("acme", by="tests", keep_usage=False)
    round_ = await store.next_erasure(hold_s=60)
    assert round_ is not None
    assert await store.close_tenant(round_) is None
    key = await store.find_key("key")
    assert key is not None
    assert key.erasing
    with pytest.raises(TenantErased):
        await store.add_key("another", "acme", "tests", master=1)
    with pytest.raises(asyncpg.PostgresError, match="is being erased"):
        await database.execute("INSERT INTO reviews (job_id, tenant) VALUES (gen_random_uuid(), 'acme')")


async def test_an_administrators_bulk_action_over_every_tenant_tells_no_erased_ones_jobs(
    store: Store, database: asyncpg.Connection
) -> None:
    await store.add_key("key", "acme", "tests", master=1)
    await database.execute(
        """
        INSERT INTO bulk_actions (id, owner, administrative, action, filter, actor, asked_by, expected, about, examples)
        VALUES ('bulk_1', 'us', true, 'cancel', '{}', '{}', 'us', 1, false, '[{"job": "video_1"}]')
        """
    )
    await store.request_erasure("acme", by="tests", keep_usage=False)
    round_ = await store.next_erasure(hold_s=60)
    assert round_ is not None
    assert await store.close_tenant(round_) is not None
    assert [tuple(row) for row in await database.fetch("SELECT id, examples FROM bulk_actions")] == [("bulk_1", "[]")]


@pytest.mark.parametrize("tenant", ["tenant7", "nobody"])
async def test_what_a_round_asks_of_the_jobs_is_found_by_index_however_many_others_have(
    store: Store, database_url: str, database: asyncpg.Connection, tenant: str
) -> None:
    await store.submit(new_job())
    await database.execute(
        "INSERT INTO jobs (id, tenant, pool, priority, state, ready, cost, max_attempts, spec, request, finished_at,"
        " deleted_at) SELECT gen_random_uuid(), 'tenant' || n % 50, pool, 0, 'cancelled', false, 90, 3, spec, request,"
        " now(), CASE WHEN n % 100 = 7 THEN now() END FROM jobs, generate_series(1, 20000) AS n"
    )
    await database.execute("ANALYZE jobs")
    session = await asyncpg.connect(database_url, server_settings=SESSION)
    given = {"tenant": f"'{tenant}'", "erasure": "'x'", "n": "100"}
    for statement in (erased_objects._ENDED, erasures._STOP, erasures._LEFT, erasures._ANY_LEFT):
        sql = re.sub(r"(?<!:):(\w+)", lambda found: given[found[1]], statement.text)
        plan = "\n".join([row[0] for row in await session.fetch(f"EXPLAIN {sql}")])
        assert not re.search(r"(Seq Scan on|jobs_pkey on) jobs\b(?!.*\n.*Index Cond)", plan), plan
    await session.close()

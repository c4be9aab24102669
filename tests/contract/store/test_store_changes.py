"""A schema that changes under open sessions, and text that no column can hold."""

from __future__ import annotations

import re
from pathlib import Path

import asyncpg
import pytest

from orchestrator.domain.errors import InvalidField
from orchestrator.ports.campaign_values import Work
from orchestrator.store import Store
from tests.support.jobs import CLUSTER, POOL, new_job, success, workers

STORE = Path(__file__).parents[3] / "orchestrator" / "store"


async def test_a_column_that_is_added_under_a_running_process_is_no_error(
    store: Store, database: asyncpg.Connection
) -> None:
    """Every table grows a column between two rounds of the same reads and writes, on the same connection."""

    async def round_of_everything() -> None:
        job = await store.submit(new_job())
        [claim] = await store.claim(POOL, CLUSTER, workers(1))
        await store.settle([success(claim)])
        second = await store.submit(new_job())
        assert await store.request_cancel(second.id, "acme") is not None
        assert await store.get(job.id, "acme") is not None
        await store.list_jobs("acme", limit=5)
        await store.list_keys()
        await store.list_tenants()
        await store.list_batches("acme", limit=5)
        assert await store.lease_campaign(Work.MOVE, 5) is None
        assert await store.cancel_batch("none", "acme") is None
        assert await store.rotate_endpoint("none", "acme", overlap_s=1) is None
        await store.lease_deliveries(limit=1, per_host=1, per_tenant=1, lease_s=1)

    await round_of_everything()
    await round_of_everything()
    for (table,) in await database.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
        await database.execute(f'ALTER TABLE "{table}" ADD COLUMN grown int')
    await round_of_everything()


async def test_a_type_that_changes_under_a_prepared_statement_is_prepared_anew(
    store: Store, database: asyncpg.Connection
) -> None:
    for _ in range(3):
        await store.list_keys()
    await database.execute("ALTER TABLE keys ALTER COLUMN name TYPE varchar(200)")
    assert await store.list_keys() == []


def test_no_statement_returns_columns_that_it_does_not_name() -> None:
    unnamed = re.compile(r"RETURNING\s+(\w+\.)?\*|SELECT \* FROM (jobs|batches|files|tenants|keys|workers|outbox)\b")
    found = [f"{path.name}: {match[0]}" for path in STORE.glob("*.py") for match in unnamed.finditer(path.read_text())]
    assert found == []


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b"])
async def test_text_that_no_column_holds_is_the_caller_s_mistake(store: Store, text: str) -> None:
    for call in (
        store.get_batch(text, "acme"), store.list_jobs(text, limit=1), store.find_submitted("acme", text),
        store.find_endpoint(text, "acme"), store.list_batches("acme", limit=1, after=text),
        store.add_key("k", "acme", text, master=1),
    ):  # fmt: skip
        with pytest.raises(InvalidField):
            await call

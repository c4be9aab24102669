"""What tenants have is right at every moment, whoever adds up or frees beside; and frees no more than never began."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from orchestrator.domain.campaign import Kind
from orchestrator.domain.campaign_rows import BadRow, NewRow
from orchestrator.domain.errors import LimitExceeded
from orchestrator.policy.quotas import Holding
from orchestrator.ports.campaign_values import Hold, ToFree, Work
from orchestrator.store import Store, campaign_rows, quotas
from tests.contract.store.test_store_tenants import a_batch, a_file

TENANT = "acme"


async def test_what_is_stored_is_the_same_however_many_add_it_up_meanwhile(store: Store) -> None:
    async def come_and_go(number: int) -> None:
        await store.add_file(a_file(f"file-{number}", TENANT))
        if number % 2:
            await store.delete_file(f"file-{number}", TENANT)

    async def add_up() -> None:
        for _ in range(5):
            await store.add_up_stored()

    await asyncio.gather(*(come_and_go(number) for number in range(20)), *(add_up() for _ in range(3)))
    assert (await store.holding_of(TENANT))[1] == Holding(files=10, stored_bytes=30)
    await store.files_swept([f"file-{number}" for number in range(20)])
    await store.add_up_stored()
    assert await store.add_up_stored() == 0
    assert (await store.holding_of(TENANT))[1] == Holding(files=10, stored_bytes=30)
    assert (await store.holding_of("birch"))[1] == Holding()


async def test_a_file_that_an_answer_was_lost_of_counts_once_and_is_found_though_there_is_no_more_room(
    store: Store,
) -> None:
    await store.set_limits(TENANT, {"files": 1})
    first = await store.add_file(a_file("file-1", TENANT))
    assert await store.add_file(a_file("file-1", TENANT)) == first
    for _ in range(2):
        with pytest.raises(LimitExceeded):
            await store.add_file(a_file("file-2", TENANT))
    assert await store.get_file("file-2", TENANT) is None
    assert set(await store.files_to_sweep(limit=9)) == {"file-2"}
    assert (await store.holding_of(TENANT))[1] == Holding(files=1, stored_bytes=3)


async def a_hold(store: Store) -> Hold:
    await store.add_batch(a_batch("batch-1", TENANT, "file-1"), priority=20)
    hold = await store.lease_campaign(Work.INGEST, 60)
    assert hold is not None
    assert hold.campaign.kind is Kind.BATCH
    return hold


def new(count: int) -> list[NewRow]:
    return [NewRow(line=n, custom_id=f"{n}", body="", image=False, at=n, size=1) for n in range(count)]


async def test_rows_are_freed_in_stretches_but_for_those_that_ended_or_have_a_job(
    store: Store, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "_CHUNK", 3)
    await store.add_rows(await a_hold(store), new(20), (), records=20)
    await database.execute("UPDATE campaign_rows SET outcome = 'succeeded', result = '{}' WHERE place = 4")
    await database.execute(
        "INSERT INTO campaign_jobs (campaign, place, pass, ordinal, version, job_id, reserved, day) "
        "SELECT number, 5, 1, 5, 1, gen_random_uuid(), 0, now() FROM campaigns"
    )
    assert await store.to_free(limit=9) == []
    await database.execute("UPDATE campaigns SET state = 'cancelled', drained = true, ended_at = cogmill_now()")
    number = await database.fetchval("SELECT number FROM campaigns")
    assert await store.to_free(limit=9) == [ToFree(id="batch-1", number=number, whole=True)]
    assert sum(await asyncio.gather(*(store.free_rows(each) for each in await store.to_free(limit=9)))) == 18
    assert [row["place"] for row in await database.fetch("SELECT place FROM campaign_rows ORDER BY 1")] == [4, 5]
    assert await store.to_free(limit=9) == []


async def test_of_lines_that_are_no_rows_the_first_are_kept_and_all_are_counted(
    store: Store, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign_rows, "_MOST_BAD", 5)
    hold = await a_hold(store)
    for first in (0, 4, 8):
        bad = [BadRow(line=first + n, custom_id=None, field=None, code="x", reason="y") for n in range(4)]
        await store.add_rows(hold, (), bad, records=first + 4)
    assert (await store.read_held(hold)).counts.bad == 12
    assert [row["line"] for row in await database.fetch("SELECT line FROM campaign_bad_rows ORDER BY 1")] == [*range(5)]

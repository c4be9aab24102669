"""What a job is charged beside its GPU seconds: lanes and limits count it, the ledger's sums do not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from orchestrator.domain.errors import LimitExceeded
from orchestrator.domain.job import NewJob
from orchestrator.ports.ledger import UsageQuery
from orchestrator.store import Store
from tests.support.jobs import CLUSTER, POOL, new_job, success, workers


def free_finisher(tenant: str, charge: float | None = 27.0) -> NewJob:
    """Next to nothing of a GPU, and a long finishing."""
    return new_job(tenant, cost=0.6, charge=charge)


async def lane(database: asyncpg.Connection, tenant: str) -> float:
    return float(await database.fetchval("SELECT vtime FROM lanes WHERE tenant = $1", tenant))


async def test_a_lane_gets_its_share_by_what_its_jobs_are_charged(store: Store) -> None:
    for _ in range(6):
        await store.submit(free_finisher("hog"))
        await store.submit(new_job("plain", cost=9.0))
    order = [claim.tenant for claim in await store.claim(POOL, CLUSTER, workers(8))]
    # 27 charged seconds are three plain jobs'. By GPU seconds the hog would have got all of its six.
    assert order.count("hog") == 2


async def test_a_claim_charges_the_prediction_and_its_end_what_was_used_of_either(
    store: Store, database: asyncpg.Connection
) -> None:
    await store.submit(free_finisher("hog"))
    [claim] = await store.claim(POOL, CLUSTER, workers(1))
    assert await lane(database, "hog") == pytest.approx(27.0)
    await store.settle([replace(success(claim, gpu_seconds=0.5), charge=23.0)])
    assert await lane(database, "hog") == pytest.approx(23.0)


async def test_a_job_of_the_release_before_keeps_its_cost_and_its_dispatchers_word(
    store: Store, database: asyncpg.Connection
) -> None:
    await store.submit(free_finisher("old", charge=None))
    [claim] = await store.claim(POOL, CLUSTER, workers(1))
    assert await lane(database, "old") == pytest.approx(0.6)
    await store.settle([success(claim, gpu_seconds=0.5)])
    assert await lane(database, "old") == pytest.approx(0.5)
    assert await database.fetchval("SELECT charge FROM usage") is None


async def test_a_day_counts_charges_and_the_ledger_gpu_seconds(store: Store) -> None:
    await store.set_limits("hog", {"gpu_seconds_per_day": 60.0})
    await store.submit(free_finisher("hog"))
    [claim] = await store.claim(POOL, CLUSTER, workers(1))
    await store.settle([replace(success(claim, gpu_seconds=0.5), charge=30.0)])
    await store.submit(free_finisher("hog"))
    with pytest.raises(LimitExceeded, match=r"57\.0 are charged or spoken for, .* to be charged 27\.0") as refused:
        await store.submit(free_finisher("hog"))
    assert refused.value.limit == "gpu_seconds_per_day"
    now = datetime.now(UTC)
    [used] = await store.usage(
        UsageQuery(since=now - timedelta(days=2), until=now + timedelta(days=2), by=(), tenant="hog", most=10)
    )
    assert (used.gpu_seconds, used.charge) == (0.5, 30.0)


async def test_a_claim_without_a_tenant_takes_the_others_and_leaves_its_lane_as_it_is(
    store: Store, database: asyncpg.Connection
) -> None:
    for tenant in ("hog", "hog", "plain"):
        await store.submit(new_job(tenant))
    before = await database.fetchrow("SELECT vtime, served, active FROM lanes WHERE tenant = 'hog'")
    claims = await store.claim(POOL, CLUSTER, workers(3), without=["hog"])
    assert [claim.tenant for claim in claims] == ["plain"]
    assert await database.fetchrow("SELECT vtime, served, active FROM lanes WHERE tenant = 'hog'") == before
    assert [claim.tenant for claim in await store.claim(POOL, CLUSTER, workers(3))] == ["hog", "hog"]

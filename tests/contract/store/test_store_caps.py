"""A tenant runs at most as many jobs as it may, over all pools and in each, and as many as it is guaranteed."""

from __future__ import annotations

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import asyncpg

from orchestrator.domain.job import Claim
from orchestrator.policy.limits import NO_LIMITS, Limits
from orchestrator.ports import Share
from orchestrator.store import Store
from tests.support.jobs import CLUSTER, POOL, broke, ending, new_job, success, workers

POOLS = (POOL, "large")


async def submit(store: Store, tenant: str, count: int, **changes: object) -> None:
    await asyncio.gather(*(store.submit(new_job(tenant, **changes)) for _ in range(count)))


def tenants(claims: list[Claim]) -> Counter[str]:
    return Counter(claim.tenant for claim in claims)


async def everywhere(url: str, limits: Limits = NO_LIMITS) -> list[Claim]:
    """Claim at once from several event loops, for two pools."""

    async def claim(i: int) -> list[Claim]:
        async with Store.open(url, limits=limits) as store:
            return await store.claim(POOLS[i % 2], f"c{i}", workers(5))

    with ThreadPoolExecutor(6) as threads:
        loop = asyncio.get_running_loop()
        found = await asyncio.gather(
            *(loop.run_in_executor(threads, lambda n: asyncio.run(claim(n)), i) for i in range(6))
        )
    return [claim for claims in found for claim in claims]


async def test_a_capped_tenant_gets_what_it_may_and_the_others_get_the_rest(store: Store) -> None:
    await store.set_limits("capped", {"running": 2})
    await submit(store, "capped", 10)
    await submit(store, "free", 9)
    first = await store.claim(POOL, CLUSTER, workers(6))
    assert tenants(first) == {"capped": 2, "free": 4}
    assert tenants(await store.claim(POOL, CLUSTER, workers(3))) == {"free": 3}
    own = [claim for claim in first if claim.tenant == "capped"]
    await store.settle([success(own[0]), ending(own[1], broke(retryable=False))])
    assert tenants(await store.claim(POOL, CLUSTER, workers(9))) == {"capped": 2, "free": 2}


async def test_every_slot_is_dealt_although_a_capped_tenant_stands_first_in_many_lanes(store: Store) -> None:
    await store.set_limits("capped", {"running": 1})
    for priority in range(4):
        await submit(store, "capped", 3, priority=priority)
    await submit(store, "free", 5, priority=9)
    claims = await store.claim(POOL, CLUSTER, workers(4))
    assert [(claim.tenant, claim.priority) for claim in claims] == [("capped", 0), *[("free", 9)] * 3]
    assert len({claim.worker for claim in claims}) == 4


async def test_claimers_of_all_pools_at_once_never_exceed_a_cap(store: Store, database_url: str) -> None:
    await store.set_limits("capped", {"running": 3})
    for pool in POOLS:
        await submit(store, "capped", 20, pool=pool)
        await submit(store, "free", 4, pool=pool)
    claims = await everywhere(database_url)
    assert tenants(claims) == {"capped": 3, "free": 8}
    for _ in range(3):
        own = [claim for claim in claims if claim.tenant == "capped"]
        await store.settle([success(claim) for claim in own[:2]])
        more = await everywhere(database_url)
        assert tenants(more) == {"capped": 2}
        claims = own[2:] + more


async def test_the_deployments_cap_holds_for_each_tenant_by_itself(store: Store, database_url: str) -> None:
    await store.set_limits("large", {"running": 4})
    for tenant in ("a", "b", "large"):
        await submit(store, tenant, 6)
    assert tenants(await everywhere(database_url, Limits(running=2))) == {"a": 2, "b": 2, "large": 4}


async def test_a_cap_of_zero_runs_nothing_and_its_end_is_announced(store: Store, database_url: str) -> None:
    await store.set_limits("acme", {"running": 0})
    await submit(store, "acme", 2)
    assert await store.claim(POOL, CLUSTER, workers(2)) == []
    async with Store.open(database_url) as other, other.wakeups() as wakeups:
        await wakeups.wait(1.0)
        await store.set_limits("acme", {"running": 1})
        assert await wakeups.wait(5.0)
        [claim] = await other.claim(POOL, CLUSTER, workers(2))
        await wakeups.wait(0.0)
        await store.settle([success(claim)])
        assert await wakeups.wait(5.0), "an idle dispatcher does not hear that there is room again"
        assert len(await other.claim(POOL, CLUSTER, workers(2))) == 1


async def test_a_tenant_at_its_cap_saves_nothing_up(store: Store) -> None:
    await store.set_limits("capped", {"running": 1})
    await submit(store, "capped", 30)
    await submit(store, "free", 60)
    await store.claim(POOL, CLUSTER, workers(2))  # one of each; the capped one's goes on and on
    for _ in range(20):
        await store.settle([success(claim) for claim in await store.claim(POOL, CLUSTER, workers(1))])
    await store.set_limits("capped", {"running": None})
    got: Counter[str] = Counter()
    for _ in range(10):
        claims = await store.claim(POOL, CLUSTER, workers(1))
        got += tenants(claims)
        await store.settle([success(claim) for claim in claims])
    assert abs(got["capped"] - got["free"]) <= 2


async def test_a_cap_of_a_pool_is_that_pools_alone_beside_the_one_over_all(store: Store, database_url: str) -> None:
    await store.set_share(Share(tenant="capped", pool=POOL, running=2))
    for pool in POOLS:
        await submit(store, "capped", 9, pool=pool)
        await submit(store, "free", 3, pool=pool)
    assert tenants(await store.claim(POOL, CLUSTER, workers(6))) == {"capped": 2, "free": 3}
    assert tenants(await store.claim("large", CLUSTER, workers(3))) == {"capped": 2, "free": 1}
    await store.set_limits("capped", {"running": 5})
    assert tenants(await everywhere(database_url)) == {"capped": 1, "free": 2}


# What one pool's claimer holds while it counts a capped tenant.
COUNTS = "SELECT pg_advisory_xact_lock(hashtextextended('cogmill:cap:capped', 0))"


async def test_whoever_counts_a_capped_tenant_holds_up_no_other_tenant_of_another_pool(
    store: Store, database: asyncpg.Connection
) -> None:
    await store.set_limits("capped", {"running": 3})
    await submit(store, "capped", 4)
    await submit(store, "free", 4)
    async with database.transaction():
        await database.execute(COUNTS)
        assert tenants(await asyncio.wait_for(store.claim(POOL, CLUSTER, workers(2)), 5)) == {"free": 2}
        # Who would leave slots over waits for it.
        rest = asyncio.create_task(store.claim(POOL, CLUSTER, workers(5)))
        await until_somebody_waits(database)
    assert tenants(await rest) == {"free": 2, "capped": 3}


async def test_a_tenant_at_its_cap_is_counted_without_a_lock(store: Store, database: asyncpg.Connection) -> None:
    await store.set_limits("capped", {"running": 1})
    await submit(store, "capped", 4)
    assert len(await store.claim(POOL, CLUSTER, workers(2))) == 1
    async with database.transaction():
        await database.execute(COUNTS)
        assert await asyncio.wait_for(store.claim(POOL, CLUSTER, workers(2)), 5) == []


async def test_a_claimer_of_the_release_before_is_not_counted_beside(
    store: Store, database: asyncpg.Connection
) -> None:
    """It counts under one lock for all pools."""
    await store.set_limits("capped", {"running": 3})
    await submit(store, "capped", 4)
    async with database.transaction():
        await database.execute("SELECT pg_advisory_xact_lock(hashtextextended('cogmill:claim', 0))")
        ours = asyncio.create_task(store.claim(POOL, CLUSTER, workers(2)))
        await until_somebody_waits(database)
        assert not ours.done()
    assert len(await ours) == 2


_WAITS = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"


async def until_somebody_waits(database: asyncpg.Connection) -> None:
    query = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"
    async with asyncio.timeout(10):
        while not await database.fetchval(query):
            pass


async def test_a_guarantee_is_met_first_and_what_it_does_not_want_is_lent(store: Store) -> None:
    await store.set_share(Share(tenant="gold", pool=POOL, guaranteed=3))
    await submit(store, "bulk", 20, priority=20)
    assert tenants(await store.claim(POOL, CLUSTER, workers(4))) == {"bulk": 4}
    await submit(store, "gold", 20, priority=50)
    await submit(store, "urgent", 1, priority=0)
    claims = await store.claim(POOL, CLUSTER, workers(6))
    assert [claim.tenant for claim in claims[:4]] == ["urgent", "gold", "gold", "gold"]
    assert tenants(claims[4:]) == {"bulk": 2}


async def test_how_tenants_stand_is_told_where_one_lacks_what_it_could_use(store: Store) -> None:
    await store.set_share(Share(tenant="gold", pool=POOL, guaranteed=3))
    await submit(store, "bulk", 9)
    claims = await store.claim(POOL, CLUSTER, workers(4))
    assert await store.standings(POOL) == [], "nothing waits"
    await submit(store, "gold", 2)
    await submit(store, "gold", 2, pool="large")
    gold, bulk = await store.standings(POOL)
    assert (gold.tenant, gold.lacks, gold.borrowed, gold.room) == ("gold", 2, 0, None)
    assert (bulk.tenant, bulk.lacks, bulk.borrowed) == ("bulk", 0, 4)
    await store.set_limits("gold", {"running": 1})
    assert (await store.standings(POOL))[0].lacks == 1
    await store.claim("large", CLUSTER, workers(2))
    assert (await store.standings(POOL))[0].lacks == 0, "its cap over all pools is used up elsewhere"
    await store.set_limits("gold", {"running": None})
    await store.settle([success(claim) for claim in claims[:2]])
    await store.claim(POOL, CLUSTER, workers(2))
    assert await store.standings(POOL) == []

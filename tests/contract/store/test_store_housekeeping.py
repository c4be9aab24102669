"""What the sweeper is told to delete, and that it is told once."""

from __future__ import annotations

import asyncpg

from orchestrator.domain.job import Claim
from orchestrator.ports import Sweep
from orchestrator.store import Store
from tests.support.jobs import CLUSTER, POOL, broke, ending, lost, new_job, released, success, worker
from tests.support.postgres import Clock

KEEP, LOSERS = 1000.0, 100.0


async def due(store: Store, limit: int = 100) -> list[Sweep]:
    return await store.objects_to_sweep(keep_s=KEEP, losers_after_s=LOSERS, limit=limit)


async def claimed(store: Store, **changes: object) -> Claim:
    await store.submit(new_job(**changes))
    [claim] = await store.claim(POOL, CLUSTER, [worker()])
    return claim


async def test_a_plain_success_is_swept_when_its_time_is_over(
    store: Store, clock: Clock, database: asyncpg.Connection
) -> None:
    claim = await claimed(store)
    await store.settle([success(claim)])
    await clock.advance(KEEP - 1)
    assert await due(store) == []
    await clock.advance(1)
    assert await due(store) == [Sweep(job_id=claim.job_id)]
    await store.swept([Sweep(job_id=claim.job_id)])
    assert await due(store) == []
    counts = "SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM attempts), (SELECT count(*) FROM usage)"
    assert tuple(await database.fetchrow(counts)) == (0, 0, 1)


async def test_the_losers_of_a_success_go_and_its_winner_stays(store: Store, clock: Clock) -> None:
    claim = await claimed(store)
    await store.settle([ending(claim, released())])
    [second] = await store.claim(POOL, CLUSTER, [worker()])
    await store.settle([success(second)])
    assert await due(store) == []
    await clock.advance(LOSERS)
    assert await due(store) == [Sweep(job_id=claim.job_id, keep=2)]
    await store.swept([Sweep(job_id=claim.job_id, keep=2)])
    assert await due(store) == []
    assert await store.get(claim.job_id, "acme") is not None
    await clock.advance(KEEP)
    assert await due(store) == [Sweep(job_id=claim.job_id)]


async def test_what_a_lost_worker_may_have_stored_goes_at_once_and_what_it_stores_later_goes_with_the_losers(
    store: Store, clock: Clock
) -> None:
    claim = await claimed(store)
    await store.settle([ending(claim, lost())])
    [second] = await store.claim(POOL, CLUSTER, [worker()])
    await store.settle([success(second)])
    for _ in ("its checkpoints", "what came late"):
        assert await due(store) == [Sweep(job_id=claim.job_id, keep=2)]
        await store.swept([Sweep(job_id=claim.job_id, keep=2)])
        assert await due(store) == []
        await clock.advance(LOSERS)


async def test_what_a_failed_job_uploaded_goes_and_its_reason_stays(store: Store, clock: Clock) -> None:
    claim = await claimed(store, max_attempts=1)
    await store.settle([ending(claim, broke())])
    await clock.advance(LOSERS)
    assert await due(store) == [Sweep(job_id=claim.job_id, keep=0)]
    await store.swept([Sweep(job_id=claim.job_id, keep=0)])
    assert await due(store) == []
    job = await store.get(claim.job_id, "acme")
    assert job is not None
    assert job.failure is not None


async def test_a_deleted_job_is_swept_when_it_has_stopped_and_again_for_what_came_late(
    store: Store, clock: Clock, database: asyncpg.Connection
) -> None:
    claim = await claimed(store)
    await store.delete(claim.job_id, "acme")
    assert await due(store) == []
    await store.settle([success(claim)])
    assert await due(store) == [Sweep(job_id=claim.job_id, keep=0)]
    await store.swept([Sweep(job_id=claim.job_id, keep=0)])
    assert await due(store) == []
    await clock.advance(LOSERS)
    assert await due(store) == [Sweep(job_id=claim.job_id)]
    await store.swept([Sweep(job_id=claim.job_id)])
    assert await database.fetchval("SELECT count(*) FROM jobs") == 0


async def test_waiting_and_running_jobs_are_never_swept(
    store: Store, clock: Clock, database: asyncpg.Connection
) -> None:
    claim = await claimed(store)
    waiting = await store.submit(new_job())
    await clock.advance(10 * KEEP)
    assert await due(store) == []
    await store.swept([Sweep(job_id=claim.job_id), Sweep(job_id=waiting.id, keep=0)])
    assert await database.fetchval("SELECT count(*) FROM jobs WHERE swept_at IS NULL") == 2


async def test_no_more_is_listed_than_asked_for_and_each_job_once(store: Store, clock: Clock) -> None:
    for _ in range(5):
        claim = await claimed(store, max_attempts=1)
        await store.settle([ending(claim, broke())])
        await store.delete(claim.job_id, "acme")
    await clock.advance(KEEP)
    assert len(await due(store, limit=3)) == 3
    assert len({sweep.job_id for sweep in await due(store)}) == len(await due(store)) == 5


async def test_old_history_is_pruned_and_young_history_is_not(
    store: Store, clock: Clock, database: asyncpg.Connection
) -> None:
    claim = await claimed(store)
    await store.settle([success(claim)])
    await store.declare_dead(CLUSTER, claim.worker)
    await clock.advance(50)
    await store.submit(new_job())
    [busy] = await store.claim(POOL, CLUSTER, [worker("w1")])
    await store.declare_dead(CLUSTER, busy.worker)
    assert await store.prune_history(keep_s=60) == 0
    await clock.advance(20)
    assert await store.prune_history(keep_s=60) == 2
    await clock.advance(100)
    assert await store.prune_history(keep_s=60) == 0  # a dead worker is remembered while a claim names it
    assert [row["name"] for row in await database.fetch("SELECT name FROM workers")] == ["w1"]

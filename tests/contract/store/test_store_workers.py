"""Heartbeats, epochs, orphaned claims and wakeups."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import asyncpg

from orchestrator.domain.loading import LoadState, WorkerLoad
from orchestrator.ports import Heartbeat
from orchestrator.store import Store
from tests.support.jobs import CLUSTER, POOL, broke, ending, new_job, success, worker, workers
from tests.support.postgres import Clock


async def test_epochs_of_a_cluster_only_grow_even_when_asked_at_once(store: Store) -> None:
    first = await asyncio.gather(*(store.next_epoch(CLUSTER) for _ in range(8)))
    assert len(set(first)) == 8
    assert await store.next_epoch(CLUSTER) > max(first)
    assert await store.next_epoch("elsewhere") >= 1


async def test_the_deployment_has_one_id_for_good(store: Store, database_url: str) -> None:
    async with Store.open(database_url) as other:
        assert await store.deployment_id() == await other.deployment_id() != ""


async def test_beats_register_and_then_count(store: Store) -> None:
    a, b = workers(2)
    assert await store.beat(CLUSTER, {a: POOL}) == set()
    assert await store.beat(CLUSTER, {a: POOL, b: "other"}) == set()
    assert await store.beat(CLUSTER, {}) == set()
    assert sorted(await store.heartbeats(), key=lambda row: row.worker.name) == [
        Heartbeat(cluster=CLUSTER, worker=a, pool=POOL, beat=1, alive=True),
        Heartbeat(cluster=CLUSTER, worker=b, pool="other", beat=0, alive=True),
    ]


async def test_a_dead_incarnation_never_comes_back_and_a_new_one_is_another_worker(store: Store) -> None:
    old, new = worker("w0", "first"), worker("w0", "second")
    await store.beat(CLUSTER, {old: POOL})
    assert await store.declare_dead(CLUSTER, old) is True
    assert await store.declare_dead(CLUSTER, old) is False
    assert await store.beat(CLUSTER, {old: POOL, new: POOL}) == {old}
    assert [row.worker for row in await store.heartbeats()] == [new]
    assert await store.declare_dead(CLUSTER, worker("nobody")) is False


async def test_a_worker_that_has_beaten_meanwhile_is_not_declared_dead(store: Store) -> None:
    w = worker()
    await store.beat(CLUSTER, {w: POOL})
    [seen] = await store.heartbeats()
    await store.beat(CLUSTER, {w: POOL})
    assert await store.declare_dead(CLUSTER, w, beat=seen.beat) is False
    assert await store.declare_dead(CLUSTER, w, beat=seen.beat + 1) is True


async def test_claims_of_dead_and_vanished_workers_are_orphaned_and_no_others(
    store: Store, database: asyncpg.Connection
) -> None:
    for _ in range(3):
        await store.submit(new_job())
    claims = await store.claim(POOL, CLUSTER, workers(3))
    assert await store.orphaned() == []  # none of them has ever beaten, yet a fresh claim is nobody's orphan
    await store.declare_dead(CLUSTER, claims[0].worker)
    await database.execute("DELETE FROM workers WHERE name = $1", claims[1].worker.name)
    assert {claim.token for claim in await store.orphaned()} == {claims[0].token, claims[1].token}


async def test_running_lists_a_clusters_claims_with_their_age(store: Store, clock: Clock) -> None:
    await store.submit(new_job())
    await store.submit(new_job())
    [mine] = await store.claim(POOL, CLUSTER, [worker()])
    await store.claim(POOL, "elsewhere", [worker()])
    await clock.advance(7)
    [listed] = await store.running(CLUSTER)
    assert (listed.token, listed.age_s, listed.worker, listed.spec) == (mine.token, 7.0, mine.worker, mine.spec)


async def test_a_submit_in_another_process_wakes_a_listener(store: Store, database_url: str) -> None:
    async with Store.open(database_url) as listening, listening.wakeups() as wakeups:
        await wakeups.wait(5.0)  # the subscription itself counts as news
        assert await wakeups.wait(0.05) is False
        await store.submit(new_job())
        assert await wakeups.wait(5.0) is True
        assert await wakeups.wait(0.05) is False


async def test_a_requeued_job_and_a_woken_one_are_announced(store: Store, clock: Clock) -> None:
    await store.submit(new_job())
    [claim] = await store.claim(POOL, CLUSTER, [worker()])
    await store.submit(new_job(run_at=await clock.now() + timedelta(seconds=9)))
    async with store.wakeups() as wakeups:
        await wakeups.wait(5.0)
        while await wakeups.wait(0.1):
            pass
        await store.settle([ending(claim, broke())])
        assert await wakeups.wait(5.0)
        await clock.advance(10)
        assert await store.wake_due() == 1
        assert await wakeups.wait(5.0)


async def test_a_listener_survives_the_loss_of_its_connection(store: Store, database: asyncpg.Connection) -> None:
    async with store.wakeups() as wakeups:
        await wakeups.wait(5.0)
        await database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cogmill-wakeups'"
            " AND datname = current_database()"
        )
        await wakeups.wait(5.0)
        while await wakeups.wait(0.1):  # the loss, and the new subscription
            pass
        await store.submit(new_job())
        assert await wakeups.wait(5.0) is True


async def test_more_jobs_than_one_chunk_are_woken(store: Store, database: asyncpg.Connection, clock: Clock) -> None:
    job = await store.submit(new_job(run_at=await clock.now() + timedelta(seconds=1)))
    await database.execute(
        "INSERT INTO jobs (id, tenant, pool, priority, state, ready, cost, max_attempts, spec, request, run_at) "
        "SELECT gen_random_uuid(), tenant, pool, priority, state, ready, cost, max_attempts, spec, request, run_at "
        "FROM jobs, generate_series(1, 5000) WHERE id = $1",
        job.id,
    )
    await clock.advance(2)
    assert await store.wake_due() == 5001
    assert await store.wake_due() == 0


async def test_a_finished_claim_is_no_longer_running(store: Store) -> None:
    await store.submit(new_job())
    [claim] = await store.claim(POOL, CLUSTER, [worker()])
    await store.settle([success(claim)])
    assert await store.running(CLUSTER) == []


async def test_what_a_dispatcher_tells_of_its_workers_loads_replaces_what_it_told_before_and_no_other_clusters(
    store: Store,
) -> None:
    here = WorkerLoad(worker="w0", pool=POOL, model="tiny", state=LoadState.LOADING)
    broken = replace(here, state=LoadState.BROKEN, failures=3, reason="no room", detail='OSError: "/x" \\ é')
    other = replace(here, worker="w1")
    await store.record_loads("elsewhere", [here])
    await store.record_loads(CLUSTER, [here, other])
    await store.record_loads(CLUSTER, [broken])
    assert sorted(map(repr, await store.worker_loads())) == sorted(map(repr, [broken, here]))
    await store.record_loads(CLUSTER, [])
    assert await store.worker_loads() == [here]


async def test_what_a_dispatcher_that_is_gone_told_of_its_workers_is_forgotten(store: Store, clock: Clock) -> None:
    load = WorkerLoad(worker="w0", pool=POOL, model="tiny", state=LoadState.LOADED)
    await store.record_loads(CLUSTER, [load])
    await clock.advance(599)
    assert await store.worker_loads() == [load]
    await store.record_loads(CLUSTER, [load])  # unchanged, and said again
    await clock.advance(599)
    assert await store.worker_loads() == [load]
    await clock.advance(2)
    assert await store.worker_loads() == []

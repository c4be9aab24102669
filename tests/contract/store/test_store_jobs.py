"""Submitting, reading, cancelling and deleting: what an owner is promised."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import asyncpg
import pytest
import uuid_utils.compat

from orchestrator.domain.errors import InvalidField, NotFound
from orchestrator.domain.states import JobState
from orchestrator.ports import QueueDepth
from orchestrator.store import Store
from tests.support.builders import a_spec
from tests.support.jobs import CLUSTER, POOL, new_job, success, worker
from tests.support.postgres import Clock


async def test_a_submitted_job_is_read_back_as_it_was_written(store: Store) -> None:
    spec = a_spec(prompt='emoji 🎬, "quotes", \\ and \n lines', seed=2**32 - 1, guidance_scale=6.25)
    job = new_job(spec=spec, request={"model": "CogVideoX-3", "nested": {"n": [1, None]}}, cost=12.5)
    submitted = await store.submit(job)
    assert await store.get(job.id, "acme") == submitted
    assert (submitted.state, submitted.spec, submitted.request, submitted.cost) == (
        JobState.QUEUED, spec, job.request, 12.5,
    )  # fmt: skip


async def test_concurrent_submits_share_transactions(store: Store, database: asyncpg.Connection) -> None:
    jobs = [new_job(f"tenant{i % 7}") for i in range(200)]
    submitted = await asyncio.gather(*(store.submit(job) for job in jobs))
    assert [job.id for job in submitted] == [job.id for job in jobs]
    assert await database.fetchval("SELECT count(*) FROM jobs") == 200
    assert await database.fetchval("SELECT count(DISTINCT xmin::text) FROM jobs") < 20


async def test_a_row_that_postgresql_cannot_hold_fails_alone(store: Store) -> None:
    bad = new_job(spec=a_spec(prompt="nul \0 byte"))
    surrogate = new_job(spec=a_spec(prompt="half a pair \ud83c"))
    good = [new_job() for _ in range(10)]
    outcomes = await asyncio.gather(
        *(store.submit(job) for job in [*good[:5], bad, surrogate, *good[5:]]), return_exceptions=True
    )
    assert [isinstance(outcome, InvalidField) for outcome in outcomes] == [False] * 5 + [True] * 2 + [False] * 5
    assert len((await store.list_jobs("acme", limit=100)).jobs) == 10


async def test_a_caller_that_leaves_does_not_disturb_its_flight(store: Store) -> None:
    jobs = [new_job() for _ in range(100)]
    calls = [asyncio.create_task(store.submit(job)) for job in jobs]
    await asyncio.sleep(0)
    for call in calls[::3]:
        call.cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    stayed = [job.id for i, job in enumerate(jobs) if i % 3]
    assert [job.id for job in outcomes if not isinstance(job, BaseException)] == stayed
    assert await store.submit(new_job())


async def test_submitting_the_same_id_again_changes_nothing(store: Store, database: asyncpg.Connection) -> None:
    job = new_job()
    first = await store.submit(job)
    assert await store.submit(job) == first
    assert await database.fetchval("SELECT count(*) FROM jobs") == 1


async def test_closing_lands_what_was_submitted(database_url: str, database: asyncpg.Connection) -> None:
    async with Store.open(database_url) as store:
        calls = [asyncio.create_task(store.submit(new_job())) for _ in range(150)]
        await asyncio.sleep(0)
    assert await database.fetchval("SELECT count(*) FROM jobs") == 150
    await asyncio.gather(*calls)


async def test_a_tenant_sees_only_its_own_jobs(store: Store) -> None:
    job = await store.submit(new_job("acme"))
    assert await store.get(job.id, "other") is None
    assert await store.request_cancel(job.id, "other") is None
    assert await store.delete(job.id, "other") is False
    assert (await store.list_jobs("other", limit=10)).jobs == []
    with pytest.raises(NotFound):
        await store.list_jobs("other", limit=10, after=job.id)
    assert (await store.get(job.id, "acme")) == job


async def test_listing_pages_in_creation_order_both_ways(store: Store) -> None:
    ids = [(await store.submit(new_job())).id for _ in range(5)]
    first = await store.list_jobs("acme", limit=2)
    second = await store.list_jobs("acme", limit=2, after=first.jobs[-1].id)
    third = await store.list_jobs("acme", limit=2, after=second.jobs[-1].id)
    assert [job.id for page in (first, second, third) for job in page.jobs] == ids[::-1]
    assert [page.has_more for page in (first, second, third)] == [True, True, False]
    up = await store.list_jobs("acme", limit=3, after=ids[0], order="asc")
    assert ([job.id for job in up.jobs], up.has_more) == (ids[1:4], True)


async def test_paging_survives_the_deletion_of_its_last_job(store: Store) -> None:
    ids = [(await store.submit(new_job())).id for _ in range(4)]
    await store.delete(ids[2], "acme")
    assert [job.id for job in (await store.list_jobs("acme", limit=9, after=ids[2])).jobs] == ids[1::-1]
    with pytest.raises(NotFound):
        await store.list_jobs("acme", limit=9, after=uuid_utils.compat.uuid7())


async def test_cancelling_a_waiting_job_ends_it_at_once(store: Store, database: asyncpg.Connection) -> None:
    job = await store.submit(new_job())
    cancelled = await store.request_cancel(job.id, "acme")
    assert cancelled is not None
    assert (cancelled.state, cancelled.cancel_requested) == (JobState.CANCELLED, True)
    assert cancelled.finished_at is not None
    assert await store.request_cancel(job.id, "acme") == cancelled
    assert await store.claim(POOL, CLUSTER, [worker()]) == []
    assert [tuple(row) for row in await database.fetch("SELECT job_id, event FROM outbox")] == [
        (job.id, "job.cancelled")
    ]


async def test_cancelling_a_running_job_is_a_request(store: Store) -> None:
    job = await store.submit(new_job())
    [claim] = await store.claim(POOL, CLUSTER, [worker()])
    asked = await store.request_cancel(job.id, "acme")
    assert asked is not None
    assert (asked.state, asked.cancel_requested, asked.finished_at) == (JobState.RUNNING, True, None)
    assert await store.cancel_requests(CLUSTER) == {claim.token}
    assert await store.cancel_requests("elsewhere") == set()
    assert (await store.running(CLUSTER))[0].cancel_requested


async def test_cancelling_a_finished_job_leaves_it(store: Store) -> None:
    job = await store.submit(new_job())
    [claim] = await store.claim(POOL, CLUSTER, [worker()])
    await store.settle([success(claim)])
    after = await store.request_cancel(job.id, "acme")
    assert after is not None
    assert (after.state, after.cancel_requested) == (JobState.SUCCEEDED, False)


async def test_a_held_job_waits_and_can_be_cancelled(store: Store) -> None:
    job = await store.submit(new_job(held=True))
    assert job.state is JobState.HELD
    assert await store.claim(POOL, CLUSTER, [worker()]) == []
    assert await store.queue_depth() == [
        QueueDepth(pool=POOL, state=JobState.HELD, count=1, oldest_age_s=pytest.approx(0, abs=60))
    ]
    cancelled = await store.request_cancel(job.id, "acme")
    assert cancelled is not None
    assert cancelled.state is JobState.CANCELLED


@pytest.mark.parametrize("stage", ["waiting", "running", "finished"])
async def test_a_deleted_job_is_gone_for_its_owner(store: Store, stage: str) -> None:
    job = await store.submit(new_job())
    claims = [] if stage == "waiting" else await store.claim(POOL, CLUSTER, [worker()])
    if stage == "finished":
        await store.settle([success(claims[0])])
    assert await store.delete(job.id, "acme") is True
    assert await store.get(job.id, "acme") is None
    assert (await store.list_jobs("acme", limit=10)).jobs == []
    assert await store.request_cancel(job.id, "acme") is None
    assert await store.delete(job.id, "acme") is False
    assert await store.cancel_requests(CLUSTER) == ({claims[0].token} if stage == "running" else set())


async def test_the_queue_is_counted_by_pool_and_state_with_the_oldest_age(store: Store, clock: Clock) -> None:
    await store.submit(new_job())
    await clock.advance(10)
    await store.submit(new_job())
    await store.submit(new_job(run_at=await clock.now() + timedelta(hours=1)))
    await store.submit(new_job(pool="other"))
    await store.claim("other", CLUSTER, [worker()])
    await clock.advance(5)
    assert await store.queue_depth() == [
        QueueDepth(pool="other", state=JobState.RUNNING, count=1, oldest_age_s=5.0),
        QueueDepth(pool=POOL, state=JobState.QUEUED, count=3, oldest_age_s=15.0),
    ]

"""Submitting under a key and under limits: one job per key, and exactly as many as fit, whoever submits at once."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from orchestrator.domain.errors import KeyReused, LimitExceeded, StoreUnavailable
from orchestrator.domain.job import Job, NewJob
from orchestrator.policy.limits import NO_LIMITS, Limits
from orchestrator.store import Store
from tests.support.jobs import CLUSTER, POOL, new_job, success, workers
from tests.support.postgres import Clock

PROCESSES = 4
Fate = Job | BaseException


def keyed(key: str = "once", asked: str = "this", **changes: Any) -> NewJob:
    return new_job(idempotency_key=key, request_hash=asked, **changes)


async def together(store: Store, jobs: Sequence[NewJob]) -> list[Fate]:
    """Submit them in one moment, so that they share flights."""
    return await asyncio.gather(*(store.submit(job) for job in jobs), return_exceptions=True)


async def everywhere(url: str, jobs: Sequence[NewJob], limits: Limits = NO_LIMITS) -> list[Fate]:
    """Submit them at once from several event loops, each with a store of its own, as API processes do."""

    async def one_process(share: Sequence[NewJob]) -> list[Fate]:
        async with Store.open(url, limits=limits) as store:
            return await together(store, share)

    with ThreadPoolExecutor(PROCESSES) as threads:
        loop = asyncio.get_running_loop()
        shares = [jobs[i::PROCESSES] for i in range(PROCESSES)]
        fates = await asyncio.gather(
            *(loop.run_in_executor(threads, lambda s: asyncio.run(one_process(s)), share) for share in shares)
        )
    return [fate for share in fates for fate in share]


def accepted(fates: Sequence[Fate]) -> list[Job]:
    """The jobs among these; everything else must be a limit's refusal."""
    assert all(isinstance(fate, Job | LimitExceeded) for fate in fates), fates
    return [fate for fate in fates if isinstance(fate, Job)]


async def rows(database: asyncpg.Connection) -> int:
    count: int = await database.fetchval("SELECT count(*) FROM jobs")
    return count


async def test_sixty_four_submitters_of_one_key_get_one_job(database_url: str, database: asyncpg.Connection) -> None:
    fates = await everywhere(database_url, [keyed() for _ in range(64)])
    assert len({job.id for job in accepted(fates)}) == 1
    assert await rows(database) == 1


async def test_the_first_of_a_key_wins_and_another_request_under_it_is_refused(
    store: Store, database: asyncpg.Connection
) -> None:
    first, other = keyed(), keyed(asked="that")
    assert [job.id for job in accepted(await together(store, [first, keyed(), keyed()]))] == [first.id] * 3
    for reused in (*await together(store, [other, replace(other, id=keyed().id)]), *await together(store, [other])):
        assert isinstance(reused, KeyReused)
        assert reused.param == "idempotency_key"
    assert await rows(database) == 1


async def test_a_key_belongs_to_its_tenant_and_disturbs_nobody_of_its_batch(store: Store) -> None:
    jobs = [keyed(), keyed(tenant="other"), keyed("another"), new_job(), keyed()]
    fates = accepted(await together(store, jobs))
    assert [job.id for job in fates] == [*(job.id for job in jobs[:4]), jobs[0].id]


async def test_the_key_of_a_deleted_job_is_free_again(store: Store) -> None:
    first, second = keyed(), keyed(asked="that")
    await store.submit(first)
    await store.delete(first.id, "acme")
    assert (await store.submit(second)).id == second.id
    assert (await store.submit(keyed(asked="that"))).id == second.id


async def test_an_ended_job_still_answers_for_its_key(store: Store) -> None:
    first = await store.submit(keyed())
    [claim] = await store.claim(POOL, CLUSTER, workers(1))
    await store.settle([success(claim)])
    repeated = await store.submit(keyed())
    assert (repeated.id, repeated.state) == (first.id, "succeeded")


@pytest.mark.parametrize("limits", [{"queued": 10}, {"gpu_seconds_per_day": 940.0}])
async def test_sixty_four_submitters_get_exactly_the_places_that_there_are(
    store: Store, database_url: str, database: asyncpg.Connection, limits: dict[str, float]
) -> None:
    await store.set_limits("acme", limits)
    fates = await everywhere(database_url, [new_job() for _ in range(64)])
    assert len(accepted(fates)) == await rows(database) == 10
    refusals = [fate for fate in fates if isinstance(fate, LimitExceeded)]
    assert {refusal.limit for refusal in refusals} == set(limits)
    assert all(refusal.retry_after_s for refusal in refusals)


async def test_the_deployments_limits_hold_for_whoever_has_none_of_their_own(
    store: Store, database_url: str, database: asyncpg.Connection
) -> None:
    await store.set_limits("free", {"queued": math.inf})
    await store.set_limits("small", {"queued": 2, "gpu_seconds_per_day": math.inf})
    jobs = [new_job(tenant) for _ in range(16) for tenant in ("free", "small", "unknown", "acme")]
    await everywhere(database_url, jobs, Limits(queued=5))
    counted = {
        row["tenant"]: row["count"] for row in await database.fetch("SELECT tenant, count(*) FROM jobs GROUP BY 1")
    }
    assert counted == {"free": 16, "small": 2, "unknown": 5, "acme": 5}


async def test_in_one_batch_the_first_that_fit_are_taken_and_others_tenants_are_not_touched(store: Store) -> None:
    await store.set_limits("acme", {"queued": 3})
    jobs = [new_job(tenant) for _ in range(10) for tenant in ("acme", "free")]
    fates = await together(store, jobs)
    taken = {job.id for job in accepted(fates)}
    assert taken == {job.id for job in jobs[1::2]} | {job.id for job in jobs[0:6:2]}


async def test_a_place_is_free_once_a_job_has_started_or_ended(store: Store) -> None:
    await store.set_limits("acme", {"queued": 2})
    await together(store, [new_job(), new_job()])
    with pytest.raises(LimitExceeded):
        await store.submit(new_job())
    [claim] = await store.claim(POOL, CLUSTER, workers(1))
    fresh = await store.submit(new_job())
    await store.request_cancel(fresh.id, "acme")
    await store.submit(new_job())
    await store.settle([success(claim)])
    with pytest.raises(LimitExceeded):
        await store.submit(new_job(held=True))


async def test_a_day_counts_what_was_used_and_what_is_foreseen_and_ends_at_midnight(store: Store, clock: Clock) -> None:
    await clock.advance(20 * 3600)
    await store.set_limits("acme", {"gpu_seconds_per_day": 200.0})
    await together(store, [new_job(cost=90.0), new_job(cost=90.0)])
    [claim] = await store.claim(POOL, CLUSTER, workers(1))
    with pytest.raises(LimitExceeded) as refused:
        await store.submit(new_job(cost=30.0))
    assert refused.value.retry_after_s == 4 * 3600
    await store.settle([success(claim, gpu_seconds=60.0)])  # 30 less than was foreseen
    await store.submit(new_job(cost=30.0))
    with pytest.raises(LimitExceeded) as hopeless:
        await store.submit(new_job(cost=201.0))
    assert hopeless.value.retry_after_s is None
    await clock.advance(4 * 3600)
    await store.submit(new_job(cost=80.0))


async def test_a_full_queue_does_not_refuse_a_repetition(store: Store) -> None:
    await store.set_limits("acme", {"queued": 1})
    first = await store.submit(keyed())
    fates = await together(store, [keyed(), keyed("new"), keyed("new"), keyed(asked="that")])
    assert isinstance(fates[0], Job)
    assert fates[0].id == first.id
    assert [type(fate) for fate in fates[1:]] == [LimitExceeded, LimitExceeded, KeyReused]


async def test_lowered_limits_leave_what_is_there_and_defaults_come_back(store: Store) -> None:
    await together(store, [new_job() for _ in range(5)])
    await store.set_limits("acme", {"queued": 2, "requests_per_s": 0.5})
    with pytest.raises(LimitExceeded, match="5 videos are waiting"):
        await store.submit(new_job())
    await store.set_limits("acme", {"queued": None})
    await store.submit(new_job())
    assert await store.limits_of("acme") == Limits(requests_per_s=0.5)
    assert await store.limits_of("nobody") == Limits()
    [tenant] = await store.list_tenants()
    assert (tenant.name, tenant.weight, tenant.limits) == ("acme", 1.0, Limits(requests_per_s=0.5))


async def test_a_limited_submit_whose_answer_was_lost_is_found_and_not_refused(
    store: Store, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.set_limits("acme", {"queued": 1})
    real, lost = store._database.transact, []

    async def breaks_after_the_commit(work: Callable[[Any], Awaitable[Any]]) -> Any:
        done = await real(work)
        if not lost:
            lost.append(done)
            raise StoreUnavailable("the connection broke")
        return done

    monkeypatch.setattr(store._database, "transact", breaks_after_the_commit)
    job = new_job()
    assert (await store.submit(job)).id == job.id
    assert lost
    assert await rows(database) == 1

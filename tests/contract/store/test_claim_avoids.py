"""A job that failed goes to another worker than the one that failed it, where there is one; nobody else waits."""

from __future__ import annotations

from collections import Counter

import pytest

from orchestrator.domain.job import Claim, Job, WorkerRef
from orchestrator.domain.outcome import Ending
from orchestrator.store import Store
from tests.support.jobs import CLUSTER, POOL, broke, ending, evicted, lost, new_job, released, success, worker
from tests.support.postgres import Clock

W0, W1 = worker("w0"), worker("w1")
# More than the store's bound: by then a job is anybody's.
LONG_S = 60


async def alive(store: Store, *present: WorkerRef) -> None:
    await store.beat(CLUSTER, dict.fromkeys(present, POOL))


async def claim(store: Store, *slots: WorkerRef) -> list[Claim]:
    return await store.claim(POOL, CLUSTER, slots)


async def dealt(store: Store, *slots: WorkerRef) -> dict[str, list[str]]:
    """The jobs that each worker got, by their ids, in order."""
    found: dict[str, list[str]] = {}
    for each in await claim(store, *slots):
        found.setdefault(each.worker.name, []).append(str(each.job_id))
    return found


async def failed_on(store: Store, who: WorkerRef, how: Ending | None = None, **changes: object) -> Job:
    """A job that this worker has failed, and that is ready again."""
    job = await store.submit(new_job(**changes))  # type: ignore[arg-type]
    (held,) = await claim(store, who)
    assert held.job_id == job.id
    await store.settle([ending(held, how or broke())])
    return job


@pytest.mark.parametrize("how", [broke(), lost()], ids=["failed", "lost"])
async def test_a_job_is_kept_from_the_worker_that_failed_it_while_another_lives(store: Store, how: Ending) -> None:
    await alive(store, W0, W1)
    job = await failed_on(store, W0, how)
    assert await dealt(store, W0) == {}
    assert await dealt(store, W0, W0) == {}
    assert await dealt(store, W1) == {"w1": [str(job.id)]}


@pytest.mark.parametrize("slots", [(W0, W1), (W1, W0), (W0, W0, W1)], ids=["first", "last", "two of its slots"])
async def test_with_slots_of_both_it_gets_the_other_ones_and_the_next_job_gets_the_first(
    store: Store, slots: tuple[WorkerRef, ...]
) -> None:
    await alive(store, W0, W1)
    job = await failed_on(store, W0)
    others = [await store.submit(new_job()) for _ in range(len(slots) - 1)]
    assert await dealt(store, *slots) == {"w1": [str(job.id)], "w0": [str(each.id) for each in others]}


@pytest.mark.parametrize("slots", [(W0, W1), (W1, W0), (W0, W0, W1, W1)], ids=["", "reversed", "two each"])
async def test_jobs_that_failed_on_each_others_workers_change_places(
    store: Store, slots: tuple[WorkerRef, ...]
) -> None:
    await alive(store, W0, W1)
    jobs = [await store.submit(new_job()) for _ in slots]
    held = {each.job_id: each for each in await claim(store, *slots)}
    await store.settle([ending(each, broke()) for each in held.values()])
    again = {each.job_id: each.worker for each in await claim(store, *slots)}
    assert {job.id: again[job.id] for job in jobs} == {job.id: W1 if held[job.id].worker == W0 else W0 for job in jobs}


async def test_where_only_its_own_worker_is_left_a_job_waits_and_its_seat_does_not(store: Store) -> None:
    await alive(store, W0, W1)
    first, second = [await store.submit(new_job()) for _ in range(2)]
    held = await claim(store, W0, W0)
    await store.settle([ending(each, broke()) for each in held])
    assert await dealt(store, W0, W1) == {"w1": [str(first.id)]}
    other = await store.submit(new_job())
    assert await dealt(store, W0) == {"w0": [str(other.id)]}
    assert await dealt(store, W0, W1) == {"w1": [str(second.id)]}


@pytest.mark.parametrize("capped", [False, True])
async def test_the_seat_that_a_job_is_too_shy_for_is_the_next_ones_at_once(store: Store, capped: bool) -> None:
    await alive(store, W0, W1)
    if capped:
        await store.set_limits("somebody", {"running": 1})
    jobs = [await store.submit(new_job()) for _ in range(2)]
    held = await claim(store, W0, W0)
    await store.settle([ending(each, broke()) for each in held])
    third = await store.submit(new_job())
    assert await dealt(store, W0, W1) == {"w1": [str(jobs[0].id)], "w0": [str(third.id)]}


async def test_who_passes_a_job_over_takes_the_next_one(store: Store) -> None:
    await alive(store, W0, W1)
    job = await failed_on(store, W0)
    other = await store.submit(new_job())
    assert await dealt(store, W0) == {"w0": [str(other.id)]}
    assert await dealt(store, W1) == {"w1": [str(job.id)]}


async def test_after_a_while_anybody_may(store: Store, clock: Clock) -> None:
    await alive(store, W0, W1)
    job = await failed_on(store, W0)
    assert await dealt(store, W0) == {}
    await clock.advance(LONG_S)
    await alive(store, W0, W1)
    assert await dealt(store, W0) == {"w0": [str(job.id)]}


async def test_a_worker_alone_tries_again_at_once(store: Store) -> None:
    await alive(store, W0)
    job = await failed_on(store, W0)
    assert await dealt(store, W0) == {"w0": [str(job.id)]}


async def test_a_dead_worker_and_one_of_another_pool_are_no_others(store: Store) -> None:
    await alive(store, W0, W1)
    await store.declare_dead(CLUSTER, W1)
    await store.beat(CLUSTER, {worker("w2"): "elsewhere"})
    job = await failed_on(store, W0)
    assert await dealt(store, W0) == {"w0": [str(job.id)]}


@pytest.mark.parametrize("how", [evicted(), released()], ids=["evicted", "released"])
async def test_only_failures_count(store: Store, how: Ending) -> None:
    await alive(store, W0, W1)
    job = await failed_on(store, W0, how)
    assert await dealt(store, W0) == {"w0": [str(job.id)]}


async def test_the_newest_failure_counts(store: Store) -> None:
    await alive(store, W0, W1)
    job = await failed_on(store, W0)
    (held,) = await claim(store, W1)
    await store.settle([ending(held, broke())])
    assert await dealt(store, W1) == {}
    assert await dealt(store, W0) == {"w0": [str(job.id)]}


async def test_a_lane_whose_first_job_is_passed_over_keeps_its_turn(store: Store) -> None:
    await alive(store, W0, W1)
    await failed_on(store, W0, tenant="shy")
    for tenant in ("shy", "other"):
        for _ in range(10):
            await store.submit(new_job(tenant))
    got: Counter[str] = Counter()
    for _ in range(10):
        (held,) = await claim(store, W0)
        got[held.tenant] += 1
        await store.settle([success(held, held.cost)])
    assert abs(got["shy"] - got["other"]) <= 2


async def test_the_dealing_changes_who_gets_what_but_not_which_jobs_go_first(store: Store) -> None:
    await alive(store, W0, W1)
    job = await failed_on(store, W0, tenant="a")
    for tenant in ("b", "c", "d"):
        for _ in range(4):
            await store.submit(new_job(tenant))
    # Without the failure, four slots go to one job of each of the four lanes; they still do.
    claims = await claim(store, W0, W0, W1, W1)
    assert Counter(each.tenant for each in claims) == {"a": 1, "b": 1, "c": 1, "d": 1}
    assert {each.worker for each in claims if each.job_id == job.id} == {W1}
    assert Counter(each.worker for each in claims) == {W0: 2, W1: 2}

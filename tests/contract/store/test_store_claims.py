"""Claiming: who gets which job, and that waiting tenants share the GPU seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import asyncpg
import pytest

from orchestrator.domain.job import Claim
from orchestrator.domain.states import JobState
from orchestrator.store import Store
from tests.support.jobs import CLUSTER, POOL, ending, new_job, released, success, worker, workers
from tests.support.postgres import Clock


async def submit(store: Store, tenant: str, count: int, **changes: object) -> None:
    for _ in range(count):
        await store.submit(new_job(tenant, **changes))


async def claim(store: Store, count: int, *, gpu_seconds: float | None = None) -> Sequence[Claim]:
    """Claim, and finish what was claimed at its predicted cost unless told otherwise."""
    claims = await store.claim(POOL, CLUSTER, workers(count))
    await store.settle([success(c, c.cost if gpu_seconds is None else gpu_seconds) for c in claims])
    return claims


async def shares(store: Store, rounds: int, batch: int = 1) -> Counter[str]:
    return Counter([c.tenant for _ in range(rounds) for c in await claim(store, batch)])


async def test_a_claim_deals_one_job_to_each_slot_in_order(store: Store) -> None:
    ids = [(await store.submit(new_job())).id for _ in range(3)]
    slots = workers(5)
    claims = await store.claim(POOL, CLUSTER, slots)
    assert [c.job_id for c in claims] == ids
    assert [c.worker for c in claims] == slots[:3]
    assert len({c.token for c in claims}) == 3
    assert [c.number for c in claims] == [1, 1, 1]
    job = await store.get(ids[0], "acme")
    assert job is not None
    assert (job.state, job.claims) == (JobState.RUNNING, 1)
    assert job.started_at is not None
    assert await store.claim(POOL, CLUSTER, slots) == []
    assert await store.claim(POOL, CLUSTER, []) == []


async def test_a_claim_sees_only_its_pool(store: Store) -> None:
    await store.submit(new_job(pool="other"))
    assert await store.claim(POOL, CLUSTER, workers(1)) == []


async def test_every_claim_of_a_job_has_a_fresh_token_and_number(store: Store) -> None:
    await store.submit(new_job())
    seen = []
    for _ in range(3):
        [c] = await store.claim(POOL, CLUSTER, workers(1))
        await store.settle([ending(c, released())])
        seen.append(c)
    assert [c.number for c in seen] == [1, 2, 3]
    assert len({c.token for c in seen}) == 3


async def test_a_dead_worker_gets_nothing_and_the_next_slot_gets_its_job(store: Store) -> None:
    await submit(store, "acme", 2)
    dead, alive = worker("w0"), worker("w1")
    await store.beat(CLUSTER, {dead: POOL, alive: POOL})
    await store.declare_dead(CLUSTER, dead)
    assert [c.worker for c in await store.claim(POOL, CLUSTER, [dead, alive])] == [alive]


async def test_a_job_for_later_is_claimable_once_it_was_woken(store: Store, clock: Clock) -> None:
    job = await store.submit(new_job(run_at=await clock.now() + timedelta(seconds=60)))
    await clock.advance(59)
    assert await store.wake_due() == 0
    await clock.advance(1)
    assert await store.claim(POOL, CLUSTER, workers(1)) == []
    assert await store.wake_due() == 1
    assert [c.job_id for c in await store.claim(POOL, CLUSTER, workers(1))] == [job.id]


async def test_a_lower_priority_number_goes_first_and_deadlines_order_a_lane(store: Store, clock: Clock) -> None:
    soon = await clock.now() + timedelta(hours=1)
    bulk = await store.submit(new_job(priority=5))
    plain = await store.submit(new_job("b"))
    late = await store.submit(new_job("b", deadline=soon + timedelta(hours=1)))
    early = await store.submit(new_job("b", deadline=soon))
    claims = await store.claim(POOL, CLUSTER, workers(4))
    assert [c.job_id for c in claims] == [early.id, late.id, plain.id, bulk.id]


async def test_a_newcomer_gets_its_share_against_a_backlog(store: Store) -> None:
    await submit(store, "backlog", 60)
    assert await shares(store, 20) == {"backlog": 20}
    await submit(store, "newcomer", 30)
    got = await shares(store, 20)
    assert abs(got["newcomer"] - got["backlog"]) <= 2


async def test_many_tenants_share_a_batch(store: Store) -> None:
    for i in range(8):
        await submit(store, f"t{i}", 10 if i else 40)
    got = await shares(store, 4, batch=16)
    assert set(got.values()) == {8}


async def test_cost_counts_not_the_number_of_jobs(store: Store) -> None:
    await submit(store, "long", 20, cost=90.0)
    await submit(store, "short", 60, cost=30.0)
    got = await shares(store, 24)
    assert abs(30 * got["short"] - 90 * got["long"]) <= 30 + 90  # the bound of the paper: one job of each


async def test_weights_divide_the_gpu_seconds(store: Store) -> None:
    await submit(store, "gold", 40)
    await submit(store, "plain", 40)
    await store.set_weight("gold", 3.0)
    got = await shares(store, 32)
    assert abs(got["gold"] - 3 * got["plain"]) <= 4


async def test_a_weight_set_before_the_first_job_holds(store: Store) -> None:
    await store.set_weight("gold", 3.0)
    await submit(store, "gold", 40)
    await submit(store, "plain", 40)
    got = await shares(store, 16, batch=2)
    assert abs(got["gold"] - 3 * got["plain"]) <= 4


async def test_an_idle_tenant_saves_nothing_up(store: Store) -> None:
    await submit(store, "idler", 1)
    await submit(store, "busy", 80)
    assert (await shares(store, 40))["busy"] == 39
    await submit(store, "idler", 40)
    got = await shares(store, 20)
    assert abs(got["idler"] - got["busy"]) <= 2


async def test_a_whole_idle_pool_keeps_no_grudges(store: Store) -> None:
    await submit(store, "old", 30)
    await shares(store, 31)
    await submit(store, "new", 20)
    await submit(store, "old", 20)
    got = await shares(store, 20)
    assert abs(got["new"] - got["old"]) <= 2


async def test_what_was_used_counts_not_what_was_predicted(store: Store) -> None:
    await submit(store, "overestimated", 60)
    await submit(store, "exact", 60)
    got: Counter[str] = Counter()
    for _ in range(30):
        [c] = await store.claim(POOL, CLUSTER, workers(1))
        await store.settle([success(c, 30.0 if c.tenant == "overestimated" else 90.0)])
        got[c.tenant] += 1
    assert abs(30 * got["overestimated"] - 90 * got["exact"]) <= 30 + 90


@pytest.mark.parametrize("weight", [1.0, 4.0])
async def test_a_lane_pays_by_its_weight_for_what_was_predicted_and_for_what_was_used(
    store: Store, database: asyncpg.Connection, weight: float
) -> None:
    """A claim charges the prediction, a finish corrects it, a release gives it all back: each divided by the weight."""
    await store.set_weight("acme", weight)
    await submit(store, "acme", 2, cost=60.0)
    paid = "SELECT vtime FROM lanes WHERE tenant = 'acme'"
    before = await database.fetchval("SELECT coalesce(max(vtime), 0) FROM lanes WHERE tenant = 'acme'")
    [first] = await store.claim(POOL, CLUSTER, workers(1))
    assert await database.fetchval(paid) == pytest.approx(before + 60 / weight)
    await store.settle([success(first, 12.0)])
    assert await database.fetchval(paid) == pytest.approx(before + 12 / weight)
    [second] = await store.claim(POOL, CLUSTER, workers(1))
    assert await database.fetchval(paid) == pytest.approx(before + 72 / weight)
    await store.settle([ending(second, released())])
    assert await database.fetchval(paid) == pytest.approx(before + 12 / weight)


async def test_no_newcomer_starves_among_lanes_that_reach_the_clock(store: Store) -> None:
    for i in range(6):
        await submit(store, f"a{i}", 20)
    await shares(store, 12)
    await submit(store, "zz", 1)
    assert (await shares(store, 7))["zz"] == 1


async def test_a_released_claim_costs_its_tenant_nothing(store: Store) -> None:
    await submit(store, "unlucky", 30)
    for _ in range(10):
        [c] = await store.claim(POOL, CLUSTER, workers(1))
        await store.settle([ending(c, released())])
    await submit(store, "other", 30)
    got = await shares(store, 10)
    assert abs(got["unlucky"] - got["other"]) <= 1


async def test_a_newcomer_does_not_wait_for_time_that_finishes_gave_back(store: Store) -> None:
    await submit(store, "overestimated", 60)
    await claim(store, 32, gpu_seconds=1.0)
    await submit(store, "newcomer", 10)
    got = await shares(store, 8)
    assert got["newcomer"] >= 3


async def test_a_job_behind_the_cursor_is_late_by_a_second_at_most_and_never_missed(store: Store, clock: Clock) -> None:
    first = await store.submit(new_job())
    await submit(store, "acme", 5)
    [c] = await store.claim(POOL, CLUSTER, workers(1))
    await claim(store, 1)
    await store.settle([ending(c, released())])
    assert first.id not in {c.job_id for c in await claim(store, 2)}
    await clock.advance(1.0)
    assert [c.job_id for c in await store.claim(POOL, CLUSTER, workers(1))] == [first.id]
    urgent = await store.submit(new_job(deadline=await clock.now() + timedelta(hours=1)))
    assert [c.job_id for c in await store.claim(POOL, CLUSTER, workers(9))][-1] == urgent.id


@pytest.mark.parametrize("capped", [False, True], ids=["uncapped", "capped"])
async def test_a_claim_for_what_is_more_urgent_leaves_the_rest_and_shares_as_fairly(store: Store, capped: bool) -> None:
    if capped:
        await store.set_limits("many", {"running": 3})
    await submit(store, "many", 8, priority=5)
    await submit(store, "few", 4, priority=5)
    await submit(store, "bulk", 3, priority=20)
    assert await store.claim(POOL, CLUSTER, workers(9), more_urgent_than=5) == []
    got = await store.claim(POOL, CLUSTER, workers(6), more_urgent_than=20)
    assert Counter(c.tenant for c in got) == {"many": 3, "few": 3}
    assert {c.priority for c in got} == {5}
    rest = await store.claim(POOL, CLUSTER, workers(9), more_urgent_than=20)
    assert Counter(c.tenant for c in rest) == ({"few": 1} if capped else {"many": 5, "few": 1})
    assert {c.tenant for c in await store.claim(POOL, CLUSTER, workers(9))} == {"bulk"}


async def test_a_queued_job_knows_where_it_stands_before_and_after_others_were_served(store: Store) -> None:
    await store.set_limits("acme", {"running": 5})
    await store.set_weight("birch", 2.0)
    for tenant, priority in (("acme", 10), ("acme", 10), ("birch", 10), ("birch", 10), ("cedar", 5)):
        await store.submit(new_job(tenant, priority=priority))
    mine = new_job("acme", priority=10)
    await store.submit(mine)
    turn = await store.turn(mine.id)
    assert turn is not None
    assert (turn.due_in_s <= 0, turn.most, turn.running) == (True, 5, 0)
    assert (turn.ahead, turn.ahead_s, turn.more_urgent, turn.had_less) == (2, 180.0, 0, 0)  # no claim has looked yet
    assert [claim.tenant for claim in await store.claim(POOL, CLUSTER, workers(3))] == ["cedar", "acme", "birch"]
    for _ in range(2):
        await store.submit(new_job("cedar", priority=5))
    (urgent,) = await store.claim(POOL, CLUSTER, workers(4)[3:])
    assert urgent.tenant == "cedar"
    turn = await store.turn(mine.id)
    assert turn is not None
    assert (turn.running, turn.running_here, turn.ahead, turn.more_urgent, turn.had_less) == (1, 1, 1, 1, 1)
    assert await store.turn(urgent.job_id) is None

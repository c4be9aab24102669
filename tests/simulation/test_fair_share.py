"""The claim statement does what `policy/fair_share.py` says: job for job, and in what it leaves in every lane.

Hypothesis deals jobs, claims, endings, weights, caps and guarantees; after each claim both must have given out the
same jobs in the same order, and charged the same. Costs are whole and weights are powers of two, so that floats are
exact. The clock is stopped and moved by two seconds before each claim: then a claim reads its lanes from their
beginning, as the policy says. Otherwise what became ready behind a cursor may go a second late (`store/claim.py`).
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from orchestrator.domain.job import Claim
from orchestrator.policy import fair_share
from orchestrator.policy.fair_share import Lane, Waiting
from orchestrator.policy.limits import Limits
from orchestrator.ports import Share
from orchestrator.store import Store
from tests.support.jobs import CLUSTER, POOL, new_job, success, workers
from tests.support.postgres import Clock

BEGINNING = datetime(2031, 1, 1, tzinfo=UTC)
TENANTS = ("acme", "birch", "cedar", "dune")
PRIORITIES = (0, 10, 20)
NO_DEADLINE = 3
# Quicker than TRUNCATE where a table has a few rows.
_EMPTY = "".join(
    f"DELETE FROM {table};"
    for table in ("outbox", "usage", "attempts", "jobs", "lanes", "shares", "tenants", "workers")
)

# Few different values: the ties between lanes are where policies differ.
tenants = st.sampled_from(TENANTS)
costs = st.sampled_from([8, 16])
jobs = st.lists(st.tuples(costs, st.integers(1, NO_DEADLINE)), min_size=1, max_size=6)
submits = st.tuples(st.just("submit"), tenants, st.sampled_from(PRIORITIES), jobs)
claims = st.tuples(st.just("claim"), st.integers(1, 6), st.sampled_from([None, None, None, 20]))
ends = st.tuples(st.just("end"), st.integers(0, 99), st.sampled_from([0, 8, 16, 24]))
weights = st.tuples(st.just("weigh"), tenants, st.sampled_from([1.0, 2.0]))
caps = st.tuples(st.just("cap"), tenants, st.sampled_from([1, 2, 4, None]))
shares = st.tuples(st.just("share"), tenants, st.sampled_from([0, 1, 2, 3]), st.sampled_from([None, None, 3, 4]))


def scenes(*more: st.SearchStrategy[tuple[Any, ...]]) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    """What happens, one after another: at first jobs come, and then anything."""
    anything = st.one_of(submits, claims, claims, claims, ends, ends, st.one_of(weights, *more))
    return st.builds(
        lambda first, then: first + then,
        st.lists(submits, min_size=4, max_size=6),
        st.lists(anything, min_size=25, max_size=35),
    )


class Both:
    """The store and the policy, told the same."""

    def __init__(self, store: Store, database: asyncpg.Connection, clock: Clock, default: float | None) -> None:
        self.store, self.database, self.clock, self.default = store, database, clock, default
        self.lanes: list[Lane] = []
        self.caps: dict[str, int | None] = {}
        self.shares: dict[str, tuple[int, int | None]] = {}
        self.weights: dict[str, float] = {}
        self.running: list[Claim] = []

    async def submit(self, tenant: str, priority: int, asked: list[tuple[int, int]]) -> None:
        """Jobs of one lane: each with its cost in GPU seconds, and the hour until which it is wanted."""
        whens = [None if hour == NO_DEADLINE else BEGINNING + timedelta(hours=hour) for _, hour in asked]
        jobs = [
            new_job(tenant, priority=priority, cost=float(cost), deadline=when)
            for (cost, _), when in zip(asked, whens, strict=True)
        ]
        await asyncio.gather(*map(self.store.submit, jobs))
        lane = next((lane for lane in self.lanes if (lane.tenant, lane.priority) == (tenant, priority)), None)
        if lane is None:
            lane = Lane(tenant=tenant, priority=priority, weight=self.weights.get(tenant, 1.0))
        else:
            self.lanes.remove(lane)
        waiting = [
            Waiting(id=job.id, cost=job.cost, deadline=math.inf if when is None else when.timestamp())
            for job, when in zip(jobs, whens, strict=True)
        ]
        self.lanes.append(replace(lane, jobs=lane.jobs.joined(waiting)))

    async def claim(self, slots: int, more_urgent_than: int | None) -> None:
        await self.clock.advance(2)
        claims = await self.store.claim(POOL, CLUSTER, workers(slots), more_urgent_than=more_urgent_than)
        bound = math.inf if more_urgent_than is None else more_urgent_than
        picks, self.lanes = fair_share.claim(
            self.lanes, slots, room=self._room(), deficits=self._deficits(), more_urgent_than=bound
        )
        assert [claim.job_id for claim in claims] == [pick.job.id for pick in picks]
        self.running += claims
        await self._compare()

    def _room(self) -> dict[str, int] | None:
        caps = {tenant: self.default if self.caps.get(tenant) is None else self.caps[tenant] for tenant in TENANTS}
        caps = {name: _least(cap, self.shares.get(name, (0, None))[1]) for name, cap in caps.items()}
        taken = Counter(claim.tenant for claim in self.running)
        return {name: int(cap) - taken[name] for name, cap in caps.items() if cap is not None} or None

    def _deficits(self) -> dict[str, int] | None:
        taken = Counter(claim.tenant for claim in self.running)
        return {name: guaranteed - taken[name] for name, (guaranteed, _) in self.shares.items()} or None

    async def end(self, which: int, gpu_seconds: int) -> None:
        if not self.running:
            return
        claim = self.running.pop(which % len(self.running))
        await self.store.settle([success(claim, float(gpu_seconds))])
        self.lanes = [
            fair_share.correct(lane, predicted_s=claim.cost, used_s=gpu_seconds)
            if (lane.tenant, lane.priority) == (claim.tenant, claim.priority)
            else lane
            for lane in self.lanes
        ]
        await self._compare()

    async def weigh(self, tenant: str, weight: float) -> None:
        await self.store.set_weight(tenant, weight)
        self.weights[tenant] = weight
        self.lanes = [replace(lane, weight=weight) if lane.tenant == tenant else lane for lane in self.lanes]

    async def cap(self, tenant: str, running: int | None) -> None:
        await self.store.set_limits(tenant, {"running": running})
        self.caps[tenant] = running

    async def share(self, tenant: str, guaranteed: int, running: int | None) -> None:
        await self.store.set_share(Share(tenant=tenant, pool=POOL, guaranteed=guaranteed, running=running))
        self.shares[tenant] = guaranteed, running
        if not guaranteed and running is None:
            del self.shares[tenant]

    async def stand(self, tenant: str, *, vtime: float, served: float, active: bool) -> None:
        """Its lanes stand there, as if they had a history."""
        change = "UPDATE lanes SET vtime = $2, served = $3, active = $4 WHERE tenant = $1"
        await self.database.execute(change, tenant, vtime, served, active)
        self.lanes = [
            replace(lane, vtime=vtime, served=served, active=active) if lane.tenant == tenant else lane
            for lane in self.lanes
        ]

    async def _compare(self) -> None:
        rows = await self.database.fetch("SELECT tenant, priority, weight, vtime, served, active FROM lanes")
        assert {tuple(row) for row in rows} == {
            (lane.tenant, lane.priority, lane.weight, lane.vtime, lane.served, lane.active) for lane in self.lanes
        }


def _least(one: float | None, other: float | None) -> float | None:
    return min((each for each in (one, other) if each is not None), default=None)


Scene = Callable[[Callable[[Both], Coroutine[Any, Any, None]], float | None], None]


@pytest.fixture
def scene(database_url: str) -> Iterator[Scene]:
    """Plays a scene on an empty queue; with so many running jobs that each tenant may have, or None."""
    loop = asyncio.new_event_loop()
    session = loop.run_until_complete(asyncpg.connect(database_url))
    clock = loop.run_until_complete(Clock.install(session))

    def play(happens: Callable[[Both], Coroutine[Any, Any, None]], default: float | None = None) -> None:
        async def played() -> None:
            await session.execute(_EMPTY)
            async with Store.open(database_url, limits=Limits(running=default), connections=1) as store:
                await happens(Both(store, session, clock, default))

        loop.run_until_complete(played())

    yield play
    loop.run_until_complete(session.close())
    loop.close()


@pytest.mark.seeds(1)
@pytest.mark.parametrize("kind", ["plain", "capped", "shared"])
def test_the_statement_carries_out_the_policy(scene: Scene, kind: str, seed: int) -> None:
    more: list[Any] = {"plain": [], "capped": [caps], "shared": [shares, shares, caps]}[kind]

    @hypothesis.seed(seed)
    @settings(
        # Add Phase.shrink to make a counterexample short; with a real database that takes minutes.
        max_examples=15, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(scenes(*more), st.sampled_from([None, 2]) if kind == "capped" else st.none())
    def holds(dealt: list[tuple[Any, ...]], default: float | None) -> None:
        async def happens(both: Both) -> None:
            for name, *arguments in dealt:
                await getattr(both, name)(*arguments)

        scene(happens, default)

    holds()


# Priority, weight, virtual time, served, active, its jobs' GPU seconds.
EXAMPLE = {
    "acme": (10, 1.0, 130.0, 100.0, True, [60, 60]),
    "gold": (10, 2.0, 110.0, 80.0, True, [60, 60, 60]),
    "idle": (10, 1.0, 20.0, 20.0, False, [90, 90]),
}


def test_the_example_at_the_head_of_the_statement_is_so(scene: Scene) -> None:
    async def happens(both: Both) -> None:
        for tenant, (priority, weight, vtime, served, active, costs) in EXAMPLE.items():
            await both.weigh(tenant, weight)
            await both.submit(tenant, priority, [(cost, NO_DEADLINE) for cost in costs])
            await both.stand(tenant, vtime=vtime, served=served, active=active)
        picks, _ = fair_share.claim(both.lanes, 4)
        assert [(pick.tenant, pick.tag) for pick in picks] == [
            ("idle", 100.0), ("gold", 110.0), ("acme", 130.0), ("gold", 140.0),
        ]  # fmt: skip
        await both.claim(4, None)
        assert {lane.tenant: lane.vtime for lane in both.lanes} == {"acme": 190.0, "gold": 170.0, "idle": 190.0}
        await both.claim(2, None)
        assert [claim.tenant for claim in both.running[4:]] == ["gold", "acme"]

    scene(happens)


def test_what_a_tenant_at_its_cap_may_not_take_goes_to_the_most_urgent(scene: Scene) -> None:
    async def happens(both: Both) -> None:
        await both.cap("acme", 1)
        for tenant, priority, count in (("acme", 0, 1), ("acme", 10, 1), ("birch", 10, 3), ("cedar", 20, 1)):
            await both.submit(tenant, priority, [(8, NO_DEADLINE)] * count)
        await both.claim(4, None)
        assert [claim.tenant for claim in both.running] == ["acme", "birch", "birch", "birch"]

    scene(happens)


def test_what_a_tenant_at_its_cap_may_not_take_goes_to_whoever_had_least(scene: Scene) -> None:
    async def happens(both: Both) -> None:
        await both.cap("acme", 1)
        for priority in PRIORITIES:
            await both.submit("acme", priority, [(8, NO_DEADLINE)])
        for tenant, vtime in (("birch", 0.0), ("cedar", 10.0), ("dune", 15.0)):
            await both.submit(tenant, 20, [(10, NO_DEADLINE)] * 3)
            await both.stand(tenant, vtime=vtime, served=0.0, active=True)
        await both.claim(5, None)
        assert [claim.tenant for claim in both.running] == ["acme", "birch", "birch", "cedar", "dune"]

    scene(happens)

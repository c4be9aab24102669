"""The claim statement does what `policy/fair_share.py` says: job for job, and in what it leaves in every lane.

Hypothesis deals jobs, claims, endings, weights and caps; after each claim both must have given out the same jobs in the
same order, and charged the same. Costs are whole and weights are powers of two, so that floats are exact. The clock is
stopped and moved by two seconds before each claim: then a claim reads its lanes from their beginning, as the policy
says; that it may otherwise take up what became ready behind its cursor a second late is in `store/claim.py`.
"""

from __future__ import annotations

import asyncio
import math
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
from orchestrator.store import Store
from tests.support.jobs import CLUSTER, POOL, new_job, success, workers
from tests.support.postgres import Clock

BEGINNING = datetime(2031, 1, 1, tzinfo=UTC)
TENANTS = ("acme", "birch", "cedar")
_TABLES = "jobs, attempts, lanes, tenants, usage, outbox, workers"

# Few different values: the ties between lanes are where policies differ.
tenants = st.sampled_from(TENANTS)
seconds = st.sampled_from([8, 16, 24])
submits = st.tuples(
    st.just("submit"),
    tenants,
    st.sampled_from([0, 10]),
    st.lists(st.tuples(seconds, st.integers(1, 3)), min_size=1, max_size=5),
)
claims = st.tuples(st.just("claim"), st.integers(1, 4), st.sampled_from([None, None, None, 10]))
operations = st.one_of(
    submits,
    submits,
    claims,
    claims,
    claims,
    st.tuples(st.just("end"), st.integers(0, 99), seconds),
    st.tuples(st.just("weigh"), tenants, st.sampled_from([0.5, 1.0, 2.0])),
    st.tuples(st.just("cap"), tenants, st.sampled_from([1, 2, None])),
)


class Both:
    """The store and the policy, told the same."""

    def __init__(self, store: Store, database: asyncpg.Connection, clock: Clock, default: float | None) -> None:
        self.store, self.database, self.clock, self.default = store, database, clock, default
        self.lanes: list[Lane] = []
        self.caps: dict[str, int | None] = {}
        self.weights: dict[str, float] = {}
        self.running: list[Claim] = []

    async def submit(self, tenant: str, priority: int, asked: list[tuple[int, int]]) -> None:
        """Jobs of one lane: each with its cost in GPU seconds, and the hour until which it is wanted; 3 is none."""
        whens = [None if hour == 3 else BEGINNING + timedelta(hours=hour) for _, hour in asked]
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
        waiting = tuple(
            Waiting(id=job.id, cost=job.cost, deadline=math.inf if when is None else when.timestamp())
            for job, when in zip(jobs, whens, strict=True)
        )
        self.lanes.append(replace(lane, jobs=lane.jobs + waiting))

    async def claim(self, slots: int, more_urgent_than: int | None) -> None:
        await self.clock.advance(2)
        claims = await self.store.claim(POOL, CLUSTER, workers(slots), more_urgent_than=more_urgent_than)
        bound = math.inf if more_urgent_than is None else more_urgent_than
        picks, self.lanes = fair_share.claim(self.lanes, slots, room=self._room(), more_urgent_than=bound)
        assert [claim.job_id for claim in claims] == [pick.job.id for pick in picks]
        self.running += claims
        await self._compare()

    def _room(self) -> dict[str, int] | None:
        caps = {tenant: self.default if self.caps.get(tenant) is None else self.caps[tenant] for tenant in TENANTS}
        capped = any(cap is not None for cap in caps.values())
        taken = [claim.tenant for claim in self.running]
        return {name: int(cap) - taken.count(name) for name, cap in caps.items() if cap is not None} if capped else None

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

    async def _compare(self) -> None:
        rows = await self.database.fetch("SELECT tenant, priority, weight, vtime, served, active FROM lanes")
        assert {tuple(row) for row in rows} == {
            (lane.tenant, lane.priority, lane.weight, lane.vtime, lane.served, lane.active) for lane in self.lanes
        }


Scene = Callable[[Callable[[Both], Coroutine[Any, Any, None]], float | None], None]


@pytest.fixture
def scene(database_url: str) -> Iterator[Scene]:
    """Plays a scene on an empty queue; with so many running jobs that each tenant may have, or None."""
    loop = asyncio.new_event_loop()
    session = loop.run_until_complete(asyncpg.connect(database_url))
    clock = loop.run_until_complete(Clock.install(session))

    def play(happens: Callable[[Both], Coroutine[Any, Any, None]], default: float | None = None) -> None:
        async def played() -> None:
            await session.execute(f"TRUNCATE {_TABLES}")
            async with Store.open(database_url, limits=Limits(running=default), connections=1) as store:
                await happens(Both(store, session, clock, default))

        loop.run_until_complete(played())

    yield play
    loop.run_until_complete(session.close())
    loop.close()


@pytest.mark.seeds(1)
@pytest.mark.parametrize("default", [None, 2], ids=["uncapped", "capped"])
def test_the_statement_carries_out_the_policy(scene: Scene, default: float | None, seed: int) -> None:
    @hypothesis.seed(seed)
    @settings(
        max_examples=40,
        deadline=None,
        # Add Phase.shrink to make a counterexample short; with a real database that takes minutes.
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(operations, min_size=10, max_size=30))
    def holds(dealt: list[tuple[Any, ...]]) -> None:
        async def happens(both: Both) -> None:
            for name, *arguments in dealt:
                await getattr(both, name)(*arguments)

        scene(happens, default)

    holds()


def test_the_example_at_the_head_of_the_statement_is_so(scene: Scene) -> None:
    async def happens(both: Both) -> None:
        for tenant, weight, count, cost in (("acme", 1.0, 2, 60), ("gold", 2.0, 3, 60), ("idle", 1.0, 2, 90)):
            await both.weigh(tenant, weight)
            await both.submit(tenant, 10, [(cost, 3)] * count)
        now = {"acme": (130.0, 100.0, True), "gold": (110.0, 80.0, True), "idle": (20.0, 20.0, False)}
        both.lanes = [
            replace(lane, vtime=now[lane.tenant][0], served=now[lane.tenant][1], active=now[lane.tenant][2])
            for lane in both.lanes
        ]
        for tenant, (vtime, served, active) in now.items():
            await both.database.execute(
                "UPDATE lanes SET vtime = $2, served = $3, active = $4 WHERE tenant = $1", tenant, vtime, served, active
            )
        picks, _ = fair_share.claim(both.lanes, 4)
        assert [(pick.tenant, pick.tag) for pick in picks] == [
            ("idle", 100.0), ("gold", 110.0), ("acme", 130.0), ("gold", 140.0),
        ]  # fmt: skip
        await both.claim(4, None)
        assert {lane.tenant: lane.vtime for lane in both.lanes} == {"acme": 190.0, "gold": 170.0, "idle": 190.0}
        await both.claim(2, None)
        assert [claim.tenant for claim in both.running[4:]] == ["gold", "acme"]

    scene(happens)

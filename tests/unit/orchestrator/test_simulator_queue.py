"""The simulator's queue is the product's policy: whatever comes, it gives out what `policy/fair_share.py` says.

`tests/simulation/test_fair_share.py` holds the database's statement to the same.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.policy import fair_share
from orchestrator.policy.fair_share import Lane, Waiting
from orchestrator.simulator.jobs import Job
from orchestrator.simulator.queues import POLICIES, Ours, queue_of
from orchestrator.simulator.traffic import TenantTable
from tests.support.simulations import world
from workers.engine import choice
from workers.engine.choice import Candidate, Capacity

TENANTS = {
    "acme": TenantTable(weight=2.0), "birch": TenantTable(), "cedar": TenantTable(max_running=2), "dune": TenantTable(),
}  # fmt: skip

submits = st.tuples(
    st.just("submit"), st.sampled_from(sorted(TENANTS)), st.sampled_from([0, 10, 20]), st.sampled_from([8.0, 16.0])
)
claims = st.tuples(st.just("claim"), st.integers(1, 4), st.sampled_from([math.inf, math.inf, 20, 10]))
ends = st.tuples(st.just("end"), st.integers(0, 9), st.sampled_from([4.0, 8.0, 16.0]))
scenes = st.lists(st.one_of(submits, claims, claims, ends), min_size=20, max_size=60)


class Plain:
    """The policy over all lanes, and nothing else."""

    def __init__(self, guaranteed: Mapping[str, int]) -> None:
        self.lanes: list[Lane] = []
        self.guaranteed, self.running = guaranteed, Counter[str]()
        self.room = {name: cap for name, table in TENANTS.items() if (cap := table.max_running) is not None}

    def submit(self, job: Job) -> None:
        waiting = Waiting(id=UUID(int=job.number), cost=job.cost)
        at = next((n for n, lane in enumerate(self.lanes) if lane.key == (job.priority, job.tenant)), None)
        if at is None:
            lane = Lane(tenant=job.tenant, priority=job.priority, weight=TENANTS[job.tenant].weight)
            self.lanes.append(lane)
            at = len(self.lanes) - 1
        self.lanes[at] = replace(self.lanes[at], jobs=self.lanes[at].jobs.joined([waiting]))

    def claim(self, slots: int, bound: float) -> list[int]:
        deficits = {name: count - self.running[name] for name, count in self.guaranteed.items()}
        picks, self.lanes = fair_share.claim(
            self.lanes, slots, room=self.room, deficits=deficits or None, more_urgent_than=bound
        )
        for pick in picks:
            self.running[pick.tenant] += 1
            if pick.tenant in self.room:
                self.room[pick.tenant] -= 1
        return [pick.job.id.int for pick in picks]

    def end(self, job: Job) -> None:
        self.lanes = [
            fair_share.correct(lane, predicted_s=job.cost, used_s=job.used_s)
            if lane.key == (job.priority, job.tenant)
            else lane
            for lane in self.lanes
        ]
        self.running[job.tenant] -= 1
        if job.tenant in self.room:
            self.room[job.tenant] += 1


@pytest.mark.parametrize("guaranteed", [{}, {"birch": 3, "cedar": 1}], ids=["nobody", "guarantees"])
@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(scenes)
def test_the_queue_gives_out_what_the_policy_says_and_charges_the_same(
    guaranteed: dict[str, int], scene: list[tuple[Any, ...]]
) -> None:
    ours, plain, running, count = Ours(TENANTS, guaranteed), Plain(guaranteed), list[Job](), 0
    for name, *given_ in scene:
        if name == "submit":
            count += 1
            tenant, priority, cost = given_
            job = Job(
                number=count, tenant=tenant, priority=priority, cost=cost, seconds=cost, step_s=1.0, arrived_at=0.0
            )
            ours.add(job)
            plain.submit(job)
        elif name == "claim":
            jobs = ours.claim(*given_)
            assert [job.number for job in jobs] == plain.claim(*given_)
            running += jobs
        elif running:
            which, used = given_
            job = running.pop(which % len(running))
            job.used_s = used
            ours.ended(job)
            plain.end(job)
        everything = {(lane.key, lane.vtime, lane.served, lane.active, len(lane.jobs)) for lane in ours.lanes.all()}
        assert everything == {(lane.key, lane.vtime, lane.served, lane.active, len(lane.jobs)) for lane in plain.lanes}


@pytest.mark.parametrize("overtaken", [0, 1, 3])
def test_the_workers_that_may_be_interrupted_are_those_of_the_engine(overtaken: int) -> None:
    """Two steps before a render's end the simulator lets it be; what it does meanwhile is for the engine to say."""
    streams = {
        name: {"tenant": name, "per_hour": 60.0, "priority": priority, "seconds": 60.0, "steps": 20}
        for name, priority in (("urgent", 0), ("usual", 10))
    }
    campaigns = {"bulk": {"tenant": "shop", "rows": 500, "seconds": 200.0, "steps": 20}}
    here = world({"hours": 1, "streams": streams, "campaigns": campaigns}, workers=4, max_overtaken=overtaken)
    pool, seen = here.pools["main"], 0

    def look() -> None:
        nonlocal seen
        for worker in pool.ready:
            job, now = worker.job, here.clock.now
            if job is None or worker.since > now or worker.until - now <= 2 * job.step_s:
                continue
            candidates = [
                Candidate(
                    token=UUID(int=held.number), priority=held.priority, ready=True, begun=True, steps_left=2,
                    overtaken=held.overtaken + choice.MAX_OVERTAKEN - overtaken,
                )
                for held in worker.held
            ]  # fmt: skip
            bound = choice.interrupts(candidates, Capacity())
            assert pool.interruptible(worker) == bound
            seen += 1

    for at in range(90, 3600, 90):
        here.clock.at(at, look)
    here.run()
    assert seen > 50


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_rows_that_are_withdrawn_come_back_in_their_order_and_nobody_else_is_touched(policy: str) -> None:
    queue = queue_of(policy, TENANTS, "main")
    for number in range(1, 9):
        campaign = "night" if number % 2 else None
        queue.add(
            Job(number=number, tenant="birch", priority=20, cost=8.0, seconds=8.0, step_s=1.0, arrived_at=0.0,
                campaign=campaign)
        )  # fmt: skip
    rows = queue.withdraw()

    assert [job.number for job in rows] == [1, 3, 5, 7]
    assert len(queue) == 4
    assert [job.number for job in queue.claim(3)] == [2, 4, 6]
    for job in rows:
        queue.add(job)
    assert sorted(job.number for job in queue.claim(9)) == [1, 3, 5, 7, 8]
    assert len(queue) == 0

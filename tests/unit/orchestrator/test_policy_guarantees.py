"""What fair shares promise with guarantees and caps, over any queue; and which renders leave for a guarantee."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.job import Claim, WorkerRef
from orchestrator.domain.protocol import Stage, WorkerStatus
from orchestrator.policy.fair_share import URGENT, Lane, Line, Pick, Waiting, claim
from orchestrator.policy.guarantees import Standing, give_back
from tests.support.builders import a_checkpoint, a_claim, a_render, a_status

TENANTS = ("acme", "birch", "cedar")
PRIORITIES = (0, 10, 20)


def a_line(costs: list[int]) -> Line:
    return Line(Waiting(id=uuid4(), cost=float(cost)) for cost in costs)


@st.composite
def queues(draw: st.DrawFn) -> list[Lane]:
    keys = draw(st.lists(st.tuples(st.sampled_from(TENANTS), st.sampled_from(PRIORITIES)), min_size=1, unique=True))
    return [
        Lane(
            tenant=tenant, priority=priority, weight=draw(st.sampled_from([1.0, 2.0])),
            vtime=float(draw(st.integers(0, 40))), served=float(draw(st.integers(0, 40))),
            active=draw(st.booleans()), jobs=a_line(draw(st.lists(st.integers(1, 20), max_size=6))),
        )
        for tenant, priority in keys
    ]  # fmt: skip


counts = st.dictionaries(st.sampled_from(TENANTS), st.integers(-1, 4), max_size=3)


@settings(max_examples=200)
@given(queues(), st.integers(1, 12), counts | st.none(), counts | st.none())
def test_no_slot_idles_while_a_job_may_run_and_every_bound_holds(
    lanes: list[Lane], slots: int, room: dict[str, int] | None, deficits: dict[str, int] | None
) -> None:
    picks, after = claim(lanes, slots, room=room, deficits=deficits)
    waits = Counter[str]()
    for lane in lanes:
        waits[lane.tenant] += len(lane.jobs)
    may = {tenant: min(count, max(0, (room or {}).get(tenant, count))) for tenant, count in waits.items()}
    got = Counter(pick.tenant for pick in picks)
    assert len(picks) == min(slots, sum(may.values())), "work is conserved"
    assert all(got[tenant] <= may[tenant] for tenant in waits), "caps hold"
    assert len({pick.job.id for pick in picks}) == len(picks)
    assert sum(len(lane.jobs) for lane in after) == sum(waits.values()) - len(picks)
    # Whoever lacks something after the claim got all slots that were left by what is more urgent, with its likes.
    for tenant, lacks in (deficits or {}).items():
        if got[tenant] < min(lacks, may.get(tenant, 0)):
            assert all(_goes_before(pick, picks, deficits or {}) for pick in picks), "guarantees come first"


def _goes_before(pick: Pick, picks: list[Pick], deficits: dict[str, int]) -> bool:
    """It is more urgent than usual, or within its own tenant's guarantee."""
    own = [each.job.id for each in picks if each.tenant == pick.tenant]
    return pick.priority < URGENT or own.index(pick.job.id) < deficits.get(pick.tenant, 0)


@settings(max_examples=60)
@given(st.lists(st.integers(1, 20), min_size=2, max_size=2), st.integers(1, 3), st.booleans())
def test_nobody_starves_within_a_class_whatever_the_others_are_guaranteed(
    costs: list[int], slots: int, guaranteed: bool
) -> None:
    """Two that never run out: the one without a guarantee gets its share of what the guarantee leaves."""
    lanes = [Lane(tenant=name, priority=20, jobs=a_line([cost] * 80)) for name, cost in zip("ab", costs, strict=True)]
    used = Counter[str]()
    bound = (2 * slots + 1) * max(costs)
    for turn in range(20):
        # Its guarantee is met by what it runs already, but for every fourth time.
        deficits = {"a": int(turn % 4 == 0)} if guaranteed else None
        picks, lanes = claim(lanes, slots, deficits=deficits)
        for pick in picks:
            used[pick.tenant] += int(pick.job.cost)
    # The guarantee is a floor: what it gave counts. So both have had the same but for the jobs of a claim, or `b` has
    # had all that the guarantee left.
    assert used["b"] <= used["a"] + bound
    assert used["a"] <= used["b"] + bound or used["b"] == (20 * slots - 5) * costs[1]


@settings(max_examples=100)
@given(queues(), st.integers(1, 12), st.sampled_from(TENANTS))
def test_more_weight_never_means_less(lanes: list[Lane], slots: int, tenant: str) -> None:
    def work(weight: float) -> float:
        """From equal beginnings: the weight divides what is charged from then on."""
        fresh = [
            replace(lane, vtime=0.0, served=0.0, active=True, weight=weight if lane.tenant == tenant else 1.0)
            for lane in lanes
        ]
        return sum(pick.job.cost for pick in claim(fresh, slots)[0] if pick.tenant == tenant)

    assert work(1.0) <= work(2.0) <= work(4.0)


# ---------------------------------------------------------------- giving back
GOLD = Standing(tenant="gold", guaranteed=2, running=0, waiting=5)


def rendering(n: int, *, step: int = 2, priority: int = 20, tenant: str = "bulk", **changes: Any) -> tuple[
    Claim, WorkerStatus
]:  # fmt: skip
    """A worker that is busy with one render, and its claim."""
    worker = WorkerRef(name=f"w{n}", incarnation="first")
    held = a_claim(token=UUID(int=n), worker=worker, priority=priority, tenant=tenant, age_s=100.0 - n)
    render = a_render(held, **{"step": step, "steps": 50, **changes})
    return held, a_status(render, worker=worker, room=0, free_in_s=90.0)


def left(standings: list[Standing], *busy: tuple[Claim, WorkerStatus], leaving: frozenset[UUID] = frozenset()) -> list[
    int
]:  # fmt: skip
    claims, takers = [claim for claim, _ in busy], [status for _, status in busy]
    return [each.claim.token.int for each in give_back(standings, takers, claims, leaving)]


def bulk(running: int, guaranteed: int = 0) -> Standing:
    return Standing(tenant="bulk", guaranteed=guaranteed, running=running)


def test_as_many_leave_as_are_lacked_and_those_that_lose_least() -> None:
    busy = [
        rendering(1, step=30),
        rendering(2, step=30, checkpoint=a_checkpoint(29)),
        rendering(3, step=1),
        rendering(4, step=30, priority=10, checkpoint=a_checkpoint(30)),
    ]
    assert left([GOLD, bulk(4)], *busy) == [3, 2]
    (first, _) = give_back([GOLD, bulk(4)], [status for _, status in busy], [held for held, _ in busy], frozenset())
    assert (first.to, first.why) == ("gold", "gold runs 0 of 2 guaranteed, and has more waiting")


standings = st.builds(
    Standing, tenant=st.just(""), guaranteed=st.integers(0, 3), running=st.just(0), waiting=st.integers(0, 4),
    room=st.none() | st.integers(0, 3).map(float),
)  # fmt: skip


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.sampled_from(TENANTS), st.integers(1, 49)), max_size=8),
    st.lists(standings, min_size=3, max_size=3),
    st.integers(0, 2),
)
def test_no_more_leave_than_are_lacked_and_all_that_are_where_enough_was_borrowed(
    renders: list[tuple[str, int]], asked: list[Standing], idle: int
) -> None:
    runs = Counter(tenant for tenant, _ in renders)
    found = [replace(each, tenant=name, running=runs[name]) for name, each in zip(TENANTS, asked, strict=True)]
    busy = [rendering(n, step=step, tenant=tenant) for n, (tenant, step) in enumerate(renders)]
    free = [a_status(worker=WorkerRef(name=f"idle{n}", incarnation="first")) for n in range(idle)]
    takers = [*free, *(status for _, status in busy)]
    given_back = give_back(found, takers, [held for held, _ in busy], frozenset())
    lacks = max(0, sum(each.lacks for each in found) - idle)
    took = Counter(each.claim.tenant for each in given_back)
    # Who is at its last step leaves by itself.
    may_leave = Counter(tenant for tenant, step in renders if step < 49)
    lent = {each.tenant: min(each.borrowed, may_leave[each.tenant]) for each in found}
    assert len(given_back) == min(lacks, sum(lent.values()))
    assert all(count <= lent[tenant] for tenant, count in took.items()), "nobody goes below its guarantee"


def test_of_equals_the_last_begun_leaves() -> None:
    assert left([replace(GOLD, waiting=1), bulk(3)], *(rendering(n) for n in (1, 2, 3))) == [3]


@pytest.mark.parametrize(
    "changes",
    [{"priority": 9}, {"stage": Stage.FINISHING}, {"stage": Stage.DECODING}, {"step": 49}],
    ids=["more urgent than usual", "finishing", "decoding", "at its last step"],
)
def test_what_must_not_or_need_not_leave_stays(changes: dict[str, Any]) -> None:
    assert left([GOLD, bulk(1)], rendering(1, **changes)) == []


def test_nobody_is_taken_below_its_own_guarantee() -> None:
    busy = [rendering(n) for n in (1, 2, 3)]
    assert left([GOLD, bulk(3, guaranteed=2)], *busy) == [3]
    assert left([GOLD, bulk(3, guaranteed=3)], *busy) == []
    assert left([GOLD], *busy) == [], "nobody knows how it stands"


def test_what_is_free_or_leaves_already_is_counted_as_given() -> None:
    busy = [rendering(n) for n in (1, 2, 3)]
    assert left([GOLD, bulk(3)], *busy, leaving=frozenset({UUID(int=1)})) == [3]
    free = a_status(worker=WorkerRef(name="idle", incarnation="first"))
    claims, takers = [held for held, _ in busy], [free, *(status for _, status in busy)]
    assert len(give_back([GOLD, bulk(3)], takers, claims, frozenset())) == 1


@pytest.mark.parametrize(
    ("standing", "lacks"),
    [(GOLD, 2), (replace(GOLD, waiting=1), 1), (replace(GOLD, running=2), 0), (replace(GOLD, room=1.0), 1),
     (replace(GOLD, room=-3.0), 0)],
)  # fmt: skip
def test_who_lacks_what(standing: Standing, lacks: int) -> None:
    assert standing.lacks == lacks


def test_a_worker_is_freed_of_all_its_renders_or_of_none() -> None:
    one, other = a_claim(token=UUID(int=1), priority=20, tenant="bulk"), a_claim(token=UUID(int=2), tenant="gold")
    both = a_status(a_render(one), a_render(other, stage=Stage.PREEMPTED), room=0, free_in_s=90.0)
    assert give_back([GOLD, bulk(1)], [both], [one, other], frozenset()) == []

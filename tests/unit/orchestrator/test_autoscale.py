"""How many workers of each kind: the cheapest that keep deadlines, within every cap, and without flapping."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.policy.autoscale import decide, wanted_rate
from orchestrator.policy.demand import Demand, required_rate
from orchestrator.policy.kinds import Bounds, Kind, Standing, cover
from orchestrator.policy.trust import KindMemory, Memory
from tests.support.scaling_world import FIRM, NIGHT, RULES, SPOT, World

FAST = Kind(name="fast", price_per_gpu_hour=4.0, most=10, speed=2.0, start_s=300)


def at_once(*standings: Standing, demand: Demand = NIGHT, bounds: Bounds | None = None) -> dict[str, int]:
    scales, _ = decide(standings, demand, bounds or Bounds(), RULES, Memory(), 0.0)
    return {scale.kind: scale.change for scale in scales}


# ------------------------------------------------------------ how many, of which kind
def test_the_cheapest_kind_does_what_the_deadline_needs_and_a_little_more() -> None:
    assert at_once(Standing(kind=FIRM), Standing(kind=SPOT)) == {"spot": 11}


def test_what_counts_is_the_price_of_the_work_and_not_of_the_gpu() -> None:
    assert at_once(Standing(kind=FIRM), Standing(kind=FAST)) == {"fast": 6}


def test_the_next_kind_does_what_the_cheapest_may_not() -> None:
    assert at_once(Standing(kind=replace(SPOT, most=4)), Standing(kind=FIRM)) == {"spot": 4, "firm": 7}


def test_a_backlog_without_a_deadline_is_done_within_its_time_and_an_urgent_one_sooner() -> None:
    plain = Demand(backlog_s=9000, jobs=100)
    assert at_once(Standing(kind=SPOT), demand=plain) == {"spot": 5}
    assert at_once(Standing(kind=SPOT), demand=replace(plain, urgent_s=1200)) == {"spot": 10}
    assert wanted_rate(plain, RULES) == 5.0


def test_there_are_never_more_workers_than_renders() -> None:
    assert at_once(Standing(kind=SPOT), demand=Demand(backlog_s=36_000, jobs=1)) == {"spot": 1}


def test_nothing_to_do_starts_nothing_but_the_least() -> None:
    assert at_once(Standing(kind=SPOT), Standing(kind=FIRM), demand=Demand()) == {}
    assert at_once(Standing(kind=SPOT), Standing(kind=replace(FIRM, least=2)), demand=Demand()) == {"firm": 2}


def test_the_first_job_of_all_starts_a_worker_however_short_it_is() -> None:
    assert at_once(Standing(kind=SPOT), demand=Demand(backlog_s=1, jobs=1)) == {"spot": 1}


def test_no_worker_is_started_for_what_is_done_before_it_is_ready() -> None:
    few = Demand(backlog_s=500, urgent_s=500, jobs=50)
    assert at_once(Standing(kind=SPOT, ready=2), demand=few) == {}
    assert at_once(Standing(kind=SPOT, ready=1), demand=few) == {"spot": 4}
    # Two that come soon do it, too; two that come late do not.
    assert at_once(Standing(kind=SPOT, requested=2, ages=[290, 290]), demand=few) == {}
    assert at_once(Standing(kind=SPOT, requested=2, ages=[10, 10]), demand=few) == {"spot": 3}


def test_the_rate_is_that_of_the_deadline_that_needs_most_until_then() -> None:
    assert required_rate([]) == (0.0, None)
    assert required_rate([(3600, 7200)]) == (2.0, 3600)
    # The later one alone would need less than the first; both until the second need most.
    assert required_rate([(7200, 14400), (3600, 3600)]) == (2.5, 7200)
    assert required_rate([(36_000, 3600), (3600, 7200)]) == (2.0, 3600)
    assert required_rate([(-5, 600)]) == (2.0, 300)


# ------------------------------------------------------------ spot that does not come
def test_a_kind_that_does_not_come_rests_ever_longer_and_the_next_one_does_its_work() -> None:
    world = World([SPOT, FIRM], never={"spot"})
    scales = world.run(NIGHT, 4000)
    assert [scale.change for scale in scales if scale.kind == "spot"][:4] == [11, -11, 11, -11]
    assert world.present(FIRM) == 11
    known = world.memory.of("spot")
    assert known.failures >= 3
    pauses = [scale.why for scale in scales if scale.change < 0]
    assert pauses[:3] == [f"11 did not come within 600 s; the next try in {pause} s" for pause in (60, 120, 240)]


def test_the_longest_pause_is_bounded() -> None:
    memory = Memory({"spot": KindMemory(failures=500)})
    late = Standing(kind=SPOT, requested=1, ages=[601])
    _, after = decide([late], NIGHT, Bounds(), RULES, memory, 0.0)
    assert after.of("spot").rests_until == RULES.backoff_most_s


def test_a_kind_that_comes_after_all_is_forgiven_and_takes_over() -> None:
    world = World([SPOT, FIRM], never={"spot"})
    world.run(NIGHT, 2000)
    world.never.clear()
    scales = world.run(NIGHT, 2000)
    assert world.memory.of("spot").failures == 0
    assert (world.present(SPOT), world.present(FIRM)) == (11, 0)
    assert scales[-1].why == "cheaper ones do it in time"


def test_a_kind_whose_workers_come_one_by_one_has_time() -> None:
    standing = Standing(kind=SPOT, requested=5, ready=6, ages=[700.0] * 5)
    memory = Memory({"spot": KindMemory(ready=5)})
    scales, memory = decide([standing], NIGHT, Bounds(), RULES, memory, 5000.0)
    assert scales == []
    scales, _ = decide([standing], NIGHT, Bounds(), RULES, memory, 5601.0)
    assert [scale.change for scale in scales] == [-5]


def test_near_the_deadline_nobody_waits_for_what_may_not_come() -> None:
    soon = replace(NIGHT, due_in_s=800, backlog_s=8000, due_s=8000)
    assert at_once(Standing(kind=SPOT), Standing(kind=FIRM), demand=soon) == {"firm": 11}
    # What is there counts, and where nothing else can be had, it is asked for all the same.
    assert at_once(Standing(kind=SPOT, ready=6), Standing(kind=FIRM), demand=soon) == {"firm": 5}
    assert at_once(Standing(kind=SPOT), demand=soon) == {"spot": 11}


# ------------------------------------------------------------ letting go
def test_without_work_all_go_to_the_least_after_a_while_and_not_before() -> None:
    world = World([replace(FIRM, least=1, start_s=100), SPOT])
    world.run(NIGHT, 1000)
    assert world.present(SPOT) == 10
    assert world.run(Demand(), RULES.idle_s) == []
    world.run(Demand(), 200)
    assert [world.present(kind) for kind in world.kinds] == [1, 0]


def test_an_idle_worker_is_kept_as_long_as_its_start_would_take() -> None:
    world = World([replace(SPOT, start_s=1000)])
    world.run(NIGHT, 1100)
    assert world.run(Demand(), 1000) == []
    assert [scale.change for scale in world.run(Demand(), 20)] == [-11]


def test_a_pause_between_two_jobs_lets_nobody_go() -> None:
    world = World([SPOT])
    world.run(NIGHT, 1000)
    for _ in range(10):
        assert world.run(Demand(), 200) == []
        assert world.run(NIGHT, 10) == []


def test_who_has_work_stays_though_fewer_would_do() -> None:
    world = World([SPOT])
    world.run(NIGHT, 1000)
    slow = Demand(backlog_s=3600, due_s=3600, required_rate=0.1, due_in_s=36_000, jobs=60)
    assert world.run(slow, 2000) == []
    assert [scale.change for scale in world.run(replace(slow, jobs=4), 200)] == [-6]


def test_what_was_asked_for_in_vain_is_withdrawn_before_it_costs() -> None:
    world = World([SPOT])
    world.run(NIGHT, 50)
    assert [scale.change for scale in world.run(Demand(), 130)] == [-11]


# ------------------------------------------------------------ caps
kinds = st.builds(
    lambda price, gpus, least, more, speed, start, vanish: Kind(
        name="", price_per_gpu_hour=price, gpus=gpus, least=least, most=least + more, speed=speed, start_s=start,
        may_vanish=vanish,
    ),
    st.sampled_from([None, 0.0, 0.7, 1.0, 3.0]), st.sampled_from([1, 2, 8]), st.integers(0, 2), st.integers(0, 30),
    st.sampled_from([0.25, 1.0, 1.7]), st.sampled_from([1.0, 60.0, 600.0]), st.booleans(),
)  # fmt: skip
fleets = st.lists(kinds, min_size=1, max_size=4).map(
    lambda found: [replace(kind, name=f"kind{place}") for place, kind in enumerate(found)]
)
demands = st.builds(
    lambda backlog, dated, rate, due, urgent, jobs: Demand(
        backlog_s=backlog, due_s=backlog * dated, required_rate=rate * dated, due_in_s=due if dated else None,
        urgent_s=backlog * urgent, jobs=jobs,
    ),
    st.floats(0, 1e6), st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 60), st.floats(1, 1e5),
    st.sampled_from([0.0, 0.1]), st.integers(0, 500),
)  # fmt: skip
bounds = st.builds(
    lambda gpus, money: Bounds(gpus=gpus, money_per_hour=money),
    st.sampled_from([0, 1, 7, 40, math.inf]), st.sampled_from([0.0, 2.5, 50.0, math.inf]),
)  # fmt: skip
counts = st.tuples(*[st.integers(0, 12)] * 4)


@settings(max_examples=80, deadline=None)
@given(fleets, st.lists(st.tuples(demands, bounds), min_size=1, max_size=12), st.lists(counts, min_size=4, max_size=4))
def test_no_decision_goes_beyond_a_cap(
    fleet: list[Kind], course: list[tuple[Demand, Bounds]], there: list[tuple[int, ...]]
) -> None:
    standings = [
        Standing(kind=kind, requested=a, starting=b, ready=c, draining=d, lost=a if kind.may_vanish else 0)
        for kind, (a, b, c, d) in zip(fleet, there, strict=False)
    ]
    memory, now = Memory(), 0.0
    for demand, limit in course:
        scales, memory = decide(standings, demand, limit, RULES, memory, now)
        now += 400
        after = {standing.kind.name: standing.present for standing in standings}
        for scale in scales:
            after[scale.kind] += scale.change
        present = [replace(s, requested=after[s.kind.name], starting=0, ready=0, draining=0) for s in standings]
        assert all(0 <= each.present <= each.kind.most for each in present)
        left = limit.less(present)
        assert left.gpus >= -1e-6
        assert left.money_per_hour >= -1e-6
        if scales and all(scale.change > 0 for scale in scales):  # what drains counts where there is more to come
            paid = [replace(p, draining=s.draining) for p, s in zip(present, standings, strict=True)]
            before = limit.less(standings)  # too much drains already: only what costs nothing may come
            assert limit.less(paid).gpus >= min(0, before.gpus) - 1e-6
            assert limit.less(paid).money_per_hour >= min(0, before.money_per_hour) - 1e-6
        standings = [replace(s, requested=0, starting=0, ready=after[s.kind.name], ages=()) for s in standings]


@given(fleets, st.floats(0, 50), st.floats(0, 50), st.integers(0, 60), st.integers(0, 60), bounds)
def test_a_higher_rate_takes_no_fewer_of_any_kind(
    fleet: list[Kind], rate: float, more: float, heads: int, further: int, limit: Bounds
) -> None:
    limits = {kind.name: kind.most for kind in fleet}
    low = cover(fleet, limits, rate=rate, heads=heads, bounds=limit)
    high = cover(fleet, limits, rate=rate + more, heads=heads + further, bounds=limit)
    assert all(low[name] <= high[name] for name in low)


# ------------------------------------------------------------ no flapping
@settings(max_examples=80, deadline=None)
@given(fleets, demands, bounds)
def test_a_constant_demand_comes_to_rest(fleet: list[Kind], demand: Demand, limit: Bounds) -> None:
    world = World(fleet, limit)
    world.run(demand, 6000, every=60)
    assert world.run(demand, 3000, every=60) == []


@settings(max_examples=40, deadline=None)
@given(fleets, st.floats(0.5, 80), st.booleans(), st.integers(0, 10**6))
def test_a_demand_that_varies_by_a_tenth_changes_little_and_lets_nobody_go(
    fleet: list[Kind], rate: float, dated: bool, seed: int
) -> None:
    noise, world = random.Random(seed), World(fleet)
    changes: dict[str, int] = {}
    for _ in range(150):
        factor = noise.uniform(0.9, 1.1)
        backlog = rate * factor * RULES.clear_s
        demand = Demand(backlog_s=backlog, jobs=100_000)
        if dated:
            demand = Demand(backlog_s=1e6, due_s=1e6, required_rate=rate * factor, due_in_s=30_000, jobs=100_000)
        for scale in world.step(demand, 30):
            assert scale.change > 0, scale
            changes[scale.kind] = changes.get(scale.kind, 0) + 1
    assert all(count <= 5 for count in changes.values()), changes


@pytest.mark.parametrize("lost", [1, 5, 11])
def test_what_is_lost_is_asked_for_again(lost: int) -> None:
    world = World([SPOT, FIRM])
    world.run(NIGHT, 1000)
    world.ready["spot"] -= lost
    scales = world.step(NIGHT)
    assert sum(scale.change for scale in scales) >= lost - 1  # the band
    assert {scale.kind for scale in scales} <= {"spot"}


def test_each_decision_says_why() -> None:
    world = World([SPOT, replace(FIRM, least=1)], never={"spot"})
    why = [scale.why for scale in world.run(NIGHT, 700)]
    assert why[0] == "11.00 GPU s per s wanted, 0.00 there or coming; 10.00 of them are due in 36000 s"
    assert "at least 1" in why
    assert any(each.endswith("; spot did not come") for each in why)

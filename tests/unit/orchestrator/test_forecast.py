"""What forecasts promise: ranges in order, more workers and more urgency never later, risks told once, and no magic."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.outlooks import expected
from orchestrator.policy.belief import CERTAIN, Belief, learned, of_ratio, scores
from orchestrator.policy.fluid import Flow, Stage, play, ranked, share
from orchestrator.policy.forecast import Cohort, Outlook, World, at_risk, forecast, hopeless, mend
from orchestrator.policy.queued import lanes
from orchestrator.policy.ratios import UNKNOWN
from orchestrator.policy.supply import Crew, Pool, Scores, loaded, stages_of

DRAWS = 11
NOW = datetime(2026, 11, 29, 18, 20, tzinfo=UTC)


def a_cohort(subject: str = "a", **changed: object) -> Cohort:
    plain = Cohort(subject=subject, pool="main", model="m", tenant=subject, priority=20, seconds=36_000, rows=1_000)
    return replace(plain, **changed)  # type: ignore[arg-type]


def a_world(*cohorts: Cohort, workers: int = 10, **pool: object) -> World:
    main = replace(Pool(name="main", crews=[Crew(workers=workers)]), **pool)  # type: ignore[arg-type]
    return World(pools={"main": main}, cohorts=cohorts)


@st.composite
def flows(draw: st.DrawFn) -> list[Flow]:
    rng = random.Random(draw(st.integers(0, 2**32)))
    return [
        Flow(
            tenant=rng.choice("abc"),
            priority=rng.randrange(3),
            seconds=rng.uniform(1, 1000),
            weight=1.0,
            most=rng.choice([math.inf, math.inf, rng.randint(1, 5)]),
            begins_s=rng.choice([0.0, rng.uniform(0, 100)]),
            closes=rng.random() < 0.3,
            due_s=rng.choice([math.inf, math.inf, rng.uniform(-10, 500)]),
        )
        for _ in range(draw(st.integers(1, 7)))
    ]


# ---------------------------------------------------------------- fluid


@settings(max_examples=30, deadline=None)
@given(flows(), st.floats(0, 20))
def test_nobody_has_more_than_it_may_and_no_worker_is_idle_while_somebody_wants_it(
    these: list[Flow], workers: float
) -> None:
    rates = dict(share(ranked(these, range(len(these))), Stage(0, workers)))
    assert all(rate <= these[each].most + 1e-9 for each, rate in rates.items())
    wanted = sum(flow.most for flow in these)
    assert sum(rates.values()) == pytest.approx(min(workers, wanted), abs=1e-5)


def test_workers_go_by_priority_then_by_the_tenants_weight_and_evenly_within_a_tenant() -> None:
    these = [
        Flow(tenant="a", priority=0, seconds=1, most=2),
        Flow(tenant="b", priority=1, seconds=1, weight=3),
        Flow(tenant="c", priority=1, seconds=1),
        Flow(tenant="c", priority=1, seconds=1),
        Flow(tenant="d", priority=2, seconds=1),
    ]
    rates = dict(share(ranked(these, range(5)), Stage(0, 10)))
    assert rates == pytest.approx({0: 2, 1: 6, 2: 1, 3: 1})


def test_rates_change_when_work_begins_and_ends_when_workers_come_and_when_the_pool_closes() -> None:
    one = Flow(tenant="a", priority=1, seconds=100)
    assert play([one], [Stage(0, 1), Stage(50, 2)]) == [75]
    assert play([one, replace(one, tenant="b", begins_s=50)], [Stage(0, 1)]) == [150, 200]
    night = [Stage(0, 1), Stage(10, 1, closed=True), Stage(500, 1)]
    assert play([replace(one, closes=True), replace(one, tenant="b", priority=2)], night) == [590, 110]
    assert play([one], [Stage(0, 0)]) == [math.inf]
    assert play([one], [Stage(0, 1)], until_s=99) == [math.inf]


def test_within_a_tenant_each_has_a_worker_then_deadlines_what_they_need_and_the_rest_is_levelled() -> None:
    one = Flow(tenant="a", priority=1, seconds=800)
    soon, equal, ten = replace(one, due_s=100), replace(one, tenant="b"), [Stage(0, 10)]
    assert play([one, one], ten) == [160, 160]
    assert play([one, soon], ten) == [pytest.approx(160), pytest.approx(100)]
    # Whoever needs less than the others have has as much as they.
    assert play([one, replace(one, due_s=300)], ten) == [160, 160]
    # The nearest goes first, and none is left without: two workers are the other one's until then.
    assert play([replace(one, due_s=110), soon], ten)[1] == pytest.approx(100)
    assert play([one, replace(one, due_s=40)], ten) == [pytest.approx(160), pytest.approx(40 + 440 / 5)]
    # What is late needs nothing, and another tenant has its share whatever they need.
    assert play([one, replace(one, due_s=-1)], ten) == [160, 160]
    assert play([one, soon, equal], ten)[2] == play([one, one, equal], ten)[2]
    assert play([one, replace(soon, most=6)], ten)[1] == pytest.approx(100 + 200 / 5)


def test_a_campaign_is_not_at_risk_for_what_its_tenant_has_beside_it() -> None:
    bulk = a_cohort("bulk", tenant="a", bias=CERTAIN)
    soon = a_cohort("soon", tenant="a", bias=CERTAIN, deadline_s=4_500.0)
    told = forecast(a_world(bulk, soon, yields=CERTAIN)).subjects["soon"]
    assert not at_risk(told, 4_500.0)
    assert not hopeless(told, 4_500.0)
    nearer = replace(soon, deadline_s=3_500.0)
    assert hopeless(forecast(a_world(bulk, nearer, yields=CERTAIN)).subjects["soon"], 3_500.0)


@settings(max_examples=30, deadline=None)
@given(flows(), st.integers(1, 12), st.integers(1, 5), st.floats(0, 300))
def test_nothing_is_done_later_with_more_workers(these: list[Flow], workers: int, more: int, at: float) -> None:
    few = play(these, [Stage(0, workers)])
    many = play(these, [Stage(0, workers), Stage(at + 1e-3, workers + more)])
    assert all(later <= end + 1e-6 for later, end in zip(many, few, strict=True))


@settings(max_examples=30, deadline=None)
@given(flows(), st.integers(1, 12))
def test_nothing_is_done_later_when_it_is_more_urgent(these: list[Flow], workers: int) -> None:
    stages = [Stage(0, workers)]
    urgent = [replace(these[0], priority=these[0].priority - 1), *these[1:]]
    assert play(urgent, stages)[0] <= play(these, stages)[0] + 1e-6


# ---------------------------------------------------------------- beliefs and supply


def test_what_is_seen_moves_a_belief_and_narrows_it() -> None:
    belief = Belief(spread=0.3).seen(2.0, 0.3)
    assert (belief.mean, belief.spread) == (pytest.approx(math.log(2) / 2), pytest.approx(0.3 / math.sqrt(2)))
    assert Belief().seen(0, 0.1) == Belief() == Belief().seen(math.nan, 0.1)
    spreads = [
        learned(Belief(), predicted_s=rows * 9.0, actual_s=rows * 18.0, renders=rows).spread for rows in range(50)
    ]
    assert spreads == sorted(spreads, reverse=True)
    many = learned(Belief(), predicted_s=9e4, actual_s=18e4, renders=1e4)
    assert many.at(0) == pytest.approx(2, rel=0.01)
    assert many.spread < 0.06


def test_recent_renders_say_how_far_predictions_are_off() -> None:
    assert of_ratio(UNKNOWN) == Belief()
    assert of_ratio(replace(UNKNOWN, likely=1.5, samples=5)) == Belief(mean=math.log(1.5), spread=0.3)
    assert of_ratio(replace(UNKNOWN, samples=20)).spread < 0.3


def test_the_same_name_has_the_same_scores_for_ever_and_another_name_others() -> None:
    assert scores("bias m", 50) == scores("bias m", 50) != scores("bias n", 50)
    assert sorted(scores("bias m", 50)) == sorted(scores("bias n", 50))
    assert scores("bias m", 3) == pytest.approx((0.0, 0.967, -0.967), abs=1e-3)


def test_workers_come_and_vanish_and_foreground_load_takes_its_own_first() -> None:
    crews = [Crew(workers=8), Crew(kind="spot", workers=4, speed=0.5, ready_in_s=600, lost_per_hour=2, start_up_s=1800)]
    busy = [2.0] * 24 + [4.0] * 144
    stages = stages_of(Pool(name="p", crews=crews, foreground=busy, hour=22.5, closed=[(900, 1200)]), Scores())
    assert [(stage.at_s, stage.workers, stage.closed) for stage in stages[:5]] == [
        (0, 6, False), (600, 8, False), (900, 8, True), (1200, 8, False), (1800, 8, False),
    ]  # fmt: skip
    assert stages[1].speed == pytest.approx((8 + 2 * 0.5) / 10)
    later = {stage.at_s: stage.workers for stage in stages}
    assert later[1800 + 3600] == 6
    assert stages_of(Pool(name="p", crews=crews, foreground=[99.0] * 168), Scores())[0].workers == 0
    assert loaded(0, 5, hours=3) == Belief(spread=0.3)
    assert loaded(3600, 7200, hours=8).at(0) > 1.5


# ---------------------------------------------------------------- forecasts


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32))
def test_every_range_is_in_order(seed: int) -> None:
    rng = random.Random(seed)
    cohorts = [
        a_cohort(
            str(place),
            seconds=rng.uniform(1, 1e5),
            priority=rng.randrange(3),
            max_running=rng.choice([None, 3]),
            bias=Belief(spread=rng.uniform(0, 0.5)),
        )
        for place in range(rng.randint(1, 5))
    ]
    world = a_world(*cohorts, foreground=[rng.uniform(0, 12) for _ in range(168)])
    found = forecast(world, draws=DRAWS)
    for told in (*found.subjects.values(), *found.pools.values()):
        known = [each for each in (told.low_s, told.likely_s, told.high_s) if each is not None]
        assert known == sorted(known)
        assert (told.high_s is None) is (told.reason is not None)


def test_a_forecast_does_not_change_by_itself_and_its_errors_go_together() -> None:
    world = a_world(*(a_cohort(str(place)) for place in range(20)))
    found = forecast(world)
    assert forecast(world) == found
    last = found.pools["main"]
    assert last.low_s
    assert last.likely_s
    assert last.high_s
    # Of twenty independent errors of 30 per cent hardly any would be left.
    assert last.high_s / last.likely_s > 1.3
    assert last.low_s / last.likely_s < 0.75


def test_what_has_no_worker_is_never_done_and_says_so() -> None:
    found = forecast(a_world(a_cohort(), workers=0), draws=DRAWS).subjects["a"]
    assert found == Outlook(low_s=None, likely_s=None, high_s=None, reason="pool main has no worker")
    assert at_risk(found, 1e9)
    assert hopeless(found, 1e9)
    gone = forecast(World(pools={}, cohorts=[a_cohort()]), draws=DRAWS).subjects["a"]
    assert gone.reason == "pool main has no worker"
    starved = forecast(a_world(a_cohort(), foreground=[99.0] * 168), draws=DRAWS).subjects["a"]
    assert starved.reason == "what goes first leaves it no worker"


def test_a_campaign_in_two_pools_is_done_with_the_later_one() -> None:
    slow = Pool(name="slow", crews=[Crew(workers=1)])
    world = a_world(a_cohort(), a_cohort(pool="slow"))
    found = forecast(replace(world, pools={**world.pools, "slow": slow}), draws=DRAWS)
    assert found.subjects["a"] == found.pools["slow"]


def test_a_job_is_done_when_what_is_before_it_is() -> None:
    world = a_world(a_cohort("queue", rows=100, single=True), a_cohort("other"))
    whole = forecast(world, draws=DRAWS).subjects["queue"].likely_s
    told, _ = lanes(world, NOW, usual=[20], draws=DRAWS)
    half = expected(told, NOW, ahead_s=18_000, cost_s=0).starts.likely_at
    assert whole
    assert half
    assert (half - NOW).total_seconds() == pytest.approx(whole / 2, rel=0.05)


def test_a_deadline_is_at_risk_inside_the_range_and_before_it_and_nobody_hears_of_it_twice() -> None:
    told = Outlook(low_s=80, likely_s=100, high_s=120)
    assert [at_risk(told, deadline) for deadline in (70, 100, 120, 121)] == [True, True, True, False]
    assert [at_risk(told, deadline, before=True) for deadline in (121, 126, 127)] == [True, True, False]
    assert [hopeless(told, deadline) for deadline in (79, 81)] == [True, False]


def test_what_would_mend_a_deadline_does() -> None:
    cohort = a_cohort(deadline_s=3_000, max_running=8, faster={"profile fast": 0.5})
    world = a_world(cohort, a_cohort("b"), workers=10)
    found = forecast(world)
    assert at_risk(found.subjects["a"], 3_000)
    assert mend(world, found, "b") is None
    told = mend(world, found, "a")
    assert told is not None
    # No number of workers helps who may have eight.
    assert (told.workers, told.others) == (None, ())
    free = a_world(replace(cohort, max_running=None), a_cohort("b"), workers=10)
    told = mend(free, forecast(free), "a")
    assert told is not None
    assert told.workers is not None
    assert told.until_s is not None
    assert told.until_s <= 3_000
    more = replace(free.pools["main"], crews=[Crew(workers=10), Crew(workers=told.workers, ready_in_s=300)])
    mended = forecast(replace(free, pools={"main": more})).subjects["a"]
    assert mended.high_s is not None
    assert mended.high_s <= 3_000 * 1.05


def test_what_would_mend_stays_below_the_largest_pool_and_names_what_else_would() -> None:
    cohort = a_cohort(deadline_s=6_000, faster={"profile fast": 0.5})
    world = a_world(cohort, a_cohort("b"), workers=10, largest=11)
    told = mend(world, forecast(world), "a")
    assert told is not None
    assert (told.workers, told.others) == (None, ("priority 19 or more urgent", "profile fast"))
    bounded = a_world(replace(cohort, most_urgent=20), a_cohort("b"), workers=10, largest=11)
    told = mend(bounded, forecast(bounded), "a")
    assert told is not None
    assert told.others == ("profile fast",)  # its tenant may not be more urgent

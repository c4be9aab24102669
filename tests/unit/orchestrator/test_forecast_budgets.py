"""Budgets, slow start and closed hours in forecasts: what may not be used is not, and what ends early says so."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.domain.campaign import Ask, BudgetAction, BudgetAsk, CampaignState, Counts, Group, PauseReason
from orchestrator.domain.outlooks import KeptOutlook, Subject
from orchestrator.policy.allowance import Allowance
from orchestrator.policy.belief import CERTAIN, Belief
from orchestrator.policy.cohorts import advice, cohorts_of, is_going_on, kept, turned
from orchestrator.policy.fluid import Account, Flow, Stage, play, played
from orchestrator.policy.forecast import Cohort, World, forecast, mend
from orchestrator.policy.purses import Costs, allowances_of, tenant_allowance
from orchestrator.policy.supply import Crew, Pool
from tests.support.api_campaigns import a_campaign

NOW = datetime(2026, 11, 29, 18, 20, tzinfo=UTC)
EUROS = Costs(prices={"main": 0.01}, currency="EUR")
ONE = Flow(tenant="a", priority=1, seconds=100)
NIGHT = ((1_800.0, 30_000.0),)
ASKED = BudgetAsk(amount=18_000, unit="gpu_seconds")


def a_world(*allowances: Allowance, closed: tuple[tuple[float, float], ...] = (), **changed: object) -> World:
    """An hour's work for ten workers: 36,000 GPU seconds."""
    plain = Cohort(
        subject="a", pool="main", model="m", tenant="a", priority=20, seconds=36_000, rows=1_000, bias=CERTAIN
    )
    pool = Pool(name="main", crews=[Crew(workers=10)], yields=CERTAIN, closed=closed)
    return World(pools={"main": pool}, cohorts=[replace(plain, **changed)], allowances=allowances)  # type: ignore[arg-type]


def its_own(room: float, **changed: object) -> Allowance:
    plain = Allowance(subjects=frozenset({"a"}), words="its budget", room=room)
    return replace(plain, **changed)  # type: ignore[arg-type]


def told(world: World, *, before: KeptOutlook | None = None, deadline: datetime | None = None) -> KeptOutlook:
    return kept(Subject.CAMPAIGN, "a", forecast(world).subjects["a"], NOW, deadline=deadline, before=before)


# ---------------------------------------------------------------- fluid


def test_what_is_used_up_rests_until_it_is_filled_anew_and_others_go_on() -> None:
    account = Account(flows=frozenset({0}), room=30, renewals=(200, 400), amount=50)
    found = played([ONE], [Stage(0, 1)], [account])
    assert (found.ends, found.spent) == ([420], [30])
    # Its workers are the other one's meanwhile: both have half of one for a minute.
    found = played([ONE, replace(ONE, tenant="b")], [Stage(0, 1)], [account])
    assert (found.ends[1], found.spent) == (130, [60])
    never = played([ONE], [Stage(0, 1)], [replace(account, renewals=())])
    assert (never.ends, never.spent) == ([math.inf], [30])
    assert played([ONE], [Stage(0, 1)], [replace(account, room=100)]).ends == [100]


def test_what_several_share_is_used_up_by_all_of_them() -> None:
    both = Account(flows=frozenset({0, 1}), room=100)
    small = replace(ONE, seconds=40)
    found = played([ONE, small], [Stage(0, 2)], [both])
    assert found.ends == [math.inf, 40]
    assert found.spent == [pytest.approx(50)]


def test_a_template_that_has_not_succeeded_yet_begins_with_few_and_doubles() -> None:
    slow = Flow(tenant="a", priority=1, seconds=800, first=8, render_s=10)
    # Eight renders, then sixteen, then thirty-two, ten seconds each; the last twenty-four on all of 64 workers.
    assert play([slow], [Stage(0, 64)]) == [pytest.approx(30 + 240 / 64)]
    assert play([replace(slow, first=64)], [Stage(0, 64)]) == [pytest.approx(800 / 64)]
    assert play([slow], [Stage(0, 8)]) == [pytest.approx(100)]
    # What it may not have yet is the others'.
    other = Flow(tenant="b", priority=1, seconds=560)
    assert play([slow, other], [Stage(0, 64)])[1] == pytest.approx(10)


# ---------------------------------------------------------------- what is told


def test_a_budget_that_is_too_small_is_a_risk_with_the_time_when_it_pauses_and_what_is_lacking() -> None:
    world = a_world(its_own(18_000))
    found = told(world)
    assert found.at_risk
    assert (found.likely_at, found.reason) == (None, "it pauses about 2026-11-29 18:50 UTC by its budget")
    stop = forecast(world).subjects["a"].stop
    assert stop is not None
    assert advice(None, NOW, stop) == "raise its budget by about 18,000 GPU seconds"
    raised = told(a_world(its_own(18_000 + stop.lacks)), before=found)
    assert raised.high_at is not None
    assert (raised.at_risk, raised.reason, turned(found, raised)) == (False, None, False)
    assert told(a_world(its_own(36_000))).at_risk is None


def test_what_is_lacking_is_enough_nine_times_in_ten_and_a_risk_is_over_when_it_is_none_in_any_draw() -> None:
    uncertain = {"bias": Belief(spread=0.2)}
    stop = forecast(a_world(its_own(18_000), **uncertain)).subjects["a"].stop
    assert stop is not None
    assert stop.lacks > 18_000
    enough = a_world(its_own(18_000 + stop.lacks), **uncertain)
    assert told(enough).at_risk is None
    assert told(enough, before=told(a_world(its_own(18_000)))).at_risk
    assert told(a_world(its_own(99_000), **uncertain), before=told(a_world(its_own(18_000)))).at_risk is False


def test_with_a_deadline_both_are_told_what_would_make_the_budget_last_and_the_work_be_in_time() -> None:
    world = a_world(its_own(18_000), deadline_s=3_000.0)
    found = forecast(world)
    words = advice(mend(world, found, "a"), NOW, found.subjects["a"].stop)
    assert words.startswith("raise its budget by about 18,000 GPU seconds; and for the deadline ")
    assert "more workers of pool main" in words
    assert told(world, deadline=NOW + timedelta(hours=9)).at_risk


def test_a_budget_that_is_filled_anew_makes_it_later_and_more_of_it_is_what_would_help() -> None:
    daily = its_own(18_000, words="its tenant's budget of the day", renewals=(20_000.0,), amount=50_000.0)
    world = a_world(daily, deadline_s=4_000.0)
    found = forecast(world)
    end = found.subjects["a"]
    assert end.likely_s == pytest.approx(21_800, rel=0.01)
    assert (end.reason, end.stop) == (None, None)
    way = mend(world, found, "a")
    assert way is not None
    assert (way.workers, way.others) == (None, ("more of its tenant's budget of the day",))


def test_a_budget_in_money_counts_what_each_pool_costs_and_pools_share_it_by_what_they_want() -> None:
    world = a_world(its_own(270.0, unit="EUR", priced=True, prices={"main": 0.01, "fine": 0.02}))
    fine = replace(world.cohorts[0], pool="fine", seconds=9_000.0)
    pools = {**world.pools, "fine": replace(world.pools["main"], name="fine")}
    both = forecast(replace(world, pools=pools, cohorts=[*world.cohorts, fine]))
    stop = both.subjects["a"].stop
    assert stop is not None
    # 360 and 180 euros are wanted, half of which is there.
    assert (stop.lacks, stop.unit) == (pytest.approx(270.0), "EUR")
    assert stop.at_s == pytest.approx(450, rel=0.01)


def test_a_campaign_rests_in_closed_hours() -> None:
    # Jobs that are no campaign's do not.
    assert forecast(a_world(closed=NIGHT)).subjects["a"].likely_s == pytest.approx(3_600, rel=0.01)
    assert forecast(a_world(closed=NIGHT, closes=True)).subjects["a"].likely_s == pytest.approx(31_800, rel=0.01)


# ---------------------------------------------------------------- of campaigns and tenants


def test_what_bounds_a_campaign_is_what_was_approved_and_what_its_first_stopping_action_leaves_of_its_budget() -> None:
    campaign = a_campaign(cap=50_000.0, used=10_000.0, spent=80.0)
    (cap,) = allowances_of(campaign, EUROS)
    assert (cap.words, cap.room, cap.then) == ("what was approved of it", 40_000.0, "pauses")
    asked = BudgetAsk(amount=500.0, unit="money", actions=(BudgetAction(percent=50, do="tell"),))
    (budget,) = allowances_of(replace(campaign, cap=None, ask=Ask(budget=asked)), EUROS)
    assert (budget.room, budget.unit, budget.price("main"), budget.price("free")) == (420.0, "EUR", 0.01, 0.0)
    for do, then in (("finish", "pauses"), ("cancel", "ends")):
        ends = replace(asked, unit="gpu_seconds", amount=30_000.0, actions=(BudgetAction(percent=80, do=do),))
        (early,) = allowances_of(replace(campaign, cap=None, ask=Ask(budget=ends)), EUROS)
        # It stops at 24,000, of which 10,000 are gone.
        assert early.room / early.price("main") == pytest.approx(14_000)
        assert early.then == then
    assert allowances_of(a_campaign(), EUROS) == []


def test_a_budget_in_gpu_seconds_is_used_up_by_those_of_the_workers_that_there_are() -> None:
    campaign = a_campaign(cap=50_000.0, used=10_000.0, ask=Ask(budget=ASKED))
    for found, room in zip(
        allowances_of(campaign, replace(EUROS, seconds={"main": 2.0})), (40_000, 8_000), strict=True
    ):
        assert (found.room, found.price("main"), found.price("another")) == (room, 2.0, 1.0)


def test_a_tenants_budgets_are_filled_anew_at_midnight_and_with_the_month() -> None:
    def of(period: str, now: datetime) -> list[datetime]:
        found = tenant_allowance(ASKED, 3_000, period=period, subjects={"a"}, costs=EUROS, now=now)
        assert (found.room, found.amount) == (15_000, 18_000)
        return [now + timedelta(seconds=seconds) for seconds in found.renewals[:2]]

    assert of("day", NOW) == [datetime(2026, 11, day, tzinfo=UTC) for day in (30,)] + [
        datetime(2026, 12, 1, tzinfo=UTC)
    ]
    assert of("month", NOW) == [datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)]


def test_a_campaign_that_its_budget_has_paused_is_told_of_and_one_that_waits_for_a_person_is_not() -> None:
    paused = a_campaign(state=CampaignState.PAUSED, ask=Ask(approval=False))
    for pauses, going in (
        ({PauseReason.BUDGET}, True),
        ({PauseReason.BUDGET, PauseReason.CLOSED_HOURS}, True),
        ({PauseReason.OWNER, PauseReason.BUDGET}, False),
        ({PauseReason.FAILURES}, False),
    ):
        assert is_going_on(replace(paused, pauses=frozenset(pauses))) is going


def test_what_rows_took_so_far_is_learned_also_where_it_is_more_than_was_estimated() -> None:
    group = Group(pool="main", model="m", rows=1_000, gpu_seconds=10_000.0)
    for took in (0.5, 1.0, 2.0):
        counts = Counts(rows=1_000, succeeded=500)
        campaign = a_campaign(counts=counts, estimate=(group,), used=5_000.0 * took, fresh_succeeded=500)
        (cohort,) = cohorts_of(campaign, NOW)
        assert cohort.seconds == 5_000
        assert cohort.bias.at(0) == pytest.approx(took, rel=0.02)
        assert cohort.first == 508
    # What is charged are its workers' own seconds: twice as many say that they are slow, and nothing of predictions.
    for speed in (0.5, 1.0, 2.0):
        own = replace(campaign, used=5_000.0 / speed)
        assert cohorts_of(own, NOW, speeds={"main": speed})[0].bias.at(0) == pytest.approx(1.0)
    sampled = cohorts_of(replace(campaign, ask=Ask(order="spread")), NOW)
    assert sampled[0].bias.spread < cohort.bias.spread

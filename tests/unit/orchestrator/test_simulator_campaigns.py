"""Campaigns of a simulation: their budgets, their pools' closed hours, and what is foretold of them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest

from orchestrator.policy import budget
from orchestrator.policy.hours import ClosedHours
from orchestrator.simulator import closing, files
from orchestrator.simulator.queues import POLICIES
from orchestrator.simulator.report import Report, report
from orchestrator.simulator.traffic import BudgetTable
from orchestrator.simulator.world import World
from tests.support.simulations import RENDER, kind, log_of, world

EXAMPLES = Path(__file__).parents[3] / "deploy/simulations"


def bulk(rows: int, **more: Any) -> dict[str, Any]:
    return {"campaigns": {"bulk": {"tenant": "shop", "rows": rows, **RENDER} | more}}


def closed(*lines: str, workers: int = 2) -> dict[str, Any]:
    return {"main": {"closed_hours": [*lines], "kinds": {"reserved": kind(workers)}}}


def played(here: World) -> Report:
    here.run()
    return report(here)


# ------------------------------------------------------------ budgets


def test_a_campaign_pauses_when_its_budget_has_no_room_for_the_next_row() -> None:
    told = played(world({"hours": 1} | bulk(10, budget={"amount": 450.0}, deadline_h=0.9), workers=2))
    course = told.campaigns[0]

    # Rows of 100 seconds, two at a time: the fourth ends at 200, and the fifth has no room.
    assert (course.succeeded, course.used, course.budget) == (4, pytest.approx(400), 450.0)
    assert course.paused_h == pytest.approx(200 / 3600)
    assert (course.through_h, course.late_rows) == (None, 6)


def test_rows_that_take_less_than_was_reserved_leave_room_for_others_and_what_takes_more_overruns() -> None:
    cheaper, dearer = (
        played(world({"hours": 1, "slower": slower} | bulk(10, budget={"amount": 400.0}), workers=1)).campaigns[0]
        for slower in (0.5, 2.0)
    )

    # The last one is not begun unless all that is predicted of it fits: 350 is used then.
    assert (cheaper.succeeded, cheaper.used) == (7, pytest.approx(350))
    # Three were reserved when the first one ended.
    assert dearer.used == pytest.approx(dearer.succeeded * 200)
    assert 400 <= dearer.used <= 400 + 4 * 100


def test_a_budget_in_money_counts_each_kinds_price_and_reserves_by_the_dearest() -> None:
    pools = {"main": {"kinds": {"firm": kind(1), "spot": kind(1, price_per_gpu_hour=1.0)}}}
    amount = 10 * 100 / 3600
    told = played(world({"hours": 1} | bulk(50, budget={"amount": amount, "unit": "money"}), pools=pools))
    course = told.campaigns[0]

    # Of two rows at a time one costs 2 an hour and one 1: three for both, where four are reserved.
    assert course.used == pytest.approx(9 * 100 / 3600)
    assert course.succeeded == 6
    assert course.used <= amount


def test_lost_attempts_count_too() -> None:
    here = world({"hours": 1} | bulk(4, max_running=1, budget={"amount": 300.0}), checkpoint_every_s=0.0)
    here.clock.at(90, lambda: here.capacities["main"].lose(next(iter(here.pools["main"].ready)), notice=False))
    course = played(here).campaigns[0]

    assert (course.succeeded, course.used) == (2, pytest.approx(290))


def test_a_paused_campaign_asks_for_no_workers() -> None:
    kinds = {"firm": {"max": 4, "price_per_gpu_hour": 1.0, "start_s": 60.0, "start_spread": 0.0}}
    here = world({"hours": 4} | bulk(200, budget={"amount": 1000.0}, deadline_h=3.0), pools={"main": {"kinds": kinds}})
    played(here)

    assert here.tally.samples[-1].ready == {}


def test_budgets_have_the_products_units() -> None:
    assert get_args(BudgetTable.model_fields["unit"].annotation) == budget.UNITS


# ------------------------------------------------------------ closed hours


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_in_closed_hours_nothing_of_a_campaign_begins_and_what_renders_ends(policy: str, tmp_path: Path) -> None:
    single = {"tenant": "acme", "file": log_of(tmp_path, 400), "seconds": 50.0, "steps": 5}
    pools = closed("Mon-Sun 00:05-00:30 UTC")
    here = world({"hours": 1, "traces": {"single": single}} | bulk(12), policy=policy, pools=pools, directory=tmp_path)
    counts: list[int] = []
    for at in (299, 399, 401, 1799, 1899, 1901):
        here.clock.at(at, lambda: counts.append(here.campaigns["bulk"].succeeded))
    told = played(here)

    # Two rows at a time: those that began at 200 end at 300, when it closes; the others begin at 1800.
    assert counts == [4, 6, 6, 6, 6, 8]
    assert told.campaigns[0].through_h == pytest.approx(2100 / 3600)
    # A single job does not wait for that.
    assert [*here.tally.waits[10]] == [pytest.approx(0.0)]


def test_a_row_that_loses_its_worker_in_closed_hours_waits_for_their_end() -> None:
    here = world({"hours": 1} | bulk(1), pools=closed("Mon-Sun 00:01-00:30 UTC", workers=1))
    here.clock.at(90, lambda: here.capacities["main"].lose(next(iter(here.pools["main"].ready)), notice=True))
    told = played(here)

    # Ten seconds, and the hand-over.
    assert told.campaigns[0].through_h == pytest.approx((1800 + 10 + 5) / 3600)


def test_a_campaign_that_comes_in_closed_hours_begins_when_they_are_over() -> None:
    told = played(world({"hours": 1} | bulk(2), pools=closed("Mon-Sun 23:00-00:30 UTC")))

    assert told.campaigns[0].through_h == pytest.approx(1900 / 3600)


def test_closed_periods_are_those_of_the_products_wall_clock() -> None:
    lines, begins = (
        ["Mon-Fri 08:00-18:00 Europe/Berlin", "Sat 00:00-24:00 UTC"],
        datetime(2026, 3, 27, 5, 30, tzinfo=UTC),
    )
    found = closing.periods(lines, begins, 5 * 24 * 3600)
    hours = [(begin / 3600 + 5.5, end / 3600 + 5.5) for begin, end in found]

    # Friday; all of Saturday; Monday, an hour sooner by UTC: clocks go forward on Sunday; Tuesday.
    assert hours == [(7.0, 17.0), (24.0, 48.0), (78.0, 88.0), (102.0, 112.0)]
    assert not ClosedHours.parse(lines).closed_at(begins)


# ------------------------------------------------------------ forecasts


def test_a_forecast_is_asked_for_at_a_tenth_a_quarter_and_half_and_is_held_to_the_end() -> None:
    told = played(world({"hours": 8} | bulk(1000, deadline_h=6.5), workers=5))
    rows = told.forecasts

    assert [row.share for row in rows] == [0.1, 0.25, 0.5]
    assert [row.at_h for row in rows] == [
        pytest.approx(share * 1000 * 100 / 5 / 3600, abs=0.05) for share in (0.1, 0.25, 0.5)
    ]
    for row in rows:
        assert row.through_h == told.campaigns[0].through_h == pytest.approx(1000 * 100 / 5 / 3600)
        assert row.low_h is not None
        assert row.high_h is not None
        assert row.error is not None
        assert abs(row.error) < 0.05
        assert row.inside == (row.low_h <= row.through_h <= row.high_h)
        assert row.at_risk is False


def test_it_knows_of_late_workers_closed_hours_and_usual_load() -> None:
    def likely(**more: Any) -> float:
        fleet = more.pop("pools", {"main": {"kinds": {"reserved": kind(5)}}})
        told = played(world({"hours": 3} | bulk(500) | more, pools=fleet)).forecasts[0].likely_h
        assert told is not None
        return told

    alone = likely()
    # Two of five workers are kept busy, as they usually are.
    busy = likely(streams={"single": {"tenant": "acme", "per_hour": 72.0, "seconds": 100.0, "steps": 10}})
    rests = likely(pools=closed("Mon-Sun 01:00-02:00 UTC", workers=5))
    slow = likely(slower=1.3)

    assert alone == pytest.approx(500 * 100 / 5 / 3600, rel=0.05)
    assert busy == pytest.approx(alone * 5 / 3, rel=0.15)
    assert rests == pytest.approx(alone + 1.0, rel=0.05)
    assert slow == pytest.approx(alone * 1.3, rel=0.05)


def test_without_an_end_there_is_no_error_and_other_policies_foretell_nothing() -> None:
    told = played(world({"hours": 1} | bulk(200), workers=2))
    fifo = played(world({"hours": 1} | bulk(200), workers=2, policy="fifo"))

    assert [(row.error, row.inside) for row in told.forecasts] == [(None, None)] * len(told.forecasts)
    assert told.forecasts
    assert not fifo.forecasts


def test_a_deadline_at_risk_is_told() -> None:
    told = played(world({"hours": 2} | bulk(100, deadline_h=1.0), workers=2))

    assert {row.at_risk for row in told.forecasts} == {True}


def test_the_example_of_an_office_shows_a_guarantee_closed_hours_a_budget_and_the_one_thing_no_forecast_knows() -> None:
    tables = files.read(EXAMPLES / "office-fleet.toml", EXAMPLES / "office-traffic.toml")
    here = World(*tables, policy="ours", seed=1, directory=EXAMPLES)
    told = played(here)
    busy = [sample.busy for sample in here.tally.samples if 3.5 < sample.at_s / 3600 < 11]

    assert told.given_back > 0
    assert told.missed == 0
    assert sum(busy) / len(busy) < 3
    tests = told.campaigns[1]
    assert tests.paused_h is not None
    assert tests.used is not None
    assert 19 < tests.used <= 20
    # At a tenth the second campaign had not come; from then on it was known that its budget would end it.
    errors = [row.error or math.inf for row in told.forecasts if row.campaign == "catalogue"]
    assert [abs(error) < 0.03 for error in errors] == [False, True, True]
    assert errors[0] < 0
    assert {(row.low_h, row.high_h) for row in told.forecasts if row.campaign == "tests"} == {(None, None)}

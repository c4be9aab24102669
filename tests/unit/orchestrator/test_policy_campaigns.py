"""What the pure policy of campaigns promises: order, window, failures, budgets, pace, prices, closed hours."""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.domain.campaign import BudgetAction, BudgetAsk, Group, StopRule
from orchestrator.domain.errors import InvalidField
from orchestrator.policy import budget, failing, order, pace, pricing
from orchestrator.policy.budget import Spending
from orchestrator.policy.hours import ClosedHours
from orchestrator.policy.window import FIRST, ahead, slow_start, window

totals = st.integers(1, 3000)


# ---------------------------------------------------------------- order
@given(totals)
def test_each_place_has_one_turn(total: int) -> None:
    for how in (order.ARRIVAL, order.SPREAD):
        places = [order.place_at(how, ordinal, total) for ordinal in range(total)]
        assert sorted(places) == list(range(total))


@given(totals, st.data())
def test_what_is_done_at_any_moment_lies_evenly_over_the_file(total: int, data: st.DataObject) -> None:
    done = data.draw(st.integers(1, total))
    places = sorted(order.place_at(order.SPREAD, ordinal, total) for ordinal in range(done))
    gaps = [after - before for before, after in pairwise([*places, places[0] + total])]
    assert max(gaps) <= 1 + 2.5 * total / done


@given(st.integers(1, 60), st.integers(1, 60), st.data())
def test_every_value_of_a_column_that_repeats_has_its_share_at_any_moment(
    period: int, times: int, data: st.DataObject
) -> None:
    total = period * times
    done = data.draw(st.integers(1, total))
    seen = [0] * period
    for ordinal in range(done):
        seen[order.place_at(order.SPREAD, ordinal, total) % period] += 1
    assert max(seen) - min(seen) <= 1


@given(totals, st.integers(1, 200))
def test_a_sample_lies_evenly_and_near_both_ends(total: int, count: int) -> None:
    places = order.sample_places(total, count)
    assert list(places) == sorted(set(places))
    assert len(places) == min(total, count)
    region = total / len(places)
    assert places[0] <= region
    assert places[-1] >= total - 1 - region
    assert all(after - before <= 1 + 2.5 * region for before, after in pairwise(places))


@pytest.mark.parametrize("period", [2, 3, 4, 5, 7, 8, 10])
def test_a_sample_sees_all_values_of_a_column_that_repeats(period: int) -> None:
    assert {place % period for place in order.sample_places(100_000, 40)} == set(range(period))


def test_an_unknown_place_is_refused() -> None:
    with pytest.raises(ValueError, match="none of 3"):
        order.place_at(order.SPREAD, 3, 3)


# ---------------------------------------------------------------- window
@given(
    workers=st.integers(0, 3000),
    cost_s=st.floats(0, 1000),
    succeeded=st.integers(0, 100_000),
    failed=st.integers(0, 100_000),
    most=st.integers(1, 5000),
    max_running=st.none() | st.integers(1, 4000),
)
def test_a_window_never_outgrows_its_bounds_and_never_closes(
    workers: int, cost_s: float, succeeded: int, failed: int, most: int, max_running: int | None
) -> None:
    found = window(
        workers=workers, cost_s=cost_s, succeeded=succeeded, failed=failed, most=most, max_running=max_running
    )
    assert 1 <= found.seats <= found.rows <= min(most, slow_start(succeeded, failed))
    if max_running is not None:
        assert found.seats <= max_running


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(50, 8000), st.integers(100, 3000))
@example(1, 50, 350)  # an even division
@example(40, 3, 3000)
def test_no_worker_waits_for_the_runner(workers: int, cost_ms: int, refill_ms: int) -> None:
    """Played in whole milliseconds: in fractions of a second a render begins a rounding before the refill is due."""
    most = 50_000
    rows = ahead(workers, cost_ms / 1000, refill_s=refill_ms / 1000, most=most)
    assert rows < most
    ready, free_at = rows, [0] * workers
    for refill in range(1, 12):
        while free_at[0] < refill * refill_ms:
            assert ready > 0, "a worker is idle although rows wait"
            ready -= 1
            heapq.heapreplace(free_at, free_at[0] + cost_ms)
        running = sum(end > refill * refill_ms for end in free_at)
        ready = max(ready, rows - running)


@given(st.integers(0, 500), st.integers(0, 500))
def test_a_slow_start_doubles_with_each_round_that_succeeds(rounds: int, failed: int) -> None:
    assert [slow_start(done, 0) for done in (0, 8, 24, 56)] == [8, 16, 32, 64]
    assert slow_start(rounds, failed) <= slow_start(rounds + 1, failed)
    assert slow_start(rounds, failed + 1) <= slow_start(rounds, failed)


@given(st.integers(0, 60))
def test_of_a_template_that_only_fails_a_handful_has_begun_by_the_kth_failure(failures: int) -> None:
    begun = live = slow_start(0, 0)
    for failed in range(1, failures + 1):
        live -= 1
        begun += max(0, slow_start(0, failed) - live)
        live = max(live, slow_start(0, failed))
    assert begun <= max(FIRST, failures + 1)


# ---------------------------------------------------------------- failures
RULE = StopRule(count=100, share=0.5, of_first=20)


@pytest.mark.parametrize(
    ("failed", "ended", "first_failed", "stopped"),
    [
        (100, 5000, 3, None),
        (101, 5000, 3, "101 rows failed; at most 100 may"),
        (10, 20, 10, None),
        (11, 11, 11, "11 of the first 11 rows failed; at most 50% of 20 may"),
        (11, 30, 11, "11 of the first 20 rows failed; at most 50% of 20 may"),
        (60, 90, 10, None),
    ],
)
def test_too_many_failures_stop_a_campaign_and_say_so(
    failed: int, ended: int, first_failed: int, stopped: str | None
) -> None:
    assert failing.stops(RULE, failed, ended, first_failed) == stopped
    assert failing.stops(StopRule(), failed, ended, first_failed) is None


@pytest.mark.parametrize(
    ("rule", "param"),
    [
        (StopRule(count=-1), "count"),
        (StopRule(share=1.0, of_first=5), "share"),
        (StopRule(share=0.5), "of_first"),
        (StopRule(of_first=5), "share"),
        (StopRule(share=0.5, of_first=0), "of_first"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_by_its_field(rule: StopRule, param: str) -> None:
    failing.check(RULE)
    with pytest.raises(InvalidField) as refused:
        failing.check(rule)
    assert refused.value.param == f"stop_on_failures.{param}"


# ---------------------------------------------------------------- budgets
GRADED = BudgetAsk(
    amount=1000.0,
    unit="gpu_seconds",
    actions=(
        BudgetAction(percent=95, do="cancel"),
        BudgetAction(percent=50, do="tell"),
        BudgetAction(percent=80, do="finish"),
    ),
)


def test_a_budget_of_three_times_a_tenth_has_room_for_three_tenths() -> None:
    spending: Spending | None = Spending()
    for _ in range(3):
        assert spending is not None
        spending = budget.reserve(0.3, spending, 0.1)
    assert spending is not None
    assert budget.reserve(0.3, spending, 0.1) is None


@pytest.mark.parametrize(
    ("spending", "told", "due"),
    [
        (Spending(reserved=400, used=99), (), []),
        (Spending(reserved=400, used=100), (), [50]),
        (Spending(reserved=400, used=400), (), [50, 80]),
        (Spending(reserved=400, used=400), (50,), [80]),
        (Spending(reserved=900, used=100), (50, 80), []),
        (Spending(reserved=0, used=950), (50, 80), [95]),
    ],
)
def test_actions_come_at_their_percentages_and_only_what_is_used_cancels(
    spending: Spending, told: tuple[int, ...], due: list[int]
) -> None:
    assert [action.percent for action in budget.due_actions(GRADED, spending, told)] == due


def test_a_budget_in_which_the_next_row_has_no_room_has_reached_all_but_its_cancelling() -> None:
    spending = Spending(used=0, reserved=1)
    assert [action.do for action in budget.due_actions(GRADED, spending, (), exhausted=True)] == ["tell", "finish"]


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"amount": 0.0}, "amount"),
        ({"amount": math.nan}, "amount"),
        ({"unit": "roubles"}, "unit"),
        ({"actions": (BudgetAction(percent=0, do="tell"),)}, "actions.percent"),
        ({"actions": (BudgetAction(percent=5, do="tell"), BudgetAction(percent=5, do="finish"))}, "actions.percent"),
        ({"actions": (BudgetAction(percent=5, do="sing"),)}, "actions.do"),
        ({"actions": tuple(BudgetAction(percent=each, do="tell") for each in range(1, 12))}, "actions"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused_by_its_field(changed: dict[str, object], param: str) -> None:
    budget.check(GRADED)
    with pytest.raises(InvalidField) as refused:
        budget.check(replace(GRADED, **changed))  # type: ignore[arg-type]
    assert refused.value.param == f"budget.{param}"


@dataclass
class Shared:
    """One budget's row, and the attempts of every runner that live on it."""

    asked: BudgetAsk
    random: random.Random
    spending: Spending = field(default_factory=Spending)
    # What each live attempt has reserved.
    live: list[float] = field(default_factory=list)
    # What the attempts that were live at the last reservation have used beyond their reservations.
    overrun: float = 0.0

    def reserve(self) -> None:
        cost = self.random.uniform(1, 30)
        reserved = budget.reserve(self.asked.amount, self.spending, cost)
        if reserved is None:
            return
        self.spending, self.overrun = reserved, 0.0
        assert reserved.spoken_for <= self.asked.amount * (1 + 1e-9)
        self.live.append(cost)

    def end(self) -> None:
        """An attempt ends: in a video, at another cost than predicted; or lost, and its job keeps its reservation."""
        if not self.live:
            return
        at = self.random.randrange(len(self.live))
        used = self.live[at] * self.random.uniform(0.2, 1.8)
        given_back = self.live.pop(at) if self.random.random() < 0.6 else 0.0
        self.spending = Spending(reserved=self.spending.reserved - given_back, used=self.spending.used + used)
        self.overrun += max(0.0, used - given_back)


@given(st.integers(0, 2**32), st.integers(1, 400))
def test_several_runners_never_use_more_than_the_budget_and_the_overruns_of_what_lived_at_the_last_reservation(
    seed: int, amount: int
) -> None:
    dealt = random.Random(seed)
    shared = Shared(BudgetAsk(amount=float(amount), unit="gpu_seconds"), dealt)
    for _ in range(200):
        shared.reserve() if dealt.random() < 0.6 else shared.end()
        assert shared.spending.reserved == pytest.approx(sum(shared.live), abs=1e-6)
        assert shared.spending.spoken_for <= amount + shared.overrun + 1e-6
    while shared.live:
        shared.end()
    assert shared.spending.used <= amount + shared.overrun + 1e-6


# ---------------------------------------------------------------- pace
@settings(deadline=None)
@given(st.integers(0, 2**32), st.floats(0.2, 20), st.integers(300, 4000))
def test_a_tenth_of_the_way_on_the_forecast_is_within_ten_per_cent(seed: int, per_s: float, rows: int) -> None:
    dealt = random.Random(seed)
    history: list[pace.Sample] = []
    t, done = 0.0, 0
    while done < rows // 10:
        history = pace.append(history, t, done)
        ended = dealt.randint(1, 3)
        t += ended / per_s * dealt.uniform(0.95, 1.05)
        done += ended
    found = pace.forecast(history, rows - done, t)
    assert found is not None
    assert found.rows_per_hour == pytest.approx(per_s * 3600, rel=0.1)
    assert found.low_at <= found.likely_at <= found.high_at
    assert found.likely_at == pytest.approx(t + (rows - done) / per_s, rel=0.1)


def test_a_stall_makes_the_forecast_later_and_a_burst_does_not_make_it_absurd() -> None:
    steady = [(float(t), t) for t in range(0, 101, 5)]
    likely = pace.forecast(steady, 100, 100.0)
    stalled = pace.forecast(steady, 100, 300.0)
    burst = pace.forecast([*steady[:-1], (99.0, 96.0), (100.0, 300.0)], 100, 100.0)
    assert likely is not None
    assert stalled is not None
    assert burst is not None
    assert likely.likely_at == pytest.approx(200)
    assert stalled.likely_at - 300 > 2 * (likely.likely_at - 100)
    assert burst.rows_per_hour == pytest.approx(likely.rows_per_hour, rel=0.1)


@pytest.mark.parametrize("history", [[], [(0.0, 0)], [(0.0, 0), (10.0, 2)]])
def test_nothing_is_forecast_from_next_to_nothing(history: list[pace.Sample]) -> None:
    assert pace.forecast(history, 5, 20.0) is None
    assert pace.forecast(history, 0, 20.0) == pace.Forecast(rows_per_hour=0, low_at=20, likely_at=20, high_at=20)


@given(st.lists(st.tuples(st.floats(0, 50), st.integers(0, 20)), max_size=400), st.integers(2, 64))
def test_a_history_stays_short_and_keeps_its_beginning_and_its_end(steps: list[tuple[float, int]], keep: int) -> None:
    history: list[pace.Sample] = []
    t, done = 0.0, 0
    for seconds, rows in steps:
        t, done = t + seconds, done + rows
        history = pace.append(history, t, done, keep)
        assert len(history) <= keep + 1
        assert tuple(history[-1]) == (t, done)
        assert [sample[0] for sample in history] == sorted({sample[0] for sample in history})
        found = pace.forecast(history, 10, t + 1)
        assert found is None or t < found.low_at <= found.likely_at <= found.high_at < math.inf
    assert not steps or steps[0][0] == history[0][0] or len(history) == 1


# ---------------------------------------------------------------- prices
def test_a_quote_has_a_range_and_the_hours_of_the_slowest_pool() -> None:
    groups = [
        Group(pool="big", model="5b", rows=10, gpu_seconds=3600.0),
        Group(pool="small", model="2b", rows=10, gpu_seconds=1800.0),
    ]
    fleets = {
        "big": pricing.Fleet(present=2, largest=4, per_hour=2.0),
        "small": pricing.Fleet(present=0, largest=1, per_hour=1.0),
    }
    ratios = {("small", "2b"): pricing.Range(low=2.0, likely=2.0, high=2.0)}
    found = pricing.quote(groups, fleets, ratios)
    assert found.gpu_seconds == pricing.Range(low=2880 + 3600, likely=3600 + 3600, high=10800 + 3600)
    assert found.money == pricing.Range(low=1.6 + 1, likely=2 + 1, high=6 + 1)
    assert (found.hours_present, found.hours_largest) == (None, 1.0)
    slow = pricing.quote(groups, fleets, ratios, {("big", "5b"): 4.0})
    assert (found.charge, slow.charge) == (3600 + 3600, 4 * 3600 + 3600)
    assert (slow.gpu_seconds, slow.money, slow.hours_largest) == (found.gpu_seconds, found.money, 1.0)
    assert pricing.quote(groups[:1], fleets, {}, {("big", "5b"): 4.0}).hours_present == 2.0, "finishing takes so long"
    unpriced = {name: replace(fleet, per_hour=None, present=1) for name, fleet in fleets.items()}
    assert pricing.quote(groups, unpriced).money is None
    assert pricing.quote(groups, unpriced).hours_present == 1.0
    assert pricing.quote([], fleets).hours_present == 0.0


# ---------------------------------------------------------------- closed hours
def _at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("line", "moment", "opens"),
    [
        # Friday in winter and in summer.
        ("Mon-Fri 08:00-18:00 Europe/Berlin", "2026-01-16T08:00+01:00", "2026-01-16T18:00+01:00"),
        ("Mon-Fri 08:00-18:00 Europe/Berlin", "2026-01-16T18:00+01:00", None),
        ("Mon-Fri 08:00-18:00 Europe/Berlin", "2026-07-17T17:59+02:00", "2026-07-17T18:00+02:00"),
        ("Mon-Fri 08:00-18:00 Europe/Berlin", "2026-07-18T12:00+02:00", None),
        # Over midnight, also from Sunday to Monday.
        ("Sun-Thu 22:00-06:00 America/New_York", "2026-01-19T05:59-05:00", "2026-01-19T06:00-05:00"),
        ("Sun-Thu 22:00-06:00 America/New_York", "2026-01-17T23:00-05:00", None),
        ("Sat,Sun 00:00-24:00 UTC", "2026-01-17T10:00+00:00", "2026-01-19T00:00+00:00"),
        # Clocks go forward from 02:00 to 03:00, and 02:30 does not come.
        ("Sun 01:00-02:30 Europe/Berlin", "2026-03-29T01:10+01:00", "2026-03-29T03:00+02:00"),
        ("Sun 02:30-04:00 Europe/Berlin", "2026-03-29T03:00+02:00", "2026-03-29T04:00+02:00"),
        ("Sun 02:30-04:00 Europe/Berlin", "2026-03-29T01:59:59+01:00", None),
        # Clocks go back from 03:00 to 02:00, and 02:30 comes twice.
        ("Sun 01:00-02:30 Europe/Berlin", "2026-10-25T02:45+02:00", "2026-10-25T02:30+01:00"),
        ("Sun 02:30-04:00 Europe/Berlin", "2026-10-25T02:30+02:00", "2026-10-25T04:00+01:00"),
    ],
)
def test_closed_hours_hold_by_the_wall_clock(line: str, moment: str, opens: str | None) -> None:
    hours = ClosedHours.parse([line])
    at = _at(moment)
    assert hours.closed_at(at) is (opens is not None)
    assert hours.opens_at(at) == (at if opens is None else _at(opens))


def test_closed_hours_that_follow_each_other_open_after_the_last() -> None:
    hours = ClosedHours.parse(["Fri 12:00-24:00 Europe/Berlin", "Sat,Sun 00:00-24:00 Europe/Berlin"])
    assert hours.opens_at(_at("2026-03-27T13:00+01:00")) == _at("2026-03-30T00:00+02:00")
    assert ClosedHours.parse([]).closed_at(_at("2026-03-27T13:00+01:00")) is False


_LINES = st.lists(
    st.tuples(
        st.sampled_from(["Mon", "Tue-Thu", "Fri-Sun", "Sat,Mon"]),
        st.integers(0, 23),
        st.integers(1, 12),
        st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia"]),
    ),
    min_size=1,
    max_size=3,
)


@given(_LINES, st.integers(0, 366 * 24 * 4))
def test_nothing_before_its_opening_is_open(lines: list[tuple[str, int, int, str]], quarter: int) -> None:
    hours = ClosedHours.parse(
        f"{days} {begin:02}:00-{(begin + length) % 24:02}:30 {zone}" for days, begin, length, zone in lines
    )
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=15 * quarter)
    opens = hours.opens_at(moment)
    assert not hours.closed_at(opens)
    assert hours.closed_at(moment) is (opens > moment)
    while moment < opens:
        assert hours.closed_at(moment)
        moment += timedelta(minutes=15)


@given(_LINES, st.integers(0, 366 * 24 * 4), st.integers(0, 59))
def test_closed_stretches_are_all_that_is_closed_to_the_minute(
    lines: list[tuple[str, int, int, str]], quarter: int, minute: int
) -> None:
    hours = ClosedHours.parse(
        f"{days} {begin:02}:{minute:02}-{(begin + length) % 24:02}:30 {zone}" for days, begin, length, zone in lines
    )
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=15 * quarter)
    until = moment + timedelta(days=9)
    found = list(hours.stretches(moment, until))
    assert found
    assert all(first[1] < second[0] for first, second in pairwise(found))
    for begin, end in found:
        assert begin < end
        assert begin == moment or not hours.closed_at(begin - timedelta(seconds=1))
        assert hours.closed_at(begin)
        assert not hours.closed_at(end)
    for look in range(0, 9 * 24 * 60, 37):
        at = moment + timedelta(minutes=look)
        assert hours.closed_at(at) is any(begin <= at < end for begin, end in found)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["Mon-Fri 8-18 Europe/Berlin"], "is not like"),
        (["Mon-Fri 08:00-18:00"], "is not like"),
        (["Mo-Fr 08:00-18:00 UTC"], "a day that is none of"),
        (["Mon-Fri 08:00-25:00 UTC"], "not from 00:00 to 24:00"),
        (["Mon-Fri 24:00-06:00 UTC"], "not from 00:00 to 24:00"),
        (["Mon-Fri 08:60-09:00 UTC"], "not from 00:00 to 24:00"),
        (["Mon-Fri 08:00-08:00 UTC"], "begins when it ends"),
        (["Mon-Fri 08:00-18:00 Europe/Atlantis"], "no time zone 'Europe/Atlantis'"),
        (["Mon-Fri 08:00-18:00 ../../etc/passwd"], "no time zone"),
        (["Mon-Fri 08:00-18:00 Europe"], "no time zone"),
        (["Mon-Sun 00:00-12:00 UTC", "Mon-Sun 12:00-24:00 UTC"], "no open hour"),
    ],
)
def test_closed_hours_that_cannot_be_are_refused(lines: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ClosedHours.parse(lines)

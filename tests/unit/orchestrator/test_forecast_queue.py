"""When a job that waits begins and ends: later behind more, never before it is due, and for newcomers, too."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.outlooks import JobOutlook, LaneOutlook, expected
from orchestrator.policy.belief import CERTAIN, UNKNOWN
from orchestrator.policy.forecast import Cohort, World
from orchestrator.policy.queued import NOBODY, lanes
from orchestrator.policy.supply import Crew, Pool

NOW = datetime(2026, 11, 29, 18, 20, tzinfo=UTC)
LANE = Cohort(
    subject="jobs", pool="main", model="main", tenant="acme", priority=10, seconds=4_000, rows=100, single=True,
    bias=CERTAIN,
)  # fmt: skip


def a_world(*cohorts: Cohort, workers: int = 10, **pool: object) -> World:
    main = Pool(name="main", crews=[Crew(workers=workers)], yields=CERTAIN)
    return World(pools={"main": replace(main, **pool)}, cohorts=cohorts)  # type: ignore[arg-type]


def curves(world: World) -> dict[tuple[str, int], LaneOutlook]:
    return {(lane.tenant, lane.priority): lane for lane in lanes(world, NOW, usual=[10], draws=11)}


def begins(told: JobOutlook) -> list[float]:
    moments = (told.starts.low_at, told.starts.likely_at, told.starts.high_at)
    return [math.inf if moment is None else (moment - NOW).total_seconds() for moment in moments]


def test_a_job_begins_when_what_goes_before_it_has_been_rendered_and_ends_when_it_has_been() -> None:
    lane = curves(a_world(LANE))["acme", 10]
    told = expected(lane, NOW, ahead_s=2_000, cost_s=40)
    # 2000 GPU seconds on ten workers, and the first of them is free within a tenth of a render or so.
    assert begins(told)[1] == pytest.approx(200, abs=8)
    assert told.starts.likely_at is not None
    assert told.ends.likely_at == told.starts.likely_at + timedelta(seconds=40)
    assert (told.reason, told.made_at) == (None, NOW)
    # It stood behind all when the curve was made, and others have come since.
    assert begins(expected(lane, NOW, ahead_s=6_000, cost_s=40))[1] == pytest.approx(600, rel=0.03)


def test_nothing_begins_before_it_is_due() -> None:
    lane = curves(a_world(LANE))["acme", 10]
    assert begins(expected(lane, NOW, ahead_s=0, cost_s=40, due_in_s=900)) == [900, 900, 900]
    assert begins(expected(lane, NOW, ahead_s=0, cost_s=40, due_in_s=-900))[2] < 40


def test_a_job_of_which_only_the_least_is_known_stands_anywhere_from_there_to_the_end() -> None:
    lane = curves(a_world(LANE))["acme", 10]
    low, likely, high = begins(expected(lane, NOW, ahead_s=1_000, cost_s=40, at_least=True))
    assert low == pytest.approx(130, abs=10)
    assert likely == pytest.approx(250, abs=10)
    assert high == pytest.approx(375, abs=15)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0, 8_000), min_size=2, max_size=8), st.integers(1, 30), st.booleans())
def test_behind_more_nothing_begins_earlier_and_every_range_is_in_order(
    places: list[float], workers: int, closed: bool
) -> None:
    pool = {"closed": [(100.0, 200.0)]} if closed else {}
    unsure = replace(LANE, bias=UNKNOWN)
    world = a_world(unsure, replace(unsure, tenant="b", max_running=2), workers=workers, **pool)
    for lane in curves(world).values():
        found = [begins(expected(lane, NOW, ahead_s=place, cost_s=40)) for place in sorted(places)]
        assert all(one == sorted(one) for one in found)
        for earlier, later in pairwise(found):
            assert all(before <= after + 1e-6 for before, after in zip(earlier, later, strict=True))


def test_a_newcomer_shares_with_its_equals_and_waits_behind_what_is_more_urgent() -> None:
    found = curves(a_world(LANE, replace(LANE, tenant="b", priority=5, seconds=8_000)))
    assert set(found) == {("acme", 10), ("b", 5), (NOBODY, 5), (NOBODY, 10)}
    assert begins(expected(found[NOBODY, 5], NOW, ahead_s=0, cost_s=40))[1] < 40
    assert begins(expected(found[NOBODY, 10], NOW, ahead_s=0, cost_s=40))[1] == pytest.approx(800, rel=0.05)
    # Its second to fifth job have the half of ten workers, as the others' have.
    fifth = begins(expected(found[NOBODY, 5], NOW, ahead_s=160, cost_s=40))[1]
    assert fifth == pytest.approx(160 / 5, abs=8)
    assert set(curves(a_world())) == {(NOBODY, 10)}
    # What is less urgent takes nothing from it, however much of it there is; nor do jobs that come later.
    campaign = replace(LANE, subject="c", tenant="c", priority=20, single=False, seconds=1e9, rows=1e7)
    alone = curves(a_world(LANE))["acme", 10]
    beside = curves(a_world(LANE, campaign, foreground=[9.0] * 168))["acme", 10]
    assert beside.likely_s[-2] == pytest.approx(alone.likely_s[-2], rel=0.05)


def test_without_a_worker_no_job_ever_begins_and_it_says_why() -> None:
    lane = curves(a_world(LANE, workers=0))["acme", 10]
    told = expected(lane, NOW, ahead_s=0, cost_s=40)
    assert (begins(told), told.ends.high_at) == ([math.inf] * 3, None)
    assert told.reason == "pool main has no worker"
    owed = curves(a_world(LANE, crews=[Crew(workers=1, ready_in_s=600)]))["acme", 10]
    assert begins(expected(owed, NOW, ahead_s=0, cost_s=40))[1] == pytest.approx(600, rel=0.01)

"""How true forecasts were is judged by what was told half-way, when a campaign has completed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.domain.outlooks import KeptOutlook, Subject
from orchestrator.policy.hindsight import Hindsight, judged

BEGAN = datetime(2026, 11, 30, 20, tzinfo=UTC)


def after(minutes: float) -> datetime:
    return BEGAN + timedelta(minutes=minutes)


def told(at: float, likely: float | None, *, name: str = "c", spread: float = 10) -> KeptOutlook:
    """What was told `at` minutes after the beginning: an end so many minutes after it."""
    low, high = (None, None) if likely is None else (after(likely - spread), after(likely + spread))
    moment = None if likely is None else after(likely)
    return KeptOutlook(
        subject=Subject.CAMPAIGN, name=name, made_at=after(at), low_at=low, likely_at=moment, high_at=high
    )


@pytest.mark.parametrize(
    ("likely", "ratio", "held"), [(100, 1.0, "held"), (75, 2.0, "late"), (150, 0.5, "early"), (95, 50 / 45, "held")]
)
def test_the_forecast_nearest_to_the_middle_is_compared_with_the_end(likely: float, ratio: float, held: str) -> None:
    found = judged([told(0, 500), told(49, 500), told(50, likely), told(99, 100)], after(100))

    assert found is not None
    assert (round(found.ratio, 6), found.held) == (round(ratio, 6), held)


def test_one_that_said_never_or_a_campaign_of_a_minute_is_not_judged() -> None:
    assert judged([told(0, 100), told(50, None)], after(100)) is None
    assert judged([told(0, 1)], after(1)) is None
    assert judged([], after(1)) is None


def test_only_what_has_completed_is_judged_and_what_is_gone_is_forgotten() -> None:
    hindsight = Hindsight()
    assert hindsight.note([told(0, 100, name="one"), told(0, 100, name="two")]) == frozenset()
    assert (gone := hindsight.note([])) == {"one", "two"}

    assert len(hindsight.judge(gone, {"one": after(100)})) == 1
    assert hindsight.note([]) == frozenset()


def test_of_a_long_campaign_the_beginning_stays_known() -> None:
    hindsight = Hindsight()
    for minute in range(5000):
        hindsight.note([told(minute, 6000)])

    [found] = hindsight.judge({"c"}, {"c": after(5000)})

    assert found.ratio == pytest.approx(2500 / 3500, abs=0.05)

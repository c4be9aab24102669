"""A forecast as it is kept and told: when a campaign, a pool or a job that waits is done, and what would help."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class Subject(StrEnum):
    """What a forecast is about."""

    CAMPAIGN = "campaign"
    POOL = "pool"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptOutlook:
    """When something will be done, as it was last reckoned."""

    subject: Subject
    # A campaign's id, a pool's name.
    name: str
    made_at: datetime
    # One time in ten before the first, one in ten behind the last; None: never, as far as can be seen.
    low_at: datetime | None
    likely_at: datetime | None
    high_at: datetime | None
    # None without a deadline, unless a budget ends it before its end.
    at_risk: bool | None = None
    # Why it is never done, where it is not.
    reason: str | None = None
    # What would make the deadline hold, and the budget last.
    advice: str | None = None


# A forecast is told for so long: whoever makes them makes all of them anew every minute.
BELIEVED = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneOutlook:
    """When jobs of one tenant at one priority begin in a pool, by what goes before them in their lane.

    The tenant is empty for whoever has nothing there yet. Seconds are from when
    it is read, as what is before a job is counted then; infinite is never.
    """

    pool: str
    tenant: str
    priority: int
    made_at: datetime
    # Predicted GPU seconds before a job, ascending from 0: the last but one those of the whole lane, the last far more.
    ahead_s: Sequence[float]
    # In how many seconds a job behind so much begins: one time in ten before the first, one in ten behind the last.
    low_s: Sequence[float]
    likely_s: Sequence[float]
    high_s: Sequence[float]
    # Seconds that a predicted GPU second of its own render takes, in the same three.
    stretch: Sequence[float]
    # Why none ever begins, where none does.
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Three moments: one time in ten before the first, one in ten behind the last; None: never, as things stand."""

    low_at: datetime | None
    likely_at: datetime | None
    high_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOutlook:
    """When a job that waits is expected to begin and to end."""

    made_at: datetime
    starts: Expected
    ends: Expected
    reason: str | None = None


def expected(
    lane: LaneOutlook, now: datetime, *, ahead_s: float, cost_s: float, due_in_s: float = 0.0, at_least: bool = False
) -> JobOutlook:
    """When a job begins and ends that has `ahead_s` predicted GPU seconds before it in its lane and `cost_s` itself.

    `at_least` says that more may go before it: it stands anywhere from there to the end of its lane.
    """
    last = max(ahead_s, lane.ahead_s[-2])
    places = [ahead_s + (last - ahead_s) * share if at_least else ahead_s for share in (0.1, 0.5, 0.9)]
    curves = (lane.low_s, lane.likely_s, lane.high_s)
    starts = [max(due_in_s, _along(lane.ahead_s, curve, place)) for curve, place in zip(curves, places, strict=True)]
    ends = [start + cost_s * stretch for start, stretch in zip(starts, lane.stretch, strict=True)]
    never = starts[-1] == math.inf
    return JobOutlook(
        made_at=lane.made_at,
        starts=_expected(now, starts),
        ends=_expected(now, ends),
        reason=lane.reason if never else None,
    )


def _along(marks: Sequence[float], curve: Sequence[float], at: float) -> float:
    """Between two marks on their line; behind the last one on, as from the one before it to that."""
    if curve[0] == math.inf:
        return curve[0]
    upper = min(max(1, bisect_left(marks, at)), len(marks) - 1)
    low, high = marks[upper - 1], marks[upper]
    if curve[upper] == math.inf:
        return curve[upper - 1] if at <= low else math.inf
    return curve[upper - 1] + (curve[upper] - curve[upper - 1]) * (at - low) / (high - low)


def _expected(now: datetime, seconds: Sequence[float]) -> Expected:
    low, likely, high = (None if each == math.inf else now + timedelta(seconds=each) for each in seconds)
    return Expected(low_at=low, likely_at=likely, high_at=high)

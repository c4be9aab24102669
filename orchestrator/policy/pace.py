"""How fast rows get done, and when the last one will be: a plain, robust look at what was done lately."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

# The recent past is cut into so many pieces of equal length, whose rates are compared.
_PIECES = 10
# No piece is so slow that the latest end lies further away than this many times the likely one.
_SLOWEST = 5.0
# A forecast needs so many rows.
_ROWS = 3

# A moment in seconds of any clock, and the rows that were done by then; plain JSON.
Sample = Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """When the last row will be done: in the clock of the samples."""

    rows_per_hour: float
    low_at: float
    likely_at: float
    high_at: float


def append(history: Sequence[Sample], t: float, done: int, keep: int = 64) -> list[Sample]:
    """The history with one more sample; thinned to every second one when there are more than `keep`.

    Begin a new one when a campaign goes on after a pause: the time in which nothing may be done says nothing of a rate.
    """
    earlier = [sample for sample in history if sample[0] < t]
    if len(earlier) >= max(2, keep):
        earlier = earlier[::2]
    return [*earlier, (t, done)]


def forecast(history: Sequence[Sample], remaining: int, now: float) -> Forecast | None:
    """When `remaining` rows will be done at the rate of late; None as long as too little is known.

    The later half of the history and the time since then count, in pieces of equal length. Their median is the rate, so
    that a burst or a short stall changes little; their tenth and their ninetieth per cent make the range.
    """
    if remaining <= 0:
        return Forecast(rows_per_hour=0.0, low_at=now, likely_at=now, high_at=now)
    if len(history) < 2 or history[-1][1] - history[0][1] < _ROWS:
        return None
    end = max(now, history[-1][0])
    begin = _begin(history, end)
    bounds = [begin + (end - begin) * piece / _PIECES for piece in range(_PIECES + 1)]
    done = [_done_by(history, moment) for moment in bounds]
    length = (end - begin) / _PIECES
    rates = sorted((later - earlier) / length for earlier, later in pairwise(done))
    mean = (done[-1] - done[0]) / (end - begin)
    if mean <= 0:
        return None
    # Where few rows are done, most pieces may have none.
    likely = _quantile(rates, 0.5) or mean
    slow, fast = max(_quantile(rates, 0.1), likely / _SLOWEST), max(_quantile(rates, 0.9), likely)
    return Forecast(
        rows_per_hour=likely * 3600,
        low_at=now + remaining / fast,
        likely_at=now + remaining / likely,
        high_at=now + remaining / slow,
    )


def _begin(history: Sequence[Sample], end: float) -> float:
    """The middle of the time that the history spans, or so much earlier that enough rows are seen."""
    middle = (history[0][0] + end) / 2
    enough = [t for t, done in history if history[-1][1] - done >= _ROWS]
    return min(middle, enough[-1])


def _done_by(history: Sequence[Sample], moment: float) -> float:
    """Rows done by a moment: along straight lines between samples, and as at the last one behind it."""
    after = bisect_right(history, moment, key=lambda sample: sample[0])
    if after == 0:
        return history[0][1]
    if after == len(history):
        return history[-1][1]
    (t0, done0), (t1, done1) = history[after - 1], history[after]
    return done0 + (done1 - done0) * (moment - t0) / (t1 - t0)


def _quantile(ascending: Sequence[float], share: float) -> float:
    at = share * (len(ascending) - 1)
    low = int(at)
    high = min(low + 1, len(ascending) - 1)
    return ascending[low] + (ascending[high] - ascending[low]) * (at - low)

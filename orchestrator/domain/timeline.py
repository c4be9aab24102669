"""What an attempt went through, as its dispatcher and its worker have seen it: which stage, from when on, how long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

# A stage's name, when it began in seconds after some beginning, and how many seconds it took. Plain values: they are
# pickled for dispatchers of another release, and kept as JSON.
Period = tuple[str, float, float]
Timeline = tuple[Period, ...]

# What a dispatcher adds to the stages that its workers tell of: the statement that claimed it, and the way of its
# assignment there and back.
CLAIM, ASSIGNMENT = "claim", "assignment"

# A render that is preempted again and again, or begins again, must not fill its row.
MOST_PERIODS = 64
# What begins so soon after the same had ended had not ended.
_AT_ONCE_S = 0.001


def extended(periods: Timeline, name: str, start_s: float, seconds: float) -> Timeline:
    """With one more behind. The last one goes on until its end where it is the same, or one more is too many."""
    if not periods:
        return ((name, start_s, seconds),)
    *before, (last, since_s, lasted_s) = periods
    goes_on = name == last and start_s - since_s - lasted_s < _AT_ONCE_S
    if goes_on or len(periods) >= MOST_PERIODS:
        return (*before, (last, since_s, start_s + seconds - since_s))
    return (*periods, (name, start_s, seconds))


def shifted(periods: Iterable[Period], by_s: float) -> Timeline:
    """Counted from another beginning, to the millisecond; what came before that one begins with it."""
    return tuple((name, round(max(0.0, start_s + by_s), 3), round(seconds, 3)) for name, start_s, seconds in periods)


def placed(periods: Iterable[Period], began: datetime, ended: datetime) -> Iterator[tuple[str, datetime, datetime]]:
    """From when until when each lasted: two clocks that run apart must not show a stage beyond its attempt."""
    for name, start_s, seconds in periods:
        start = min(began + timedelta(seconds=start_s), ended)
        yield name, start, min(start + timedelta(seconds=seconds), ended)

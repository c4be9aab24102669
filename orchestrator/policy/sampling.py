"""How finely hours that are over are remembered, and for how long. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

# Ends are counted once they are so old: by then whoever wrote one has committed.
LAG_S = 10.0

# Tenants of one sample that have rows of their own, those with the most jobs; pools and priorities are few.
MOST_TENANTS = 200

KEEP = timedelta(days=90)

# What an answer may be told in, in seconds; each one holds a whole number of those before it.
STEPS_S = (60, 600, 3600, 86_400)
# More points are in nobody's chart.
MOST_POINTS = 1_500
_USUAL_POINTS = 400


@dataclass(frozen=True, slots=True)
class Thinning:
    """What is older than `after` is kept by steps of so many seconds."""

    after: timedelta
    step_s: int


THINNINGS = (Thinning(timedelta(hours=26), 600), Thinning(timedelta(days=8), 3600))


def finest(age: timedelta) -> int:
    """Seconds of the finest step in which something so old is known."""
    return max((each.step_s for each in THINNINGS if age >= each.after), default=STEPS_S[0])


def step_for(since: datetime, until: datetime, now: datetime) -> int:
    """The finest step that makes no more points than a chart shows, and in which all of the time is known."""
    known = finest(now - since)
    fitting = (step for step in STEPS_S if step >= known and (until - since).total_seconds() / step <= _USUAL_POINTS)
    return next(fitting, STEPS_S[-1])

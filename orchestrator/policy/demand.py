"""What a pool has to do, and at what rate, so that deadlines are kept. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# What is overdue, or due sooner, is due in so many seconds: no number of workers does it at once.
_SOON_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a pool has to do, in seconds of its reference kind (speed 1)."""

    # All that waits or runs and is not done yet, with campaigns' rows that have no job yet.
    backlog_s: float = 0.0
    # The part of it that is due at a time; `required_rate` is what keeps these deadlines.
    due_s: float = 0.0
    required_rate: float = 0.0
    # Seconds until the deadline that decides the rate; None is none.
    due_in_s: float | None = None
    # The part of the backlog that somebody sits and waits for.
    urgent_s: float = 0.0
    # Renders that wait or run, rows without a job among them: more workers than that have nothing to do.
    jobs: int = 0


def required_rate(dues: Iterable[tuple[float, float]]) -> tuple[float, float | None]:
    """The rate that keeps these deadlines, and when the one is that decides it, in seconds from now.

    `dues` are pairs: seconds until a deadline, and the work that it is for. Done in the order of their deadlines, they
    are all kept if by each of them all that is due until then is done (Liu, Layland 1973: earliest deadline first).
    """
    rate, decides, work = 0.0, None, 0.0
    for due_in_s, seconds in sorted((max(_SOON_S, due_in_s), seconds) for due_in_s, seconds in dues):
        work += seconds
        if work / due_in_s > rate:
            rate, decides = work / due_in_s, due_in_s
    return rate, decides

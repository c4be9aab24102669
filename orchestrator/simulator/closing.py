"""When pools are closed: the product's closed hours (`policy/hours.py`), as seconds of a simulation."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from orchestrator.policy.hours import ClosedHours

# Wall clocks are set for minutes.
_LOOK = timedelta(minutes=1)


def periods(lines: Iterable[str], begins: datetime, until_s: float) -> list[tuple[float, float]]:
    """From when to when a pool is closed, in seconds since the beginning, of all that begins before `until_s`."""
    closed = ClosedHours.parse(lines)
    found: list[tuple[float, float]] = []
    at, end = begins, begins + timedelta(seconds=until_s)
    while closed.periods and at < end:
        if closed.closed_at(at):
            opens = closed.opens_at(at)
            found.append(((at - begins).total_seconds(), (opens - begins).total_seconds()))
            at = opens
        else:
            at = at + _LOOK - timedelta(seconds=at.second, microseconds=at.microsecond)
    return found

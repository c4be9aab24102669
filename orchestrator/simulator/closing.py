"""When pools are closed: the product's closed hours (`policy/hours.py`), as seconds of a simulation."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from orchestrator.policy.hours import ClosedHours


def periods(lines: Iterable[str], begins: datetime, until_s: float) -> list[tuple[float, float]]:
    """From when to when a pool is closed, in seconds since the beginning, of all that begins before `until_s`."""
    found = ClosedHours.parse(lines).stretches(begins, begins + timedelta(seconds=until_s))
    return [((begin - begins).total_seconds(), (end - begins).total_seconds()) for begin, end in found]

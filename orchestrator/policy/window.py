"""How many rows of a campaign have a job at once: enough that no worker waits for the runner, few enough to change."""

from __future__ import annotations

import math
from dataclasses import dataclass

# Between two refills, at most; a runner's loop is quicker than that.
REFILL_S = 2.0
# The rows that a template's version begins with.
FIRST = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What a campaign may have now."""

    # Rows that have a job that has not ended.
    rows: int
    # Of these, jobs that may be claimed or run; the others are held.
    seats: int


def window(
    *,
    workers: int,
    cost_s: float,
    succeeded: int,
    failed: int,
    most: int,
    max_running: int | None = None,
    refill_s: float = REFILL_S,
) -> Window:
    """The window of a campaign on a pool of so many workers, whose rows take `cost_s` seconds on one.

    `succeeded` and `failed` count since the template's version began. It never outgrows `most`, nor the slow start;
    within them no worker waits for the runner, of as many workers as `max_running` allows.
    """
    usable = workers if max_running is None else min(workers, max_running)
    rows = min(ahead(usable, cost_s, refill_s=refill_s, most=most), slow_start(succeeded, failed))
    return Window(rows=rows, seats=rows if max_running is None else min(rows, max_running))


def ahead(workers: int, cost_s: float, *, refill_s: float = REFILL_S, least: int = 8, most: int) -> int:
    """Rows that keep so many workers busy until the next refill.

    Each worker holds one, and begins at most `refill_s / cost_s` others, rounded up, before more come. Without a worker
    it is `least`: something has to wait, or nobody knows that workers are wanted.
    """
    if cost_s * most <= refill_s:  # too short to divide by, zero included
        return most
    return min(most, max(least, workers * (1 + math.ceil(refill_s / cost_s))))


def slow_start(succeeded: int, failed: int, *, first: int = FIRST) -> int:
    """Rows that a template's version may have at once, after so many ends: the first few, then ever more.

    One more for each success doubles it with every round that succeeds: 8, then 16, then 32. One less for each failure:
    of a template that only fails, no more than `max(first, failures + 1)` rows have begun by then. Never less than one,
    so that it can recover.
    """
    return max(1, first + succeeded - failed)

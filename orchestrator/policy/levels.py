"""How a tenant's share of a pool is divided between what it has there at one priority: `refill.py`, as a fluid. Pure.

Its seats are workers here, and fractions of them. That renders of one fail more often than another's is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Part(NamedTuple):
    """What a campaign, or the single jobs, of a tenant may have and need of its share, in GPU seconds in a second."""

    most: float
    # To be done when it is due; 0 where it is not due, or too late.
    need: float = 0.0
    # Seconds from now.
    due_s: float = 0.0


def divided(total: float, parts: Sequence[Part], *, worker: float) -> list[float]:
    """What each has of a total that all of them together may have; `worker` is what one worker does.

    Each has a worker; then those that are due have what they need, the nearest first; and what is left raises those
    that have least, until all have as much.
    """
    least = min(worker, total / len(parts))
    found = [min(least, part.most) for part in parts]
    left = total - sum(found)
    needing = [(part.due_s, each) for each, part in enumerate(parts) if part.need > found[each]]
    for _, each in sorted(needing):
        more = min(left, min(parts[each].need, parts[each].most) - found[each])
        found[each] += more
        left -= more
    if left <= 0:
        return found
    level = _level(found, parts, left)
    return [min(part.most, max(has, level)) for has, part in zip(found, parts, strict=True)]


def _level(has: Sequence[float], parts: Sequence[Part], left: float) -> float:
    """To which so much more raises those that have less, and may have more."""
    turns = sorted(
        turn for each, part in zip(has, parts, strict=True) if part.most > each for turn in ((each, 1), (part.most, -1))
    )
    level, rising = 0.0, 0
    for at, change in turns:
        if rising:
            if left <= rising * (at - level):
                return level + left / rising
            left -= rising * (at - level)
        level, rising = at, rising + change
    return level

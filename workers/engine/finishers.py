"""Whose frames are finished, and for whom there is a place before the finishers: pure rules that tenants share by.

A render is finished frame by frame, and at each frame the finishers may be given to others. One tenant's frames take
`FINISHERS` places at most, and there is one more: so another tenant's render is decoded at once, and it gets a finisher
at the next frame. What one tenant has beyond that waits on the GPU's side, where it takes a worker's room from that
tenant alone (`Schedule.room_for`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from orchestrator.policy.charge import FINISHERS

# Decoded videos that may be in memory.
PLACES: Final = FINISHERS + 1
# Among tenants that are equal otherwise a finisher changes hands after about so many seconds, not at every frame.
_TURN_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finishing:
    """A render whose frames are being finished, or wait for that."""

    token: UUID
    tenant: str
    # 0 is the most urgent.
    priority: int
    # Seconds for which it has had a finisher.
    had_s: float


def at_work(finishing: Iterable[Finishing]) -> frozenset[UUID]:
    """Those that have a finisher now; `finishing` are in order of arrival.

    Each tenant's first render comes before any tenant's second: a tenant's own are in order of urgency. Of the first
    ones those come before that have had a finisher for less long.
    """
    before: Counter[str] = Counter()
    turns: list[tuple[int, int, int, UUID]] = []
    for place, each in enumerate(sorted(finishing, key=lambda each: each.priority)):
        turns.append((before[each.tenant], int(each.had_s / _TURN_S), place, each.token))
        before[each.tenant] += 1
    return frozenset(token for *_, token in sorted(turns)[:FINISHERS])

"""What lanes have in common, added up: by pool, by priority, by tenant. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from orchestrator.domain.outlooks import LaneOutlook
from orchestrator.ports.overview import Ends, QueuedLane


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """What waits, runs and ended of something."""

    name: str
    waiting: int
    running: int
    oldest_wait_s: float | None
    # Within the last hour and the last day; None where that is not told apart.
    hour: Ends | None = None
    day: Ends | None = None


def amounts_by(lanes: Iterable[QueuedLane], key: Callable[[QueuedLane], str]) -> list[Amount]:
    """What lanes have that have this in common, in their order."""
    of: dict[str, list[QueuedLane]] = {}
    for lane in lanes:
        of.setdefault(key(lane), []).append(lane)
    return [_summed(name, mine) for name, mine in of.items()]


def _summed(name: str, lanes: Sequence[QueuedLane]) -> Amount:
    waits = [lane.oldest_wait_s for lane in lanes if lane.oldest_wait_s is not None and lane.waiting]
    return Amount(
        name=name,
        waiting=sum(lane.waiting for lane in lanes),
        running=sum(lane.running for lane in lanes),
        oldest_wait_s=max(waits, default=None),
    )


def with_ends(amount: Amount, hour: Mapping[str, Ends], day: Mapping[str, Ends]) -> Amount:
    """The same, with what ended under its name."""
    return replace(amount, hour=hour.get(amount.name, Ends()), day=day.get(amount.name, Ends()))


def total_of(lanes: Sequence[QueuedLane], hour: Ends, day: Ends) -> Amount:
    """All of it."""
    return with_ends(_summed("", lanes), {"": hour}, {"": day})


def by_priority(
    lanes: Sequence[QueuedLane], hour: Mapping[str, Ends], day: Mapping[str, Ends], *, told_apart: bool
) -> list[Amount]:
    """The most urgent first; `told_apart`: what ended is known by priority."""
    found = {each.name: each for each in amounts_by(lanes, lambda lane: str(lane.priority))}
    for name in {*hour, *day} - set(found):
        found[name] = Amount(name=name, waiting=0, running=0, oldest_wait_s=None)
    ordered = sorted(found.values(), key=lambda each: int(each.name))
    return [with_ends(each, hour, day) for each in ordered] if told_apart else ordered


def by_tenant(lanes: Sequence[QueuedLane], hour: Mapping[str, Ends], day: Mapping[str, Ends]) -> list[Amount]:
    """Whoever has the most in the queue first."""
    found = {each.name: each for each in amounts_by(lanes, lambda lane: lane.tenant)}
    for name in {*hour, *day} - set(found):
        found[name] = Amount(name=name, waiting=0, running=0, oldest_wait_s=None)
    told = [with_ends(each, hour, day) for each in found.values()]
    return sorted(told, key=lambda each: (-each.waiting - each.running, -(each.day or Ends()).all, each.name))


def starts_of(lanes: Iterable[LaneOutlook]) -> dict[str, datetime]:
    """When the next job of each pool is likely to begin, by the first of its lanes."""
    found: dict[str, datetime] = {}
    for lane in lanes:
        if not lane.tenant or not lane.likely_s or math.isinf(lane.likely_s[0]):
            continue
        at = lane.made_at + timedelta(seconds=lane.likely_s[0])
        found[lane.pool] = min(at, found.get(lane.pool, at))
    return found

"""What GPU seconds came to nothing, by cause: attempts that were of no use, and workers that rendered nothing. Pure.

Attempts and workers' time are two ledgers. What is busy in the one is what attempts used in the other, so that a second
is never in two causes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from orchestrator.domain.usage import Prices, Sum, price_of, waste_of
from orchestrator.domain.worker_time import Spell, Spent


class Cause(StrEnum):
    """Why GPU seconds came to nothing: `usage.Waste` for attempts, `worker_time.Spell` for workers."""

    CANCELLED = "cancelled"
    FAILED = "failed"
    LOST = "lost"
    EVICTED = "evicted"
    RELEASED = "released"
    IDLE = "idle"
    LOADING = "loading"
    BROKEN = "broken"


_ORDER: list[object] = [*Cause]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wasted:
    """Seconds with one cause. What they are not told apart by is None."""

    cause: Cause
    hour: datetime | None = None
    pool: str | None = None
    # Of the workers; empty where a pool has workers of one kind.
    kind: str | None = None
    seconds: float
    # None where no price is known for some of it.
    money: float | None


def wasted_by_cause(sums: Iterable[Sum], spent: Iterable[Spent], by: Iterable[str], per_hour: Prices) -> list[Wasted]:
    """One line for each cause and combination of `hour`, `pool` and `kind`, as far as `by` names them."""
    names = tuple(by)
    lines: dict[tuple[object, ...], Wasted] = {}
    found: list[tuple[Cause, Sum | Spent, float]] = [*_of_attempts(sums), *_of_workers(spent)]
    for cause, each, seconds in found:
        told = {name: getattr(each, name) for name in names}
        price = price_of(each.pool, each.kind, per_hour)
        money = None if price is None else seconds * price
        key = (*told.values(), cause)
        earlier = lines.get(key)
        if earlier is not None:
            seconds += earlier.seconds
            money = None if money is None or earlier.money is None else earlier.money + money
        lines[key] = Wasted(cause=cause, **told, seconds=seconds, money=money)
    return [lines[key] for key in sorted(lines, key=_in_order)]


def _in_order(key: tuple[object, ...]) -> tuple[object, ...]:
    *told, cause = key
    return (*((part is not None, str(part)) for part in told), _ORDER.index(cause))


def _of_attempts(sums: Iterable[Sum]) -> Iterator[tuple[Cause, Sum, float]]:
    for each in sums:
        if (cause := waste_of(each.outcome, each.kept)) is not None:
            yield Cause(cause.value), each, each.gpu_seconds


def _of_workers(spent: Iterable[Spent]) -> Iterator[tuple[Cause, Spent, float]]:
    for each in spent:
        if each.spell is not Spell.BUSY:
            yield Cause(each.spell.value), each, each.seconds

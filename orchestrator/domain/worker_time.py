"""What the seconds of workers went into: renders, waiting, loading, or nothing at all. Values and pure rules.

The ledger of `domain/usage.py` is about attempts. This one is about the workers that made them: every second from a
worker's first answer on, whether anybody rendered on it or not. What is busy here is what attempts used there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from orchestrator.domain.usage import Prices, price_of


class Spell(StrEnum):
    """What a worker does with its time."""

    # It renders.
    BUSY = "busy"
    # It holds its model, and has nothing to render.
    IDLE = "idle"
    # It loads its model, and warms it up.
    LOADING = "loading"
    # It could not load, and has not been ended yet.
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Seconds that the workers of a pool and kind spent in one way within one hour of UTC."""

    hour: datetime | None = None
    pool: str
    # Empty where a pool has workers of one kind.
    kind: str = ""
    spell: Spell
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerHours:
    """Workers' seconds that have an hour, a pool and a kind in common; what they are not told apart by is None."""

    hour: datetime | None = None
    pool: str | None = None
    kind: str | None = None
    seconds: Mapping[Spell, float]
    # What all of them cost, and those in which nothing was rendered. None where no price is known for some.
    money: float | None
    unused_money: float | None

    @property
    def utilisation(self) -> float | None:
        """The share of the time in which renders were made; None of no time."""
        total = sum(self.seconds.values())
        return self.seconds[Spell.BUSY] / total if total > 0 else None


def add_up(spent: Iterable[Spent], by: Iterable[str], per_hour: Prices) -> list[WorkerHours]:
    """One line for each combination of `hour`, `pool` and `kind`, as far as `by` names them, in their order."""
    names = tuple(by)
    seconds: dict[tuple[object, ...], dict[Spell, float]] = {}
    money: dict[tuple[object, ...], list[float | None]] = {}
    for each in spent:
        key = tuple(getattr(each, name) for name in names)
        in_spells = seconds.setdefault(key, dict.fromkeys(Spell, 0.0))
        in_spells[each.spell] += each.seconds
        price = price_of(each.pool, each.kind, per_hour)
        cost = None if price is None else each.seconds * price
        unused = 0.0 if each.spell is Spell.BUSY else cost
        whole = money.setdefault(key, [0.0, 0.0])
        whole[:] = [_plus(whole[0], cost), _plus(whole[1], unused)]
    return [
        WorkerHours(
            **dict(zip(names, key, strict=True)),  # type: ignore[arg-type]
            seconds=seconds[key],
            money=money[key][0],
            unused_money=money[key][1],
        )
        for key in sorted(seconds, key=lambda key: tuple(map(str, key)))
    ]


def _plus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other

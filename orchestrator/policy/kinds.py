"""The kinds of workers that a pool may have, how many of each there are, what they do and what they cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

# What is left of a division that should have come out even.
_EVEN = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Workers of a pool that cost and do the same."""

    name: str
    # None is unknown, and counts as nothing.
    price_per_gpu_hour: float | None = None
    # Of one worker.
    gpus: int = 1
    # Workers that are always there, and as many as there may be.
    least: int = 0
    most: int
    # Seconds of the reference kind's work that one worker does in a second.
    speed: float = 1.0
    # From asking for one until it renders.
    start_s: float = 300.0
    # The Ray resource that only its nodes have; None is any node.
    resource: str | None = None
    # Its nodes may be taken away, with a notice: spot, preemptible.
    may_vanish: bool = False

    @property
    def per_hour(self) -> float:
        """What an hour of one worker costs, with all its GPUs."""
        return (self.price_per_gpu_hour or 0.0) * self.gpus

    @property
    def price(self) -> float:
        """What a second of the reference kind's work costs."""
        return self.per_hour / 3600 / self.speed


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How many workers of a kind there are. A worker counts once, in one of the four."""

    kind: Kind
    # Asked for, and never heard of: no node may have come.
    requested: int = 0
    # It has a process, which loads its model.
    starting: int = 0
    ready: int = 0
    # On its way out: it takes nothing more, and still costs.
    draining: int = 0
    # Seconds since each of the requested was asked for; what is missing was asked for just now.
    ages: Sequence[float] = ()
    # Of a kind that may vanish: those that were taken away since the last decision, with or without notice.
    lost: int = 0

    @property
    def present(self) -> int:
        """Those that are there or coming."""
        return self.requested + self.starting + self.ready

    @property
    def paid(self) -> int:
        """Those that caps count."""
        return self.present + self.draining


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What all workers together may be."""

    gpus: float = math.inf
    money_per_hour: float = math.inf

    @classmethod
    def of(cls, gpus: float | None, money_per_hour: float | None) -> Bounds:
        """None is no bound."""
        unbound = math.inf
        return cls(
            gpus=unbound if gpus is None else gpus,
            money_per_hour=unbound if money_per_hour is None else money_per_hour,
        )

    def less(self, standings: Iterable[Standing]) -> Bounds:
        """What these workers leave; below zero where they are too many."""
        gpus, money = self.gpus, self.money_per_hour
        for standing in standings:
            gpus -= standing.paid * standing.kind.gpus
            money -= standing.paid * standing.kind.per_hour
        return Bounds(gpus=gpus, money_per_hour=money)

    def room(self, kind: Kind) -> int | float:
        """So many more of this kind fit in."""
        fit = math.floor(self.gpus / kind.gpus + _EVEN) if math.isfinite(self.gpus) else math.inf
        if kind.per_hour > 0 and math.isfinite(self.money_per_hour):
            fit = min(fit, math.floor(self.money_per_hour / kind.per_hour + _EVEN))
        return max(0, fit)

    def without(self, kind: Kind, count: int) -> Bounds:
        return Bounds(gpus=self.gpus - count * kind.gpus, money_per_hour=self.money_per_hour - count * kind.per_hour)


def cheapest_first(kinds: Iterable[Kind]) -> list[Kind]:
    """By what the same work costs; of equals those that stay, then by name, so that the order is one."""
    return sorted(kinds, key=lambda kind: (kind.price, kind.may_vanish, kind.name))


def cover(
    kinds: Iterable[Kind], limits: Mapping[str, int], *, rate: float, heads: int, bounds: Bounds
) -> dict[str, int]:
    """How many of each kind do `rate` reference seconds in a second at the least price.

    Never more than `limits` (by name) and `bounds`, nor more than `heads` workers beyond each kind's least, as more
    would have nothing to do. Each number grows with `rate` and `heads`, which is what hysteresis stands on. Caps are
    filled cheapest first, too: where GPUs are what is short, a dearer, faster kind would do more.
    """
    ordered = cheapest_first(kinds)
    counts: dict[str, int] = {}
    for kind in ordered:
        counts[kind.name] = int(min(kind.least, limits[kind.name], bounds.room(kind)))
        bounds = bounds.without(kind, counts[kind.name])
    rate -= sum(counts[kind.name] * kind.speed for kind in ordered)
    heads -= sum(counts.values())
    for kind in ordered:
        if rate <= _EVEN or heads <= 0:
            break
        lacking = math.ceil(rate / kind.speed - _EVEN)
        more = int(max(0, min(lacking, limits[kind.name] - counts[kind.name], heads, bounds.room(kind))))
        counts[kind.name] += more
        bounds = bounds.without(kind, more)
        rate -= more * kind.speed
        heads -= more
    return counts

"""What GPU seconds cost, and what a campaign is quoted before anything of it is rendered.

GPU seconds are those of a worker: while one of several GPUs renders, a second is a second. So its price is that of all
its GPUs, where the work costs most (`PoolSettings.price_of_work`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orchestrator.domain.campaign import Group
from orchestrator.policy.ratios import UNKNOWN, Ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """One in ten is below the first, and one in ten above the last."""

    low: float
    likely: float
    high: float

    def times(self, factor: float) -> Range:
        return Range(low=self.low * factor, likely=self.likely * factor, high=self.high * factor)

    def plus(self, other: Range) -> Range:
        """The sum, for errors that go together: those of predictions do, so the ends are added."""
        return Range(low=self.low + other.low, likely=self.likely + other.likely, high=self.high + other.high)


NOTHING = Range(low=0.0, likely=0.0, high=0.0)
_UNKNOWN = Range(low=UNKNOWN.low, likely=UNKNOWN.likely, high=UNKNOWN.high)
_NO_RATIOS: Mapping[tuple[str, str], Range] = {}
_NO_FACTORS: Mapping[tuple[str, str], float] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What a pool has to render with."""

    # Workers that are there, and as many as there may be.
    present: int
    largest: int
    # Price of an hour of the reference kind's work; None is unknown.
    per_hour: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What rendering some groups takes."""

    gpu_seconds: Range
    # None where a pool has no price.
    money: Range | None
    # What fair shares and limits will count (`charge.py`).
    charge: float
    # Until the last pool is done, if nobody else renders there; None where a pool has no worker.
    hours_present: float | None
    hours_largest: float | None


def range_of(ratio: Ratio) -> Range:
    """What renders have taught, as the range that a second of the catalogue's takes."""
    return Range(low=ratio.low, likely=ratio.likely, high=ratio.high)


def quote(
    groups: Iterable[Group],
    fleets: Mapping[str, Fleet],
    ratios: Mapping[tuple[str, str], Range] = _NO_RATIOS,
    charged: Mapping[tuple[str, str], float] = _NO_FACTORS,
) -> Quote:
    """What these rows take on their pools' workers.

    Groups are in seconds of the catalogue; `ratios` are what one of them really takes, by pool and model, and `charged`
    what a GPU second is charged. Money is that of GPU seconds; workers are busy for what is charged.
    """
    total, money = NOTHING, NOTHING
    priced = True
    load: defaultdict[str, float] = defaultdict(float)
    for group in groups:
        fleet = fleets[group.pool]
        seconds = ratios.get((group.pool, group.model), _UNKNOWN).times(group.gpu_seconds)
        total = total.plus(seconds)
        load[group.pool] += seconds.likely * charged.get((group.pool, group.model), 1.0)
        if fleet.per_hour is None:
            priced = False
        else:
            money = money.plus(seconds.times(fleet.per_hour / 3600))
    return Quote(
        gpu_seconds=total,
        money=money if priced else None,
        charge=sum(load.values()),
        hours_present=_hours(load, {pool: fleets[pool].present for pool in load}),
        hours_largest=_hours(load, {pool: fleets[pool].largest for pool in load}),
    )


def _hours(load: Mapping[str, float], workers: Mapping[str, int]) -> float | None:
    """Pools render beside each other: the slowest one counts."""
    if any(seconds > 0 and workers[pool] < 1 for pool, seconds in load.items()):
        return None
    return max((seconds / workers[pool] / 3600 for pool, seconds in load.items() if seconds > 0), default=0.0)

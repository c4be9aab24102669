"""What was used of the GPUs, and how much of it came to nothing: values and pure rules.

A row of usage is an attempt's GPU seconds. An attempt that succeeded, or that left a checkpoint to go on from, was of
use; any other is waste, by its cause. Loading and warming a model up, and waiting for work, are no attempt's seconds:
neither the ledger nor the workers' busy metric counts them. What limits and lanes count of it (`policy/charge.py`) is
told beside it, and is in no sum of GPU seconds or of money.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from orchestrator.domain.outcome import AttemptOutcome


class By(StrEnum):
    """What usage can be told apart by. The hour is that of UTC in which an attempt ended."""

    TENANT = "tenant"
    CAMPAIGN = "campaign"
    MODEL = "model"
    POOL = "pool"
    KIND = "kind"
    OUTCOME = "outcome"
    HOUR = "hour"


class Waste(StrEnum):
    """Why GPU seconds came to nothing."""

    # Its owner stopped it.
    CANCELLED = "cancelled"
    # It broke; the job was tried again, or failed.
    FAILED = "failed"
    # Its worker vanished or hung.
    LOST = "lost"
    # It made room, and left nothing to go on from.
    EVICTED = "evicted"
    # Its worker stopped it although nobody had asked.
    RELEASED = "released"


def waste_of(outcome: AttemptOutcome, kept: bool | None) -> Waste | None:
    """Why an attempt came to nothing; None when it did not.

    `kept` says of an evicted one that it left a checkpoint further on. Rows of earlier releases do not say: most did.
    """
    if outcome is AttemptOutcome.SUCCEEDED or (outcome is AttemptOutcome.EVICTED and kept is not False):
        return None
    return Waste(outcome.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """Attempts that have something in common, added up. What they are not told apart by is None."""

    hour: datetime | None = None
    tenant: str | None = None
    # A campaign's or a batch's id; also None for single requests.
    campaign: str | None = None
    # Also None for rows of earlier releases.
    model: str | None = None
    pool: str | None = None
    # Of the worker; empty where a pool has workers of one kind. Also None for rows of earlier releases.
    kind: str | None = None
    outcome: AttemptOutcome | None = None
    attempts: int
    gpu_seconds: float
    # Of these, what came to nothing.
    wasted_gpu_seconds: float
    # None where no price is known for some of it.
    money: float | None
    # What fair shares and limits counted.
    charge: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """What the store adds up: always apart by what prices and waste depend on."""

    hour: datetime | None
    tenant: str | None
    campaign: str | None
    model: str | None
    pool: str
    kind: str | None
    outcome: AttemptOutcome
    kept: bool | None
    attempts: int
    gpu_seconds: float
    charge: float


# What an hour of one worker costs, by pool and kind; None is unknown. The empty kind is the pool's dearest.
Prices = Mapping[tuple[str, str], float | None]


def price_of(pool: str, kind: str | None, per_hour: Prices) -> float | None:
    """Money for a second of a worker. Where nobody knows its kind, it was the dearest, as it was reserved."""
    price = per_hour.get((pool, kind or ""))
    return None if price is None else price / 3600


def add_up(sums: Iterable[Sum], by: Iterable[By], per_hour: Prices) -> list[Used]:
    """One line for each combination of what it is told apart by, in their order."""
    names = [each.value for each in by]
    lines: dict[tuple[object, ...], Used] = {}
    for each in sums:
        key = tuple(getattr(each, name) for name in names)
        one = _line(each, dict(zip(names, key, strict=True)), price_of(each.pool, each.kind, per_hour))
        lines[key] = _plus(lines[key], one) if key in lines else one
    return [lines[key] for key in sorted(lines, key=lambda key: tuple((part is not None, part) for part in key))]


def wasted(sums: Iterable[Sum]) -> dict[Waste, float]:
    """GPU seconds that came to nothing, by cause; each cause is there."""
    found = dict.fromkeys(Waste, 0.0)
    for each in sums:
        if (cause := waste_of(each.outcome, each.kept)) is not None:
            found[cause] += each.gpu_seconds
    return found


def _line(each: Sum, told: Mapping[str, Any], price: float | None) -> Used:
    wasted_s = 0.0 if waste_of(each.outcome, each.kept) is None else each.gpu_seconds
    return Used(
        **told,
        attempts=each.attempts,
        gpu_seconds=each.gpu_seconds,
        wasted_gpu_seconds=wasted_s,
        money=None if price is None else each.gpu_seconds * price,
        charge=each.charge,
    )


def _plus(one: Used, other: Used) -> Used:
    return Used(
        **{by.value: getattr(one, by.value) for by in By},
        attempts=one.attempts + other.attempts,
        gpu_seconds=one.gpu_seconds + other.gpu_seconds,
        wasted_gpu_seconds=one.wasted_gpu_seconds + other.wasted_gpu_seconds,
        money=None if one.money is None or other.money is None else one.money + other.money,
        charge=one.charge + other.charge,
    )

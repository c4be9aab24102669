"""What was used, and what workers' hours went into: the ledger's lines and sums.

GPU seconds by when their attempts ended, times in Unix seconds.
"""

from __future__ import annotations

from typing import Literal

from cogmill_client.models.base import Answer


class Amounts(Answer):
    """What some attempts used together; `money` is None where a pool has no price."""

    attempts: int
    gpu_seconds: float
    wasted_gpu_seconds: float
    money: float | None
    # What fair shares and daily limits counted; 0 of earlier servers, which do not say.
    charge: float = 0.0


class UsageLine(Amounts):
    """Of the attempts that have in common what was asked for; what was not is None."""

    object: Literal["usage.line"]
    hour: int | None
    tenant: str | None
    campaign: str | None
    model: str | None
    pool: str | None
    # Earlier servers do not say.
    kind: str | None = None
    outcome: str | None


class Causes(Answer):
    """GPU seconds that came to nothing."""

    cancelled: float
    failed: float
    lost: float
    evicted: float
    released: float


class Usage(Answer):
    """From one moment until another, the last one not included."""

    object: Literal["usage"]
    since: int
    until: int
    by: list[str]
    tenant: str | None
    currency: str
    data: list[UsageLine]
    total: Amounts
    waste: Causes


class WorkerAmounts(Answer):
    """What workers' hours went into; money is None where a pool has no price."""

    busy_s: float
    idle_s: float
    loading_s: float
    broken_s: float
    utilisation: float | None
    money: float | None
    unused_money: float | None


class WorkerLine(WorkerAmounts):
    """Of the workers that have in common what was asked for; what was not is None."""

    object: Literal["usage.workers.line"]
    hour: int | None
    pool: str | None
    kind: str | None


class WorkerUsage(Answer):
    """Of the hours that begin from one moment until another, the last one not included."""

    object: Literal["usage.workers"]
    since: int
    until: int
    by: list[str]
    currency: str
    data: list[WorkerLine]
    total: WorkerAmounts


Cause = Literal["cancelled", "failed", "lost", "evicted", "released", "idle", "loading", "broken"]


class WasteLine(Answer):
    """Seconds that came to nothing for one cause; what was not asked for is None."""

    object: Literal["usage.waste.line"]
    cause: Cause
    hour: int | None
    pool: str | None
    kind: str | None
    seconds: float
    share: float | None
    money: float | None


class WasteUsage(Answer):
    """Of the hours that begin from one moment until another, the last one not included."""

    object: Literal["usage.waste"]
    since: int
    until: int
    by: list[str]
    currency: str
    data: list[WasteLine]
    worker_seconds: float
    worker_money: float | None

"""What a tenant may do, and which of the jobs that it submits together fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from orchestrator.domain.errors import LimitExceeded

# Nobody knows when a tenant's next job starts; what waits for a seat in the queue asks again after so long.
_QUEUE_RETRY_S = 10.0
# Charges are floats: a budget of three times 0.1 has room for three jobs of 0.1.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """A tenant's limits; None says nothing, and infinity that there is no limit."""

    # Authenticated requests.
    requests_per_s: float | None = None
    # Jobs that have not started.
    queued: float | None = None
    # Jobs that have started.
    running: float | None = None
    # What was charged since midnight UTC, and what queued and running jobs are predicted to be (`charge.py`).
    gpu_seconds_per_day: float | None = None
    # The predicted charge of one job.
    largest_request: float | None = None
    # The least priority number that the tenant may ask for: its wishes go before fair shares only as far as this.
    most_urgent: int | None = None
    # Quotas, of which `policy/quotas.py` knows what counts. Batches, and campaigns, that have not ended.
    open_batches: float | None = None
    open_campaigns: float | None = None
    # Their rows that have not ended; and bytes of what campaigns' rows say, which lie in the database.
    waiting_rows: float | None = None
    row_bytes: float | None = None
    # Files that it has, and their bytes in the bucket.
    files: float | None = None
    stored_bytes: float | None = None
    webhook_endpoints: float | None = None
    # Videos that are followed in one API process; and as many campaigns.
    event_streams: float | None = None

    def over(self, defaults: Limits) -> Limits:
        """These limits, and the defaults where they say nothing."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return Limits(**{name: getattr(defaults, name) if value is None else value for name, value in own.items()})

    @property
    def bounds_queue(self) -> bool:
        """True when jobs have to be counted before one more is accepted."""
        return self.queued is not None or self.gpu_seconds_per_day is not None

    def check_size(self, charge: float) -> None:
        """Raise `LimitExceeded` for one job of a larger predicted charge than is allowed."""
        if self.largest_request is not None and charge > self.largest_request:
            raise LimitExceeded(
                f"this video is predicted to be charged {charge:.1f} GPU seconds; "
                f"at most {self.largest_request:g} are allowed",
                limit="largest_request",
                retry_after_s=None,
            )

    def urgency(self, wished: int | None, usual: int) -> int:
        """The priority of what wishes for this one; of what wishes for none, the usual one or the most urgent there is.

        Raises `LimitExceeded` for a wish that is more urgent than is allowed.
        """
        most = self.most_urgent
        if most is None:
            return usual if wished is None else wished
        if wished is None:
            return max(usual, most)
        if wished < most:
            raise LimitExceeded(
                f"{wished} is more urgent than the limit most_urgent allows: {most} is the least (0 goes first)",
                limit="most_urgent",
                retry_after_s=None,
                param="priority",
                most=most,
                used=wished,
            )
        return wished


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What counts against a tenant now."""

    queued: int
    # Charged today or spoken for.
    gpu_seconds: float
    # The time until midnight UTC.
    day_left_s: float


def admit(limits: Limits, standing: Standing, charges: Sequence[float]) -> list[LimitExceeded | None]:
    """For each new job in order, by its predicted charge: None when it fits, or why it does not."""
    queued, gpu_seconds = standing.queued, standing.gpu_seconds
    refusals: list[LimitExceeded | None] = []
    for charge in charges:
        refusal = _full(limits, queued) or _spent(limits, gpu_seconds, charge, standing.day_left_s)
        if refusal is None:
            queued += 1
            gpu_seconds += charge
        refusals.append(refusal)
    return refusals


def _full(limits: Limits, queued: int) -> LimitExceeded | None:
    if limits.queued is None or queued < limits.queued:
        return None
    return LimitExceeded(
        f"{queued} videos are waiting to be rendered; at most {limits.queued:g} may",
        limit="queued",
        retry_after_s=_QUEUE_RETRY_S if limits.queued > 0 else None,
    )


def _spent(limits: Limits, gpu_seconds: float, charge: float, day_left_s: float) -> LimitExceeded | None:
    budget = math.inf if limits.gpu_seconds_per_day is None else limits.gpu_seconds_per_day
    if gpu_seconds + charge <= budget * (1 + _ROUNDING):
        return None
    return LimitExceeded(
        f"of today's {budget:g} GPU seconds {gpu_seconds:.1f} are charged or spoken for, "
        f"and this video is predicted to be charged {charge:.1f}",
        limit="gpu_seconds_per_day",
        retry_after_s=day_left_s if charge <= budget else None,
    )

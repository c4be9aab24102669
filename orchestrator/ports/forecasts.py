"""The store of forecasts: what they are made from, who makes them, and what everybody reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from orchestrator.domain.campaign import Campaign
from orchestrator.domain.loading import WorkerLoad
from orchestrator.domain.outlooks import KeptOutlook, LaneOutlook
from orchestrator.domain.pausing import Pause
from orchestrator.ports.campaign_values import Budget


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneWork:
    """What one tenant has ready in one pool at one priority, its campaigns' rows among it."""

    pool: str
    tenant: str
    priority: int
    weight: float
    jobs: int
    # Predicted GPU seconds of one, by the first of them.
    typical: float
    # As many of them as its tenant may run at a time there; None is any number.
    most: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchWork:
    """What a batch has for one pool: rows that have jobs, and as many of the others as these are of all its jobs."""

    batch: str
    tenant: str
    priority: int
    weight: float
    pool: str
    # Rows that have no job yet.
    waiting: float
    # Predicted GPU seconds of one, by those that have.
    typical: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadHour:
    """What attempts of single jobs used in one hour of the week."""

    pool: str
    # From Monday 00:00 UTC, 0 to 167.
    hour: int
    gpu_seconds: float
    # When the first of all these attempts ended, of any pool.
    since: datetime


# A campaign, and the name and detail of an event about it.
Telling = tuple[Campaign, str, Mapping[str, Any]]


class ForecastStore(Protocol):
    """Forecasts in PostgreSQL. Every method may raise `StoreUnavailable`."""

    async def lead(self, duty: str, token: UUID, lease_s: float) -> bool:
        """Whether who has the token leads in this duty for so long: nobody else does."""
        ...

    async def forecast_mark(self) -> str:
        """A word that changes with what forecasts depend on beside time: campaigns, workers, pauses."""
        ...

    async def campaigns_going(self) -> list[Campaign]:
        """Campaigns that have rows and have not ended, whole."""
        ...

    async def lanes_waiting(self) -> list[LaneWork]: ...

    async def batches_waiting(self) -> list[BatchWork]:
        """What batches have beyond their window, by what their jobs are. One that has no job is not among them."""
        ...

    async def budgets(self) -> list[Budget]:
        """Those of all tenants, with what counts against them in the period that goes on."""
        ...

    async def load_by_hour(self, *, weeks: int) -> list[LoadHour]: ...

    async def load_since(self, *, hours: float) -> Mapping[str, float]:
        """GPU seconds of single jobs' attempts that ended in the last so many hours, by pool."""
        ...

    async def weights(self) -> Mapping[str, float]:
        """Shares of the tenants that have one of their own."""
        ...

    async def most_urgent(self) -> Mapping[str, int]:
        """How urgent the tenants may be that have a limit of their own for it."""
        ...

    async def workers_of(self, pools: Sequence[str]) -> Mapping[str, int]: ...

    async def worker_loads(self) -> list[WorkerLoad]: ...

    async def pauses(self) -> list[Pause]: ...

    async def keep_forecasts(
        self,
        duty: str,
        token: UUID,
        forecasts: Sequence[KeptOutlook],
        tellings: Sequence[Telling],
        *,
        lanes: Sequence[LaneOutlook] = (),
    ) -> None:
        """Replace all forecasts and write the events, in one transaction. Raises `LeaseLost` for who does not lead."""
        ...

    async def forecasts(self) -> list[KeptOutlook]: ...

    async def completed(self, campaigns: Collection[str]) -> Mapping[str, datetime]:
        """When those of these campaigns did that have completed; now, where only the manifest is missing."""
        ...

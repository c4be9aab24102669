"""The store of workers as administrators see them, and of what they ask of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestrator.domain.loading import LoadState
from orchestrator.domain.orders import Order, OrderKind


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderSeen:
    """One job that a worker holds, as its dispatcher wrote last."""

    job_id: str
    tenant: str
    campaign: str | None
    priority: int
    # The word of a `Stage`; None until something was heard of it.
    stage: str | None
    step: int
    steps: int
    claimed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSeen:
    """One worker as the rows have it, whichever cluster it is in."""

    cluster: str
    name: str
    pool: str
    # Of its living life; None where it has none.
    incarnation: str | None
    beat_at: datetime | None
    # As its dispatcher told last, within ten minutes; None where it told nothing.
    load: LoadState | None
    model: str | None
    # How often in a row it could not load its model, and why.
    failures: int
    reason: str
    # Why, in its own words.
    detail: str
    # LoRA adapters in its memory.
    adapters: Sequence[str]
    # Jobs that it holds.
    running: int
    renders: Sequence[RenderSeen]
    order: Order | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPage:
    """Some workers, by cluster and name; `has_more` when there are others behind them."""

    workers: Sequence[WorkerSeen]
    has_more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """What stood for a worker before, and what stands now; None is nothing."""

    before: Order | None
    after: Order | None


class OrderStore(Protocol):
    """What a dispatcher asks about the workers of its own cluster. Every method may raise `StoreUnavailable`."""

    async def worker_orders(self, cluster: str) -> list[Order]:
        """What stands for its workers."""
        ...

    async def order_done(self, order: Order) -> bool:
        """It is carried out: nothing stands for that worker any more, unless something else was asked since."""
        ...


class WorkerAdmin(Protocol):
    """What administrators see of workers and ask of them. Every method may raise `StoreUnavailable`."""

    async def page_workers(
        self, *, limit: int, after: tuple[str, str] | None = None, pool: str | None = None, cluster: str | None = None
    ) -> WorkerPage:
        """Behind the worker `after`, a cluster and a name."""
        ...

    async def find_worker(self, cluster: str, name: str) -> WorkerSeen | None: ...

    async def order_worker(
        self, cluster: str, name: str, kind: OrderKind, *, incarnation: str, within_s: float | None, by: str
    ) -> Ordered:
        """Ask this of the worker that lives so, in the place of what was asked of it before."""
        ...

    async def lift_order(self, cluster: str, name: str) -> Ordered:
        """Let nothing stand for this worker."""
        ...

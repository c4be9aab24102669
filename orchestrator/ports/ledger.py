"""The store of what was used of the GPUs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestrator.domain.usage import By, Sum
from orchestrator.domain.worker_time import Spent


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageQuery:
    """Which attempts are added up: those that ended in a time, the end of which is not in it."""

    since: datetime
    until: datetime
    by: Collection[By]
    # None is every tenant, and every campaign and none.
    tenant: str | None = None
    campaign: str | None = None
    # More sums than that are not read.
    most: int


class LedgerStore(Protocol):
    """The ledger: every attempt that used a GPU, for ever."""

    async def usage(self, query: UsageQuery) -> list[Sum]:
        """Sums of `query.by`, and of pool, kind, outcome and whether it was kept; at most one more than `most`."""
        ...

    async def worker_time(self, since: datetime, until: datetime) -> list[Spent]:
        """What workers spent in the hours that begin in this time, the end of which is not in it."""
        ...

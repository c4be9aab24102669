"""The store as `cogmill trace` reads it."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from orchestrator.domain.life import Life


class LifeReader(Protocol):
    """Everything there is about one job. May raise `StoreUnavailable`."""

    async def life(self, job_id: UUID) -> Life | None:
        """Of a job of any tenant; None where there is none, or it was deleted."""
        ...

"""What was parked since it broke the loop that met it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class ParkedKind(StrEnum):
    """What may be parked. `event`: a row of the outbox."""

    BATCH = "batch"
    CAMPAIGN = "campaign"
    EVENT = "event"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """What broke the loop that met it."""

    kind: ParkedKind
    # The batch's or the campaign's id, or the one of the outbox's row.
    subject: str
    tenant: str
    # The evidence: what the loop raised.
    error: str
    at: datetime


class ParkedStore(Protocol):
    """Every method may raise `StoreUnavailable`."""

    async def list_parked(self) -> list[Parked]:
        """All of them, the oldest first."""
        ...

    async def resume_parked(self, subject: str) -> bool:
        """Let its loop meet it again; False when nothing of that id is parked."""
        ...

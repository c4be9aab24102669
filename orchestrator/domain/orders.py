"""What an administrator asks of one worker: to leave, or to make way for a fresh life of its own. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from orchestrator.domain.errors import InvalidField

# Of what a worker renders when it is told to leave: how long an administrator may let it go on.
MAX_GRACE_S = 86_400.0


class OrderKind(StrEnum):
    """What is asked."""

    # It takes no more, ends, and stays away until it is called back. One of a kind is the autoscaler's to replace.
    DRAIN = "drain"
    # It takes no more, ends, and is started anew.
    REPLACE = "replace"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What stands for one worker of a cluster."""

    cluster: str
    worker: str
    kind: OrderKind
    # The life that it was said to.
    incarnation: str
    # For how long what it renders may go on; None: to its end.
    within_s: float | None
    # What is left of that; None: there is no such time.
    left_s: float | None
    asked_by: str
    asked_at: datetime

    @property
    def overdue(self) -> bool:
        """What it still renders leaves with its checkpoint."""
        return self.left_s is not None and self.left_s <= 0


def check_grace(within_s: float | None) -> float | None:
    """The same. Raises `InvalidField`."""
    if within_s is not None and not 0 <= within_s <= MAX_GRACE_S:
        raise InvalidField(f"must be from 0 to {MAX_GRACE_S:g} seconds", param="within_s")
    return within_s

"""A forecast as it is kept and told: when a campaign or a pool is done, whether that is in time, what would help."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Subject(StrEnum):
    """What a forecast is about."""

    CAMPAIGN = "campaign"
    POOL = "pool"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptOutlook:
    """When something will be done, as it was last reckoned."""

    subject: Subject
    # A campaign's id, a pool's name.
    name: str
    made_at: datetime
    # One time in ten before the first, one in ten behind the last; None: never, as far as can be seen.
    low_at: datetime | None
    likely_at: datetime | None
    high_at: datetime | None
    # None without a deadline.
    at_risk: bool | None = None
    # Why it is never done, where it is not.
    reason: str | None = None
    # What would make the deadline hold.
    advice: str | None = None

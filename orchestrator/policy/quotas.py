"""What a tenant has of what stays, and whether more of it fits: quotas."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from orchestrator.domain.errors import LimitExceeded
from orchestrator.policy.limits import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What counts against a tenant's quotas, each of which has the same name in `Limits`."""

    # Those that have not ended.
    open_batches: int = 0
    open_campaigns: int = 0
    # Rows of these that have not ended, and of what was cancelled those that are not freed yet.
    waiting_rows: int = 0
    # What the rows of its campaigns say, until these are deleted.
    row_bytes: int = 0
    # Neither deleted nor swept after they expired; of a deleted one as long as a batch reads it.
    files: int = 0
    # Those of its files, and inputs that were put to campaigns' signed URLs.
    stored_bytes: int = 0
    webhook_endpoints: int = 0


COUNTED = tuple(field.name for field in fields(Holding))
# Event streams are counted in each API process.
QUOTAS = (*COUNTED, "event_streams")

_WORDS = {
    "open_batches": "batches that have not ended",
    "open_campaigns": "campaigns that have not ended",
    "waiting_rows": "rows of batches and campaigns that wait",
    "row_bytes": "bytes of campaigns' rows",
    "files": "files",
    "stored_bytes": "bytes of files",
    "webhook_endpoints": "webhook endpoints",
}


def check_room(limits: Limits, holding: Holding, **more: int) -> None:
    """Raise `LimitExceeded` for the first of these quotas that so much more does not fit into.

    Who is above one keeps what there is: what adds nothing to it always fits.
    """
    for name, amount in more.items():
        most, used = getattr(limits, name), getattr(holding, name)
        if most is not None and amount and used + amount > most:
            raise exceeded(name, most=most, used=used, more=amount)


def exceeded(name: str, *, most: float, used: int, more: int = 1) -> LimitExceeded:
    """Why so much more does not fit. No time helps: what counts goes as its owner ends, cancels or deletes it."""
    return LimitExceeded(
        f"{used} {_WORDS[name]} are there, {more} more were asked for, and at most {most:.0f} are allowed "
        f"(limit {name})",
        limit=name,
        retry_after_s=None,
        most=math.floor(most),
        used=used,
    )

"""The store of erasures: tenants that are being erased, and what was done to those that are gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """One tenant's erasure. While it goes on, its keys open nothing and nothing new is taken for it."""

    id: str
    # None once it is finished.
    tenant: str | None
    keep_usage: bool
    requested_by: str
    requested_at: datetime
    # What is gone by now: rows by their table, `pictures`, `objects` and their `bytes`.
    erased: Mapping[str, int] = field(default_factory=dict)
    # What it waits for, for people; None while it works.
    waits_for: str | None = None
    finished_at: datetime | None = None
    # The text of the signed receipt.
    receipt: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """An erasure that is due, until when nobody else takes it up, and the time that its round began at."""

    erasure: Erasure
    tenant: str
    began_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What an erasure cannot do yet."""

    # Claims that have not ended.
    running: int
    # When the next of what it has to come back to is due; None where there is nothing.
    due_at: datetime | None


class ErasureStore(Protocol):
    """What erases rows. Every method is one transaction that may be repeated; each may raise `StoreUnavailable`."""

    async def request_erasure(self, tenant: str, *, by: str, keep_usage: bool) -> Erasure | None:
        """Close the tenant and begin; the one that goes on already, if there is one. None without such a tenant."""
        ...

    async def get_erasure(self, erasure_id: str) -> Erasure | None: ...

    async def list_erasures(self, *, limit: int, after: str | None = None) -> Sequence[Erasure]:
        """Newest first, behind the one with the id `after`."""
        ...

    async def next_erasure(self, *, hold_s: float) -> Round | None:
        """One that is due; nobody else gets it for `hold_s`."""
        ...

    async def stop_work(self, round_: Round) -> int:
        """Cancel some of what waits or runs; how many jobs."""
        ...

    async def ended_jobs(self, round_: Round, *, limit: int) -> list[UUID]:
        """Some of its jobs that have ended, deleted ones among them."""
        ...

    async def forget_jobs(
        self, round_: Round, ids: Sequence[UUID], *, objects: int, size: int, late_s: float, grace_s: float
    ) -> int:
        """Their objects are gone, so many with so many bytes: drop the jobs; how many.

        Those that ended less than `late_s` ago are come back to, as are their pictures, `grace_s` from now.
        """
        ...

    async def late_jobs(self, round_: Round, *, limit: int) -> list[UUID]:
        """Jobs, dropped by now, whose objects are due to be looked for again."""
        ...

    async def late_jobs_swept(self, round_: Round, ids: Sequence[UUID], *, objects: int, size: int) -> None:
        """They have been."""
        ...

    async def pictures_due(self, round_: Round, *, grace_s: float, limit: int) -> list[str]:
        """Keys of pictures that nobody needs any more. Others that are due are settled on the way, or put off."""
        ...

    async def pictures_swept(self, round_: Round, keys: Sequence[str], *, objects: int, size: int) -> None:
        """Their objects, so many with so many bytes, are gone."""
        ...

    async def objects_erased(self, round_: Round, *, objects: int, size: int) -> None:
        """So many of its other objects are gone."""
        ...

    async def erase_rows(self, round_: Round, *, limit: int) -> int:
        """Drop at most so many of its rows; how many."""
        ...

    async def left(self, round_: Round) -> Left: ...

    async def rest(self, round_: Round, *, for_s: float, waits_for: str | None) -> None:
        """Take it up again so much later."""
        ...

    async def close_tenant(self, round_: Round) -> Erasure | None:
        """Drop its keys and the tenant itself; None, and nothing is dropped, where any row of its is left."""
        ...

    async def finish_erasure(self, erasure_id: str, *, finished_at: datetime, receipt: str) -> None:
        """It is done. From then on nothing here says the tenant's name, which is free again."""
        ...

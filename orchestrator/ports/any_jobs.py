"""The store of jobs as administrators see them: of every tenant, with what befell them, but without what they show."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from orchestrator.domain.job import Job
from orchestrator.domain.life import Attempt


class Fate(StrEnum):
    """What became of a dead letter that was looked after."""

    # A job like it was queued in its place.
    RELEASED = "released"
    # Nobody is to be reminded of it.
    FORGOTTEN = "forgotten"


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterEnd:
    """Who looked after a dead letter, and how."""

    fate: Fate
    # The job in its place.
    successor: UUID | None
    ended_by: str
    ended_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSeen:
    """A job, who holds it or had it last, and the ends of its claims, in the order of their numbers."""

    job: Job
    cluster: str | None
    worker: str | None
    # The campaign or the batch that it is a row of.
    campaign: str | None
    attempts: Sequence[Attempt]
    # What was done about it as a dead letter.
    letter: LetterEnd | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsPage:
    """Some jobs, newest first; `has_more` when there are others behind them."""

    jobs: Sequence[JobSeen]
    has_more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which dead letters are meant; None is any."""

    tenant: str | None = None
    pool: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterEnds:
    """What was done about a dead letter before, and what stands now."""

    before: LetterEnd | None
    after: LetterEnd


class AnyJobStore(Protocol):
    """Jobs of every tenant; deleted ones are nobody's. Every method may raise `StoreUnavailable`."""

    async def any_job(self, job_id: UUID) -> JobSeen | None: ...

    async def page_dead_letters(
        self, chosen: Chosen, *, not_codes: Collection[str], limit: int, after: UUID | None = None
    ) -> JobsPage:
        """Failed jobs that nobody has looked after, but those with one of these codes, behind `after`, there or not."""
        ...

    async def end_letter(self, job_id: UUID, fate: Fate, *, by: str, successor: UUID | None = None) -> LetterEnds:
        """Note what was done about a failed job. One that was released stays so, and one that was forgotten may be."""
        ...

"""Jobs of every tenant, as administrators see them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, select

from orchestrator.domain.job import Failure
from orchestrator.domain.life import Attempt
from orchestrator.domain.outcome import AttemptOutcome
from orchestrator.ports.any_jobs import Chosen, Fate, JobSeen, JobsPage, LetterEnd
from orchestrator.store import rows
from orchestrator.store.part import Part
from orchestrator.store.tables import attempts, dead_letters, jobs

_LETTER = (dead_letters.c.fate, dead_letters.c.successor, dead_letters.c.ended_by, dead_letters.c.ended_at)
_ATTEMPT = (
    attempts.c.job_id, attempts.c.number, attempts.c.outcome, attempts.c.cluster, attempts.c.worker,
    attempts.c.incarnation, attempts.c.gpu_seconds, attempts.c.claimed_at, attempts.c.ended_at, attempts.c.failure,
    attempts.c.timeline,
)  # fmt: skip


class AnyJobs(Part):
    async def any_job(self, job_id: UUID) -> JobSeen | None:
        (*found,) = await self._seen(seeing().where(jobs.c.id == job_id))
        return found[0] if found else None

    async def _page_of(self, query: Select[Any], chosen: Chosen, limit: int, after: UUID | None) -> JobsPage:
        """A page of what is asked for, newest first: ids are UUIDv7, and in the order of creation."""
        if after is not None:
            query = query.where(jobs.c.id < after)
        found = await self._seen(query.where(*_of(chosen)).order_by(jobs.c.id.desc()).limit(limit + 1))
        return JobsPage(jobs=found[:limit], has_more=len(found) > limit)

    async def _seen(self, query: Select[Any]) -> list[JobSeen]:
        found = await self._database.fetch(query)
        tried: dict[UUID, list[Attempt]] = {}
        if found:
            ended = select(*_ATTEMPT).where(attempts.c.job_id.in_([row.id for row in found]))
            for row in await self._database.fetch(ended.order_by(attempts.c.job_id, attempts.c.number)):
                tried.setdefault(row.job_id, []).append(_attempt(row))
        return [
            JobSeen(
                job=rows.job(row),
                cluster=row.cluster,
                worker=row.worker,
                campaign=row.campaign,
                attempts=tried.get(row.id, []),
                letter=letter_of(row) if row.fate is not None else None,
            )
            for row in found
        ]


def seeing() -> Select[Any]:
    """Jobs with all that administrators see; those that were deleted are nobody's."""
    columns = (*rows.JOB_COLUMNS, jobs.c.cluster, jobs.c.worker, jobs.c.campaign, *_LETTER)
    joined = jobs.outerjoin(dead_letters, dead_letters.c.job_id == jobs.c.id)
    return select(*columns).select_from(joined).where(jobs.c.deleted_at.is_(None))


def letter_of(row: Row[Any]) -> LetterEnd:
    """How a dead letter was looked after, from a row of its table."""
    return LetterEnd(fate=Fate(row.fate), successor=row.successor, ended_by=row.ended_by, ended_at=row.ended_at)


def _of(chosen: Chosen) -> list[ColumnElement[bool]]:
    of: list[ColumnElement[bool]] = []
    if chosen.tenant is not None:
        of.append(jobs.c.tenant == chosen.tenant)
    if chosen.pool is not None:
        of.append(jobs.c.pool == chosen.pool)
    if chosen.model is not None:
        of.append(jobs.c.spec["model"].astext == chosen.model)
    return of


def _attempt(row: Row[Any]) -> Attempt:
    values = {name: value for name, value in row._mapping.items() if name != "job_id"}
    failure = None if row.failure is None else Failure(**row.failure)
    timeline = tuple((name, start_s, seconds) for name, start_s, seconds in row.timeline or ())
    return Attempt(**{**values, "outcome": AttemptOutcome(row.outcome), "failure": failure, "timeline": timeline})

"""From filters to conditions of statements, which read rows of `jobs` or of a subquery with its columns."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    Subquery,
    Text,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from orchestrator.domain.job_filter import JobFilter
from orchestrator.domain.states import JobState
from orchestrator.store.tables import attempts, jobs

Columns = ReadOnlyColumnCollection[str, Any]

# What a window reads: all that conditions look at.
_READ = tuple(
    jobs.c[name]
    for name in (
        "id", "tenant", "pool", "priority", "state", "created_at", "finished_at", "claimed_at", "spec", "request",
        "failure", "campaign",
    )
)  # fmt: skip
# That have not ended.
LIVE = {JobState.HELD, JobState.QUEUED, JobState.RUNNING}
# An id has the clock of the process that made it, and `created_at` the database's.
_SKEW = timedelta(minutes=10)


def window(wanted: JobFilter, *, after: UUID | None, newest_first: bool, size: int) -> Select[Any]:
    """So many rows in the order of their ids, by what an index serves; whoever filters them reads no more."""
    query = select(*_READ).where(jobs.c.deleted_at.is_(None))
    if wanted.tenant is not None:
        query = query.where(jobs.c.tenant == wanted.tenant)
    if wanted.states == {JobState.FAILED}:
        query = query.where(text("jobs.state = 'failed'"))  # as a word of the statement, for its partial index
    if wanted.created_to is not None:
        # No lower bound: the jobs of a campaign have ids of the moment when it was made.
        query = query.where(jobs.c.id < first_id(wanted.created_to, later=_SKEW))
    if after is not None:
        query = query.where(jobs.c.id < after if newest_first else jobs.c.id > after)
    return query.order_by(jobs.c.id.desc() if newest_first else jobs.c.id.asc()).limit(size)


def chosen(wanted: JobFilter, c: Columns, *, states: bool = True) -> list[ColumnElement[bool]]:
    """All conditions of a filter; without those on states unless `states`."""
    of = [*on_columns(wanted, c), *on_documents(wanted, c)]
    if states and wanted.states:
        of.append(c.state.in_(sorted(wanted.states)))
    return of


def on_columns(wanted: JobFilter, c: Columns) -> list[ColumnElement[bool]]:
    """Conditions that the planner has statistics for."""
    same = ("tenant", "pool", "priority", "campaign")
    of = [c[name] == getattr(wanted, name) for name in same if getattr(wanted, name) is not None]
    bounds = (
        ("created_at", wanted.created_from, wanted.created_to),
        ("finished_at", wanted.ended_from, wanted.ended_to),
    )
    for name, begin, end in bounds:
        of += [] if begin is None else [c[name] >= begin]
        of += [] if end is None else [c[name] < end]
    return of


def on_documents(wanted: JobFilter, c: Columns) -> list[ColumnElement[bool]]:
    """Conditions on what is inside of documents."""
    of: list[ColumnElement[bool]] = []
    if wanted.model is not None:
        of.append(c.spec["model"].astext == wanted.model)
    if wanted.code is not None:
        of.append(c.failure["code"].astext == wanted.code)
    if wanted.text is not None:
        of.append(func.strpos(func.lower(c.spec["prompt"].astext), func.lower(wanted.text)) > 0)
    if wanted.metadata:
        of.append(c.request["metadata"].contains(bindparam(None, dict(wanted.metadata), type_=JSONB, unique=True)))
    return of


def as_it_stood(c: Columns, at: datetime) -> ColumnElement[str]:
    """The state that a job had at a moment after its creation; of a job that waited then and does no more, `queued`."""
    tried = (
        select(literal_column("1"))
        .where(attempts.c.job_id == c.id, attempts.c.claimed_at <= at, attempts.c.ended_at > at)
        .exists()
    )
    ran = or_((c.state == "running") & (c.claimed_at <= at), tried)
    return case((c.finished_at <= at, c.state), (ran, "running"), (c.state == "held", "held"), else_="queued")


def live(wanted: JobFilter) -> bool:
    """Whether only jobs that have not ended are wanted: there are indexes of those alone."""
    return bool(wanted.states) and wanted.states <= LIVE


def live_ids(wanted: JobFilter, most: int) -> Select[Any]:
    """The ids of such jobs, at most so many. Each part by its own partial index."""
    words = sorted(wanted.states)
    if wanted.tenant is not None:
        of = select(jobs.c.id).where(
            jobs.c.tenant == wanted.tenant,
            jobs.c.state.in_(words),
            text("coalesce(jobs.finished_at, 'infinity') = 'infinity'"),
        )
        return of.limit(most)
    parts = []
    if JobState.RUNNING in wanted.states:
        parts.append(select(jobs.c.id).where(text("jobs.state = 'running'")).limit(most))
    if waiting := [word for word in words if word != JobState.RUNNING]:
        if JobState.QUEUED in waiting:
            parts.append(select(jobs.c.id).where(jobs.c.ready).limit(most))
        due_later = select(jobs.c.id).where(
            text("jobs.state IN ('held', 'queued') AND NOT jobs.ready"), jobs.c.state.in_(waiting)
        )
        parts.append(due_later.limit(most))
    together: Subquery = parts[0].union_all(*parts[1:]).subquery() if parts[1:] else parts[0].subquery()
    return select(together.c.id).limit(most)


def ended_ids(wanted: JobFilter, most: int) -> Select[Any]:
    """The ids of jobs of any tenant that ended in the wanted range, at most so many."""
    of = select(jobs.c.id).where(jobs.c.finished_at.is_not(None))
    if wanted.ended_from is not None:
        of = of.where(jobs.c.finished_at >= wanted.ended_from)
    if wanted.ended_to is not None:
        of = of.where(jobs.c.finished_at < wanted.ended_to)
    return of.limit(most)


# The last job of each row with this id. Campaigns of one tenant are few beside their rows, and each has an index.
OF_ROWS = text("""
    SELECT coalesce(w.job_id, (r.result ->> 'job')::uuid) AS id
    FROM campaigns AS c
    JOIN campaign_rows AS r ON r.campaign = c.number AND r.custom_id = :custom_id
    LEFT JOIN campaign_jobs AS w ON w.campaign = r.campaign AND w.place = r.place
    WHERE (CAST(:tenant AS text) IS NULL OR c.tenant = :tenant)
      AND coalesce(w.job_id::text, r.result ->> 'job') IS NOT NULL
    LIMIT :most
""").bindparams(bindparam("tenant", type_=Text), bindparam("custom_id", type_=Text))


def first_id(moment: datetime, *, later: timedelta = timedelta()) -> UUID:
    """The least UUIDv7 of a moment (RFC 9562, section 5.7: milliseconds in the first 48 bits).

    `later` is added to its seconds: no `datetime` lies behind the last one, which a filter may name.
    """
    millis = max(0, min(2**48 - 1, int((moment.timestamp() + later.total_seconds()) * 1000)))
    return UUID(int=millis << 80)

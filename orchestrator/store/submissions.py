"""Group commit: submissions that arrive together share one INSERT and one fsync, and each learns its own fate."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from typing import cast
from uuid import UUID

from sqlalchemy import bindparam, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError

from orchestrator.domain.errors import CogmillError, InvalidField, StoreUnavailable
from orchestrator.domain.job import Job, NewJob
from orchestrator.domain.states import JobState
from orchestrator.store import rows
from orchestrator.store.engine import Database
from orchestrator.store.tables import jobs
from orchestrator.store.wakeups import Announcer

_Seat = tuple[NewJob, "asyncio.Future[Job]"]

_FLIGHTS = 2
_SEATS = 64

# A lane is made by whoever needs it first. Sorted, so that two flights with the same new lanes cannot deadlock.
_INSERT = text("""
    WITH batch AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(:batch) AS b(
            id uuid, tenant text, pool text, priority smallint, spec jsonb, cost float8, max_attempts int,
            request jsonb, deadline timestamptz, run_at timestamptz, held boolean, idempotency_key text,
            request_hash text)
    ), lane AS (
        INSERT INTO lanes (pool, priority, tenant, weight)
        SELECT pool, priority, tenant, coalesce((SELECT weight FROM tenants WHERE name = tenant), 1)
        FROM (SELECT DISTINCT pool, priority, tenant FROM batch ORDER BY pool, priority, tenant) AS needed
        ON CONFLICT DO NOTHING
    )
    INSERT INTO jobs (id, tenant, pool, priority, spec, cost, max_attempts, request, deadline, run_at, state, ready,
                      idempotency_key, request_hash, input)
    SELECT id, tenant, pool, priority, spec, cost, max_attempts, request, coalesce(deadline, 'infinity'),
           coalesce(run_at, cogmill_now()),
           CASE WHEN held THEN 'held' ELSE 'queued' END, NOT held AND coalesce(run_at <= cogmill_now(), true),
           idempotency_key, request_hash, spec -> 'image' ->> 'sha256'
    FROM batch
    ON CONFLICT (id) DO NOTHING
    RETURNING id, created_at
""").bindparams(bindparam("batch", type_=JSONB))


class Submissions:
    """The jobs that wait for a seat. A flight takes off at once when one of two is free; what arrives meanwhile waits.

    Two flights overlap one's fsync with the other's work; more only fight over the same WAL page.
    """

    def __init__(self, database: Database, announcer: Announcer) -> None:
        self._database = database
        self._announcer = announcer
        self._waiting: deque[_Seat] = deque()
        self._flights: set[asyncio.Task[None]] = set()

    async def submit(self, job: NewJob) -> Job:
        """The inserted job. A caller that is cancelled before take-off leaves no row."""
        landed: asyncio.Future[Job] = asyncio.get_running_loop().create_future()
        self._waiting.append((job, landed))
        if len(self._flights) < _FLIGHTS:
            self._flights.add(asyncio.create_task(self._fly()))
        return await landed

    async def close(self) -> None:
        """Wait until all that was accepted has landed."""
        while self._flights:
            await asyncio.gather(*self._flights)

    async def _fly(self) -> None:
        try:
            while seats := self._board():
                await self._carry(seats)
        finally:
            # At once, not when the task is done: a submit in between would count us in, and wait for nobody.
            self._flights.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _carry(self, seats: list[_Seat]) -> None:
        """Insert a batch and tell each caller its own fate."""
        try:
            inserted = await self._insert_surely([job for job, _ in seats])
            for job, landed in seats:
                if not landed.done():
                    landed.set_result(inserted[job.id])
            self._announcer.announce()
        except InvalidField as error:
            await self._carry_singly(seats, error)
        except Exception as error:
            _refuse(seats, error)

    def _board(self) -> list[_Seat]:
        seats: list[_Seat] = []
        while self._waiting and len(seats) < _SEATS:
            job, landed = self._waiting.popleft()
            if not landed.done():
                seats.append((job, landed))
        return seats

    async def _carry_singly(self, seats: list[_Seat], error: InvalidField) -> None:
        """One row that PostgreSQL refuses fails the whole statement: give every row its own, so only that one fails."""
        if len(seats) == 1:
            _refuse(seats, error)
            return
        for seat in seats:
            try:
                seat[1].set_result((await self._insert_surely([seat[0]]))[seat[0].id])
                self._announcer.announce()
            except asyncio.InvalidStateError:  # its caller left
                continue
            except CogmillError as own:
                _refuse([seat], own)

    async def _insert_surely(self, batch: Sequence[NewJob]) -> dict[UUID, Job]:
        """Insert, and once more when the connection broke: the first commit may have gone through unheard."""
        try:
            return await self._insert(batch)
        except StoreUnavailable:
            return await self._insert(batch)

    async def _insert(self, batch: Sequence[NewJob]) -> dict[UUID, Job]:
        try:
            inserted = await self._database.fetch(_INSERT, {"batch": batch})
        except DBAPIError as error:
            raise InvalidField(f"the database cannot hold this job: {error.orig}", param=None) from error
        created = {row.id: row.created_at for row in inserted}
        found = {job.id: _fresh(job, created[job.id]) for job in batch if job.id in created}
        if len(found) < len({job.id for job in batch}):
            found |= await self._read([job.id for job in batch if job.id not in found])
        return found

    async def _read(self, ids: Sequence[UUID]) -> dict[UUID, Job]:
        """Jobs that an earlier try inserted: its commit went through and its answer was lost."""
        found = await self._database.fetch(select(*rows.JOB_COLUMNS).where(jobs.c.id.in_(ids)))
        return {row.id: rows.job(row) for row in found}


def _refuse(seats: Sequence[_Seat], error: Exception) -> None:
    for _, landed in seats:
        if not landed.done():
            landed.set_exception(error)


def _fresh(job: NewJob, created_at: datetime) -> Job:
    return Job(
        **{name: getattr(job, name) for name in ("id", "tenant", "pool", "priority", "cost", "max_attempts")},
        state=JobState.HELD if job.held else JobState.QUEUED,
        spec=job.spec,
        request=job.request,
        created_at=created_at,
        started_at=None,
        finished_at=None,
        claims=0,
        failures=0,
        evictions=0,
        cancel_requested=False,
        stage=None,
        step=0,
        failure=None,
        result=None,
    )

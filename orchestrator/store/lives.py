"""One job with all that other tables say of it. For who looks into one: what it costs is no part of serving."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select, text

from orchestrator.domain.job import Failure, public_id
from orchestrator.domain.life import Attempt, Life, Told
from orchestrator.domain.outcome import AttemptOutcome
from orchestrator.domain.webhooks import DeliveryState
from orchestrator.store import rows
from orchestrator.store.engine import Database
from orchestrator.store.part import Part
from orchestrator.store.tables import attempts, jobs, outbox

# Events become deliveries within moments of the end, or when a maintainer is there again; those sent anew keep their
# place. Ids are UUIDv7: the index of a tenant's listing is also that of their time.
_ANNOUNCED_BEFORE = timedelta(minutes=1)
_ANNOUNCED_WITHIN = timedelta(days=7)
_TOLD = text("""
    SELECT host, event_type, state, attempts, created_at, ended_at, last_error FROM deliveries
    WHERE tenant = :tenant AND id BETWEEN :since AND :until
      AND CAST(body AS jsonb) -> 'data' ->> 'id' = :subject
    ORDER BY id
""")


class Lives(Part):
    async def life(self, job_id: UUID) -> Life | None:
        columns = (
            *rows.JOB_COLUMNS, jobs.c.run_at, jobs.c.claimed_at, jobs.c.worker, jobs.c.campaign, jobs.c.trace,
            func.cogmill_now().label("now"),
        )  # fmt: skip
        query = select(*columns).where(jobs.c.id == job_id, jobs.c.deleted_at.is_(None))
        for row in await self._database.fetch(query):
            ended = select(attempts).where(attempts.c.job_id == job_id).order_by(attempts.c.number)
            waits = await self._database.fetch(select(outbox.c.id).where(outbox.c.job_id == job_id).limit(1))
            return Life(
                job=rows.job(row),
                now=row.now,
                run_at=row.run_at,
                claimed_at=row.claimed_at,
                worker=row.worker,
                campaign=row.campaign,
                trace=row.trace,
                attempts=[_attempt(each) for each in await self._database.fetch(ended)],
                told=[]
                if row.finished_at is None
                else await _told(self._database, row.tenant, job_id, row.finished_at),
                untold=bool(waits),
            )
        return None


async def _told(database: Database, tenant: str, job_id: UUID, ended: datetime) -> list[Told]:
    bounds = {"since": _first_id(ended - _ANNOUNCED_BEFORE), "until": _first_id(ended + _ANNOUNCED_WITHIN)}
    of = {"tenant": tenant, "subject": public_id(job_id)}
    return [
        Told(
            host=row.host,
            event_type=row.event_type,
            state=DeliveryState(row.state),
            attempts=row.attempts,
            created_at=row.created_at,
            ended_at=row.ended_at,
            error=row.last_error,
        )
        for row in await database.fetch(_TOLD, of | bounds)
    ]


def _attempt(row: Row[Any]) -> Attempt:
    return Attempt(
        number=row.number,
        outcome=AttemptOutcome(row.outcome),
        worker=row.worker,
        gpu_seconds=row.gpu_seconds,
        claimed_at=row.claimed_at,
        ended_at=row.ended_at,
        failure=None if row.failure is None else Failure(**row.failure),
        timeline=tuple((name, start_s, seconds) for name, start_s, seconds in row.timeline or ()),
    )


def _first_id(moment: datetime) -> UUID:
    """The least UUIDv7 of a millisecond."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)

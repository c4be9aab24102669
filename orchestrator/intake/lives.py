"""What befell one job, from its request to its last webhook; and why it waits, if it does."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Protocol
from urllib.parse import urlsplit
from uuid import UUID

from orchestrator.domain import jsontext
from orchestrator.domain.errors import NotFound
from orchestrator.domain.job import Job, parse_public_id
from orchestrator.domain.life import Life, Told
from orchestrator.ports.any_jobs import JobSeen
from orchestrator.ports.job_search import DeliveriesFound, JobWhole
from orchestrator.ports.webhooks import WebhookDelivery

MOST_DELIVERIES = 50


class LifeReader(Protocol):
    """The part of `JobSearchStore` that this needs."""

    async def seen_job(self, job_id: UUID, tenant: str | None) -> JobSeen | None: ...

    async def whole_job(self, job_id: UUID) -> JobWhole | None: ...

    async def untold_job(self, job_id: UUID) -> bool: ...

    async def deliveries_of_job(self, job_id: UUID, tenant: str, *, limit: int) -> DeliveriesFound: ...


class Teller(Protocol):
    """The part of `Waiting` that this needs."""

    async def told_with_turn(self, job: Job) -> Job: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What its rows say of a job, without its webhooks."""

    seen: JobSeen
    whole: JobWhole

    @property
    def life(self) -> Life:
        seen, whole = self.seen, self.whole
        return Life(
            job=seen.job,
            now=whole.now,
            run_at=whole.run_at,
            claimed_at=whole.claimed_at,
            worker=seen.worker,
            cancel_requested_at=whole.cancel_requested_at,
            campaign=seen.campaign,
            trace=whole.trace,
            attempts=seen.attempts,
        )


class Lives:
    """By public ids; of one tenant's jobs, or of any where it is None. Raises `NotFound`, and `StoreUnavailable`."""

    def __init__(self, store: LifeReader, waiting: Teller) -> None:
        self._store = store
        self._waiting = waiting

    async def known(self, job_id: str, tenant: str | None) -> Known:
        found = job_id_of(job_id)
        seen = await self._store.seen_job(found, tenant)
        whole = None if seen is None else await self._store.whole_job(found)
        if seen is None or whole is None:
            raise no_job(job_id)
        return Known(seen=seen, whole=whole)

    async def of(self, job_id: str, tenant: str | None = None, *, webhooks: bool = True) -> Life:
        """With why it waits now, and with its `webhooks` for who may see them."""
        known = await self.known(job_id, tenant)
        life, job = known.life, known.seen.job
        life = replace(life, job=await self._waiting.told_with_turn(job))
        if not webhooks:
            return life
        sent = await self._store.deliveries_of_job(job.id, job.tenant, limit=MOST_DELIVERIES)
        untold = await self._store.untold_job(job.id)
        return replace(life, told=[_told(each) for each in sent.deliveries], untold=untold)


def public_form(job_id: str) -> str:
    """An id as logs and SQL have it, in hex digits with or without hyphens, as callers have it; others as they are."""
    digits = job_id.replace("-", "").lower()
    return f"video_{UUID(hex=digits).hex}" if re.fullmatch(r"[0-9a-f]{32}", digits) else job_id


def job_id_of(job_id: str, param: str | None = None) -> UUID:
    """The job's id behind a public one. Raises `NotFound`."""
    found = parse_public_id(job_id)
    if found is None:
        raise no_job(job_id, param)
    return found


def no_job(job_id: str, param: str | None = None) -> NotFound:
    """There is none with this id, or it is another's."""
    return NotFound(f"no job with the id {job_id[:80]!r}", param=param)


def _told(sent: WebhookDelivery) -> Told:
    return Told(
        host=urlsplit(sent.url).hostname or "",
        event_type=jsontext.own(sent.body)["type"],
        state=sent.state,
        attempts=sent.attempts,
        created_at=sent.created_at,
        ended_at=sent.ended_at,
        error=sent.last_error,
    )

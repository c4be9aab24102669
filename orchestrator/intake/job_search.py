"""Jobs looked for by filters, counted, and seen whole: a tenant's own, or anybody's for administrators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol
from uuid import UUID

from orchestrator.domain.errors import NotFound
from orchestrator.domain.job import Job, parse_public_id
from orchestrator.domain.job_filter import JobFilter
from orchestrator.domain.states import JobState
from orchestrator.domain.waiting import Wait
from orchestrator.intake.job_life import Happening, Span, all_waits, happenings, spans
from orchestrator.intake.waiting import Waiting
from orchestrator.ports.any_jobs import JobSeen
from orchestrator.ports.job_search import Count, DeliveriesFound, JobSearchStore, JobsFound, Used

_MOST_DELIVERIES = 50


class Turns(Protocol):
    """Of a tenant's jobs, the part that tells when they are expected."""

    async def get(self, tenant: str, video_id: str) -> Job: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStory:
    """One job with all that is known of it."""

    seen: JobSeen
    # The same, with what it is expected to do.
    job: Job
    made_by: str | None
    custom_id: str | None
    waits: Sequence[Wait]
    spans: Sequence[Span]
    happenings: Sequence[Happening]
    usage: Sequence[Used]


class JobSearch:
    """An id that is none of the tenant's jobs raises `NotFound`; every call may raise `StoreUnavailable`."""

    def __init__(self, store: JobSearchStore, jobs: Turns, waiting: Waiting) -> None:
        self._store = store
        self._jobs = jobs
        self._waiting = waiting

    async def find(
        self, wanted: JobFilter, *, limit: int, after: str | None = None, newest_first: bool = True
    ) -> JobsFound:
        """A page of the jobs that are wanted, each with the reason why it waits, behind the job `after`."""
        cursor = None if after is None else job_id_of(after, "after")
        found = await self._store.search_jobs(wanted, limit=limit, after=cursor, newest_first=newest_first)
        told = [replace(each, job=await self._waiting.told(each.job)) for each in found.jobs]
        return replace(found, jobs=told)

    async def counts(self, wanted: JobFilter) -> Mapping[JobState, Count]:
        """How many jobs are so, by state."""
        return await self._store.count_jobs(wanted)

    async def story(self, job_id: str, tenant: str | None) -> JobStory:
        """A job whole; of any tenant where it is None."""
        found = job_id_of(job_id)
        seen = await self._store.seen_job(found, tenant)
        whole = None if seen is None else await self._store.whole_job(found)
        if seen is None or whole is None:
            raise _not_found(job_id)
        waits = await self._waiting.waits(seen.job)
        return JobStory(
            seen=seen,
            job=await self._jobs.get(seen.job.tenant, job_id),
            made_by=whole.made_by,
            custom_id=whole.custom_id or _custom_id(seen.job),
            waits=all_waits(seen.job, waits, whole.pauses),
            spans=spans(seen, whole),
            happenings=happenings(seen, whole),
            usage=whole.usage,
        )

    async def deliveries(self, job_id: str, tenant: str) -> DeliveriesFound:
        """What was sent of a job's end, and what became of it."""
        found = job_id_of(job_id)
        if await self._store.seen_job(found, tenant) is None:
            raise _not_found(job_id)
        return await self._store.deliveries_of_job(found, tenant, limit=_MOST_DELIVERIES)


def job_id_of(job_id: str, param: str | None = None) -> UUID:
    """The job's id behind a public one. Raises `NotFound`."""
    found = parse_public_id(job_id)
    if found is None:
        raise _not_found(job_id, param)
    return found


def _custom_id(job: Job) -> str | None:
    told = (job.request.get("metadata") or {}).get("custom_id")
    return told if isinstance(told, str) else None


def _not_found(job_id: str, param: str | None = None) -> NotFound:
    return NotFound(f"no job with the id {job_id[:80]!r}", param=param)

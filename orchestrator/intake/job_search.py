"""Jobs looked for by filters, counted, and seen whole: a tenant's own, or anybody's for administrators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from orchestrator.domain.job import Job
from orchestrator.domain.job_filter import JobFilter
from orchestrator.domain.life import Happening, Span, happenings, spans
from orchestrator.domain.states import JobState
from orchestrator.domain.waiting import Wait
from orchestrator.intake.job_waits import all_waits
from orchestrator.intake.lives import MOST_DELIVERIES, Lives, job_id_of, no_job
from orchestrator.intake.waiting import Waiting
from orchestrator.ports.any_jobs import JobSeen
from orchestrator.ports.job_search import Count, DeliveriesFound, JobSearchStore, JobsFound, Used


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
        self._lives = Lives(store, waiting)
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
        known = await self._lives.known(job_id, tenant)
        seen, whole, life = known.seen, known.whole, known.life
        waits = await self._waiting.waits(seen.job)
        return JobStory(
            seen=seen,
            job=await self._jobs.get(seen.job.tenant, job_id),
            made_by=whole.made_by,
            custom_id=whole.custom_id or _custom_id(seen.job),
            waits=all_waits(seen.job, waits, whole.pauses),
            spans=spans(life),
            happenings=happenings(life),
            usage=whole.usage,
        )

    async def deliveries(self, job_id: str, tenant: str) -> DeliveriesFound:
        """What was sent of a job's end, and what became of it."""
        found = job_id_of(job_id)
        if await self._store.seen_job(found, tenant) is None:
            raise no_job(job_id)
        return await self._store.deliveries_of_job(found, tenant, limit=MOST_DELIVERIES)


def _custom_id(job: Job) -> str | None:
    told = (job.request.get("metadata") or {}).get("custom_id")
    return told if isinstance(told, str) else None

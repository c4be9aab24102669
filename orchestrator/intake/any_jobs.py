"""Jobs of every tenant, for administrators: seen, cancelled, tried again; and the dead letters among them.

A dead letter is a job that has failed, and not for what its request brought along, until somebody has looked after it.
An ended job stays ended (`domain/states.py`): to release one is to queue a job like it in its tenant's name, with its
own attempts, while the letter stays as it is, with all that befell it.
"""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from orchestrator.domain.audit import Action, Change
from orchestrator.domain.errors import KeyReused, NotFound, WrongState
from orchestrator.domain.failure import FailureCode
from orchestrator.domain.job import Artifact, Job, parse_public_id, public_id
from orchestrator.domain.states import JobState
from orchestrator.intake.jobs import Jobs
from orchestrator.ports.any_jobs import AnyJobStore, Chosen, Fate, JobSeen, JobsPage
from orchestrator.telemetry import logs

_log = logs.get("any_jobs")

# What ends a job for its request's sake.
THEIRS = frozenset(code.value for code in FailureCode if code.of_the_request)


class JobsAndInputs(AnyJobStore, Protocol):
    """The parts of the store that this needs."""

    async def use_input(self, sha256: str) -> Artifact | None: ...

    async def find_submitted(self, tenant: str, idempotency_key: str) -> tuple[Job, str | None] | None: ...

    async def note(self, change: Change) -> None: ...


class AnyJobs:
    """An id that is no job's, or a deleted one's, raises `NotFound`; every call may raise `StoreUnavailable`."""

    def __init__(self, store: JobsAndInputs, jobs: Jobs) -> None:
        self._store = store
        self._jobs = jobs

    async def get(self, job_id: str) -> JobSeen:
        found = await self._store.any_job(_id(job_id))
        if found is None:
            raise _not_found(job_id)
        return found

    async def cancel(self, job_id: str, *, by: str) -> JobSeen:
        """Cancel a waiting job at once, or ask for a running one to be cancelled; ended jobs stay as they are."""
        before = await self.get(job_id)
        await self._jobs.cancel(before.job.tenant, job_id, recorded=True)
        if not before.job.state.terminal:
            _log.info("job_cancelled_by", job=before.job.id.hex, tenant=before.job.tenant, by=by)
        return await self.get(job_id)

    async def retry(self, job_id: str, *, by: str, idempotency_key: str | None = None) -> JobSeen:
        """A new job of the same tenant like one that failed or was cancelled. Raises `WrongState` for any other."""
        source = await self.get(job_id)
        key = None if idempotency_key is None else f"admin:{idempotency_key}"  # beside those of its tenant
        repeated = key is not None and await self._store.find_submitted(source.job.tenant, key) is not None
        again = await self._jobs.retry(source.job.tenant, job_id, idempotency_key=key)
        if not repeated:
            await self._store.note(_retried(source.job, again))
        _log.info("job_retried_by", job=source.job.id.hex, successor=again.id.hex, by=by)
        return await self.get(public_id(again.id))

    async def letters(self, chosen: Chosen, *, limit: int, after: str | None = None) -> JobsPage:
        """A page of dead letters, newest first, behind the job `after`."""
        return await self._store.page_dead_letters(chosen, not_codes=THEIRS, limit=limit, after=_behind(after))

    async def release(self, job_id: str, *, by: str) -> JobSeen:
        """Queue a job like it, once, however often this is asked; the new job.

        Raises `WrongState` for what is no dead letter, for a row of a campaign or a batch, which its owner tries again
        there, and where its picture is gone; and what submitting raises: today's limits of its tenant, a model that
        has left the configuration.
        """
        letter = await self._letter(job_id)
        job = letter.job
        if letter.letter is not None and letter.letter.successor is not None:
            return await self.get(public_id(letter.letter.successor))
        if letter.campaign is not None:
            raise WrongState(f"it is a row of {letter.campaign}: its failed rows are tried again there, all at once")
        if job.spec.image is not None and await self._store.use_input(job.spec.image.sha256) is None:
            raise WrongState("its picture is not kept any more: it can only be asked for anew")
        key = f"release:{public_id(job.id)}"
        try:
            again = await self._jobs.retry(job.tenant, job_id, idempotency_key=key)
        except KeyReused:  # it is one of its tenant's, who may have taken it first
            raise WrongState(f"its tenant has used the idempotency key {key!r}: retry the job instead") from None
        await self._store.end_letter(job.id, Fate.RELEASED, by=by, successor=again.id)
        _log.info("dead_letter_released", job=job.id.hex, successor=again.id.hex, by=by)
        return await self.get(public_id(again.id))

    async def forget(self, job_id: str, *, by: str) -> JobSeen:
        """List it no more; its owner keeps it. Without effect on one that was released. Raises `WrongState`."""
        letter = await self._letter(job_id)
        await self._store.end_letter(letter.job.id, Fate.FORGOTTEN, by=by)
        _log.info("dead_letter_forgotten", job=letter.job.id.hex, by=by)
        return await self.get(job_id)

    async def _letter(self, job_id: str) -> JobSeen:
        seen = await self.get(job_id)
        failure = seen.job.failure
        if seen.job.state is not JobState.FAILED or failure is None:
            raise WrongState(f"the job is {seen.job.state}; only one that failed can be a dead letter")
        if failure.code in THEIRS:
            raise WrongState(f"the job failed for what its request brought along: {failure.code}")
        return seen


def _retried(source: Job, again: Job) -> Change:
    after = {"successor": public_id(again.id)}
    return Change(action=Action.JOB_RETRY, object=f"job:{public_id(source.id)}", tenant=source.tenant, after=after)


def _behind(after: str | None) -> UUID | None:
    return None if after is None else _id(after, "after")


def _id(job_id: str, param: str | None = None) -> UUID:
    found = parse_public_id(job_id)
    if found is None:
        raise _not_found(job_id, param)
    return found


def _not_found(job_id: str, param: str | None = None) -> NotFound:
    return NotFound(f"no job with the id {job_id[:80]!r}", param=param)

"""Accept, read, repeat, cancel and delete: the use-cases behind every dialect."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Literal
from uuid import UUID

from uuid_utils.compat import uuid7

from orchestrator.adapters.fetch import check_url
from orchestrator.config import Settings
from orchestrator.domain.errors import (
    KeyReused,
    NotFound,
    StoreRefused,
    StoreUnavailable,
    SubmitUnconfirmed,
    WrongState,
)
from orchestrator.domain.job import Job, NewJob, RenderSpec, parse_public_id, public_id
from orchestrator.domain.request import DEFAULT_PRIORITY, VideoRequest, fingerprint, fingerprint_like
from orchestrator.domain.states import JobState
from orchestrator.domain.texts import check_key, check_prompt
from orchestrator.domain.waiting import WAITING
from orchestrator.intake.planning import charge_of, cost_of, fit, plan, pool_for
from orchestrator.intake.waiting import Waiting
from orchestrator.learning.book import Book
from orchestrator.policy.prediction import Predictions
from orchestrator.ports import Inputs, JobStore, Moderator, Page
from orchestrator.telemetry import acting, logs, metrics, tracing
from orchestrator.telemetry.tracing import Kind, Value
from orchestrator.tenants.rates import TenantLimits

_log = logs.get("submit")

# Seeds that we draw fit in 32 bits, so that every JSON reader can carry them back to us exactly.
_RANDOM_SEED_BITS = 32

# The id of a job that is only priced.
_NOBODY = UUID(int=0)

# What belongs to one job alone and is not taken over by one that is made like it.
_OWN = ("request_id", "remixed_from", "retry_of", "run_at", "deadline")


class Jobs:
    """A tenant's jobs, each with the reason why it waits, if any is known.

    Every id that is not one of the tenant's own raises `NotFound`, whatever the reason.
    """

    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        inputs: Inputs,
        moderator: Moderator,
        limits: TenantLimits,
        waiting: Waiting,
        book: Book,
    ) -> None:
        self._settings = settings
        self._store = store
        self._inputs = inputs
        self._moderator = moderator
        self._limits = limits
        self._waiting = waiting
        self._book = book

    async def submit(self, tenant: str, request: VideoRequest, *, job_id: UUID | None = None) -> Job:
        """Check the request and insert its job; returns after the commit.

        With `job_id` a second call does nothing. Raises a `RequestError`, which inserts none, `Unavailable` when what
        it takes to check does not answer, or `SubmitUnconfirmed`.
        """
        key = request.idempotency_key
        earlier = None if key is None else await self._earlier(tenant, key, fingerprint(request))
        if earlier is not None:
            return earlier
        return await self._insert(await self.prepare(tenant, request, job_id or uuid7()))

    async def prepare(self, tenant: str, request: VideoRequest, job_id: UUID) -> NewJob:
        """The job that a request becomes, with all that is looked at, fetched and kept on the way; nothing is inserted.

        Raises a `RequestError`, or `Unavailable` when what it takes to check does not answer.
        """
        if request.webhook_url is not None:
            check_url(request.webhook_url, "webhook_url", reach=self._settings.webhook_reach)
        seed = random.getrandbits(_RANDOM_SEED_BITS) if request.seed is None else request.seed
        # Everything that costs nothing to check comes before what does: a fetch, a review, an upload.
        known = await self._book.known()
        planned = plan(self._settings, tenant, request, job_id=job_id, seed=seed, predictions=known)
        limits = await self._limits.of(tenant)
        priority = limits.urgency(request.priority, planned.priority)
        planned = replace(planned, priority=priority, made_by=acting.current().key)
        if request.image is None or request.size is not None:  # else the picture decides how much is rendered
            limits.check_size(planned.charged)
        picture = None
        if request.image is not None:
            picture = await self._inputs.load(tenant, request.image)
            # Its shape decides what is rendered, and whether too much of it would be lost.
            planned = fit(self._settings, planned, request, picture.upright, predictions=known)
            limits.check_size(planned.charged)
        await self._moderator.review(tenant, request.prompt, picture, negative_prompt=request.negative_prompt)
        if picture is not None:
            planned = replace(planned, spec=replace(planned.spec, image=await self._inputs.keep(picture)))
        return planned

    async def priced(self, tenant: str, request: VideoRequest) -> NewJob:
        """The job that a request would become, as far as its words tell; nothing is fetched, kept or inserted.

        Raises a `RequestError`.
        """
        known = await self._book.known()
        return plan(self._settings, tenant, request, job_id=_NOBODY, seed=request.seed or 0, predictions=known)

    async def remix(self, tenant: str, video_id: str, prompt: str, *, idempotency_key: str | None = None) -> Job:
        """A new job like an earlier one, its seed included, with another prompt."""
        source = await self.get(tenant, video_id)
        check_prompt(prompt, max_chars=self._settings.api.max_prompt_chars)
        source_id = public_id(source.id)
        request_hash = fingerprint_like("remix", source_id, prompt)
        earlier = await self._earlier(tenant, idempotency_key, request_hash)
        if earlier is not None:
            return earlier
        known = await self._book.known()
        remixed = self._like(source, replace(source.spec, prompt=prompt), {"remixed_from": source_id}, known)
        remixed = await self._allowed(source, _keyed(remixed, idempotency_key, request_hash))
        await self._moderator.review(tenant, prompt, None, negative_prompt=remixed.spec.negative_prompt)
        return await self._insert(remixed)

    async def retry(self, tenant: str, video_id: str, *, idempotency_key: str | None = None) -> Job:
        """A new job like one that failed or was cancelled. Raises `WrongState` for any other."""
        source = await self.get(tenant, video_id)
        source_id = public_id(source.id)
        request_hash = fingerprint_like("retry", source_id)
        earlier = await self._earlier(tenant, idempotency_key, request_hash)
        if earlier is not None:
            return earlier
        if source.state not in (JobState.FAILED, JobState.CANCELLED):
            raise WrongState(f"the video is {source.state}; only one that failed or was cancelled can be tried again")
        again = self._like(source, source.spec, {"retry_of": source_id}, await self._book.known())
        return await self._insert(await self._allowed(source, _keyed(again, idempotency_key, request_hash)))

    async def reseed(self, tenant: str, video_id: str, seed: int, *, idempotency_key: str) -> Job:
        """A new job like one that succeeded, with another seed; with the same key it is the first one's again."""
        source = await self.get(tenant, video_id)
        source_id = public_id(source.id)
        request_hash = fingerprint_like("reseed", source_id)
        earlier = await self._earlier(tenant, idempotency_key, request_hash)
        if earlier is not None:
            return earlier
        again = self._like(source, replace(source.spec, seed=seed), {"retry_of": source_id}, await self._book.known())
        return await self._insert(await self._allowed(source, _keyed(again, idempotency_key, request_hash)))

    async def get(self, tenant: str, video_id: str) -> Job:
        """The job as it stands, with what it waits for."""
        return await self._waiting.told_with_turn(_found(await self._store.get(_job_id(video_id), tenant), video_id))

    async def list(
        self, tenant: str, *, limit: int, after: str | None = None, order: Literal["asc", "desc"] = "desc"
    ) -> Page:
        """A page of jobs by creation time, starting behind the job `after`."""
        cursor = None if after is None else _job_id(after, param="after")
        try:
            page = await self._store.list_jobs(tenant, limit=limit, after=cursor, order=order)
        except NotFound:
            raise _not_found(after or "", param="after") from None
        return replace(page, jobs=[await self._waiting.told(job) for job in page.jobs])

    async def cancel(self, tenant: str, video_id: str, *, recorded: bool = False) -> Job:
        """Cancel a waiting job at once, or ask for a running one to be cancelled; ended jobs stay as they are.

        `recorded` in the audit log where it is not the tenant who asks.
        """
        before = await self.get(tenant, video_id)
        if before.state.terminal:
            return before
        after = _found(await self._store.request_cancel(before.id, tenant, recorded=recorded), video_id)
        # One that was running is counted where its owner ends it.
        if before.state in WAITING and after.state is JobState.CANCELLED:
            metrics.jobs_ended.labels(after.pool, after.state).inc()
        return after

    async def delete(self, tenant: str, video_id: str) -> None:
        """Cancel if need be, and hide the job for good; its objects are swept later."""
        job = await self.cancel(tenant, video_id)
        if not await self._store.delete(job.id, tenant):
            raise _not_found(video_id)

    async def _earlier(self, tenant: str, key: str | None, request_hash: str) -> Job | None:
        """The job of a request that came before with the same key. Raises `KeyReused` when it asked for another."""
        if key is None:
            return None
        check_key(key)
        found = await self._store.find_submitted(tenant, key)
        if found is None:
            return None
        job, earlier_hash = found
        if earlier_hash != request_hash:
            raise KeyReused("this key came before, with another request", param="idempotency_key")
        return await self._waiting.told(job)

    def _like(self, source: Job, spec: RenderSpec, origin: dict[str, str], known: Predictions) -> NewJob:
        """A job as an earlier one was asked for, without its key and its schedule."""
        settings = self._settings
        model = settings.resolve_model(spec.model)  # it may have left the configuration since
        kept = {name: value for name, value in source.request.items() if name not in _OWN}
        pool = pool_for(settings, model, spec)
        cost = cost_of(settings, replace(spec, model=model), pool, known)
        return NewJob(
            id=uuid7(),
            tenant=source.tenant,
            pool=pool,
            priority=source.priority,
            spec=spec,
            cost=cost,
            charge=charge_of(cost, spec),
            max_attempts=source.max_attempts,
            request=kept | origin,
        )

    async def _allowed(self, source: Job, like: NewJob) -> NewJob:
        """A job that is made like another one, as its tenant's limits have it today. Raises `LimitExceeded`."""
        limits = await self._limits.of(like.tenant)
        limits.check_size(like.charged)
        # What is more urgent than usual was somebody's wish, and is wished for again.
        wished = source.priority if source.priority < DEFAULT_PRIORITY else None
        priority = limits.urgency(wished, source.priority)
        return replace(like, priority=priority, made_by=acting.current().key)

    async def _insert(self, planned: NewJob) -> Job:
        with tracing.span("submit", _about(planned), kind=Kind.PRODUCER):
            trace = tracing.kept()
            return await self._inserted(planned if trace is None else replace(planned, trace=trace))

    async def _inserted(self, planned: NewJob) -> Job:
        try:
            job = await self._store.submit(planned)
        except StoreRefused:
            raise  # nothing was written
        except StoreUnavailable as error:
            if planned.idempotency_key is not None:
                raise  # whoever sends it again gets the same job
            raise SubmitUnconfirmed(str(error)) from error
        if job.id != planned.id:  # another request with the same key was faster
            return await self._waiting.told(job)
        metrics.submitted.labels(job.pool).inc()
        dialect = job.request.get("dialect")
        _log.info("job_accepted", job=job.id.hex, tenant=job.tenant, pool=job.pool, dialect=dialect)
        return await self._waiting.told(job)


def _about(planned: NewJob) -> dict[str, Value]:
    return {
        "cogmill.job": planned.id.hex,
        "cogmill.tenant": planned.tenant,
        "cogmill.model": planned.spec.model,
        "cogmill.pool": planned.pool,
        "cogmill.priority": planned.priority,
    }


def _keyed(new: NewJob, key: str | None, request_hash: str) -> NewJob:
    return new if key is None else replace(new, idempotency_key=key, request_hash=request_hash)


def _job_id(video_id: str, param: str | None = None) -> UUID:
    job_id = parse_public_id(video_id)
    if job_id is None:
        raise _not_found(video_id, param)
    return job_id


def _found(job: Job | None, video_id: str) -> Job:
    if job is None:
        raise _not_found(video_id)
    return job


def _not_found(video_id: str, param: str | None = None) -> NotFound:
    return NotFound(f"no video with the id {video_id[:80]!r}", param=param)

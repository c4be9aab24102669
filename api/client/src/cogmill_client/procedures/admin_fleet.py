"""Pools, workers, jobs and campaigns of any tenant, dead letters and what was parked, for administrators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cogmill_client.effects import Items, Request, Steps
from cogmill_client.exchange import answer_of, reads
from cogmill_client.models.admin import (
    Job,
    JobTrace,
    Parked,
    Pool,
    Resumed,
    TenantCampaign,
    TenantCampaignWhole,
    Worker,
)
from cogmill_client.models.base import Answer
from cogmill_client.models.campaigns import CampaignState
from cogmill_client.models.fleet import Fleet, Predictions
from cogmill_client.models.jobs import BulkAction, Count, JobCounts, JobStory
from cogmill_client.paging import listed
from cogmill_client.procedures.jobs import Verb, begun, previewed
from cogmill_client.urls import at, query, without_none


class _Pools(Answer):
    data: list[Pool]


class _Parked(Answer):
    data: list[Parked]


def pools() -> Steps[list[Pool]]:
    """Every pool, whether it is paused, and what waits and runs there."""
    return _pools(Request(method="GET", url="/v1/admin/pools"))


def pause_pool(pool: str, *, reason: str) -> Steps[Pool]:
    """Begin nothing more on a pool; what runs goes on."""
    url = at("/v1/admin/pools/{}/pause", pool)
    return answer_of(Request(method="POST", url=url, json={"reason": reason}), reads(Pool))


def resume_pool(pool: str) -> Steps[Pool]:
    """End the pool's own pause; one of the whole queue goes on."""
    return answer_of(Request(method="POST", url=at("/v1/admin/pools/{}/resume", pool)), reads(Pool))


def pause_queue(*, reason: str) -> Steps[list[Pool]]:
    """Begin nothing more on any pool."""
    return _pools(Request(method="POST", url="/v1/admin/queue/pause", json={"reason": reason}))


def resume_queue() -> Steps[list[Pool]]:
    """End the pause of the whole queue."""
    return _pools(Request(method="POST", url="/v1/admin/queue/resume"))


def fleet() -> Steps[Fleet]:
    """Every kind of workers, how many there are and are wanted, why, and what was decided last."""
    return answer_of(Request(method="GET", url="/v1/admin/fleet"), reads(Fleet))


def predictions(*, model: str | None = None, pool: str | None = None) -> Steps[dict[str, Any]]:
    """What renders have taught of how long renders take, as the API words it."""
    request = Request(method="GET", url="/v1/admin/predictions", query=query(model=model, pool=pool, limit=1000))
    return answer_of(request, lambda response: reads(Predictions)(response).model_dump())


def workers(
    *, pool: str | None = None, cluster: str | None = None, limit: int | None = None, after: str | None = None
) -> Items[Worker]:
    """The workers of all clusters: those that live, those that rest, and those that were drained."""
    return listed("/v1/admin/workers", Worker, query(pool=pool, cluster=cluster), limit=limit, after=after)


def worker(worker_id: str) -> Steps[Worker]:
    """One worker, by its cluster and its name with a colon between."""
    return answer_of(Request(method="GET", url=at("/v1/admin/workers/{}", worker_id)), reads(Worker))


def drain_worker(worker_id: str, *, within_s: float | None = None, incarnation: str | None = None) -> Steps[Worker]:
    """Have it end once it holds nothing, and stay away until it is called back.

    What it still renders when `within_s` is over leaves with its checkpoint. `incarnation` means that life alone.
    """
    return _asked(worker_id, "drain", within_s, incarnation)


def replace_worker(worker_id: str, *, within_s: float | None = None, incarnation: str | None = None) -> Steps[Worker]:
    """The same, but it is started anew."""
    return _asked(worker_id, "replace", within_s, incarnation)


def resume_worker(worker_id: str) -> Steps[Worker]:
    """Lift what was asked of it: one that was drained is started again."""
    return answer_of(Request(method="POST", url=at("/v1/admin/workers/{}/resume", worker_id)), reads(Worker))


def jobs(
    *,
    tenant: str | None = None,
    state: str | Sequence[str] | None = None,
    pool: str | None = None,
    model: str | None = None,
    limit: int | None = None,
    after: str | None = None,
    **filters: Any,
) -> Items[Job]:
    """Jobs of all tenants, the newest first. `filters` are further ones of `jobs.list`, but for text and metadata."""
    asked = query(tenant=tenant, state=state, pool=pool, model=model, **filters)
    return listed("/v1/admin/jobs", Job, asked, limit=limit, after=after)


def job_counts(*, tenant: str | None = None, **filters: Any) -> Steps[JobCounts]:
    """How many jobs of all tenants, or of one, stand how."""
    asked = query(tenant=tenant, **filters)
    return answer_of(Request(method="GET", url="/v1/admin/jobs/counts", query=asked), reads(JobCounts))


def job(job_id: str) -> Steps[JobStory]:
    """A job of any tenant, with its attempts and all that befell it."""
    return answer_of(Request(method="GET", url=at("/v1/admin/jobs/{}", job_id)), reads(JobStory))


def campaigns(
    *,
    tenant: str | None = None,
    state: CampaignState | None = None,
    name: str | None = None,
    at_risk: bool | None = None,
    limit: int | None = None,
    after: str | None = None,
) -> Items[TenantCampaign]:
    """Campaigns of all tenants, the newest first; `name` is a part of theirs."""
    asked = query(tenant=tenant, state=state, name=name, at_risk=at_risk)
    return listed("/v1/admin/campaigns", TenantCampaign, asked, limit=limit, after=after)


def campaign(campaign_id: str) -> Steps[TenantCampaignWhole]:
    """A campaign of any tenant, with why its rows failed."""
    return answer_of(Request(method="GET", url=at("/v1/admin/campaigns/{}", campaign_id)), reads(TenantCampaignWhole))


def act(
    action: Verb,
    filter: Mapping[str, Any],
    *,
    tenant: str | None = None,
    priority: int | None = None,
    idempotency_key: str | None = None,
) -> Steps[BulkAction]:
    """Do something to all jobs of a tenant, or of all, that match by now."""
    fields = without_none(action=action, filter=dict(filter), tenant=tenant, priority=priority)
    return begun("/v1/admin/bulk-actions", fields, idempotency_key)


def expected(
    action: Verb, filter: Mapping[str, Any], *, tenant: str | None = None, priority: int | None = None
) -> Steps[Count]:
    """To how many jobs it would be done. Nothing is begun."""
    fields = without_none(action=action, filter=dict(filter), tenant=tenant, priority=priority)
    return previewed("/v1/admin/bulk-actions", fields)


def bulk_actions(*, limit: int | None = None, after: str | None = None) -> Items[BulkAction]:
    """What administrators asked for, the newest first."""
    return listed("/v1/admin/bulk-actions", BulkAction, limit=limit, after=after)


def bulk_action(bulk_id: str) -> Steps[BulkAction]:
    """How far one has come."""
    return answer_of(Request(method="GET", url=at("/v1/admin/bulk-actions/{}", bulk_id)), reads(BulkAction))


def call_off(bulk_id: str) -> Steps[BulkAction]:
    """Do no more of it."""
    url = at("/v1/admin/bulk-actions/{}/cancel", bulk_id)
    return answer_of(Request(method="POST", url=url), reads(BulkAction))


def job_trace(job_id: str) -> Steps[JobTrace]:
    """What befell a job of any tenant as a tree: waits and why, attempts with their stages, webhooks."""
    return answer_of(Request(method="GET", url=at("/v1/admin/jobs/{}/trace", job_id)), reads(JobTrace))


def cancel_job(job_id: str) -> Steps[Job]:
    """Call a job off; one that has ended stays as it is."""
    return answer_of(Request(method="POST", url=at("/v1/admin/jobs/{}/cancel", job_id)), reads(Job))


def retry_job(job_id: str, *, idempotency_key: str | None = None) -> Steps[Job]:
    """A new job of the same tenant like one that failed or was cancelled."""
    headers = {} if idempotency_key is None else {"idempotency-key": idempotency_key}
    url = at("/v1/admin/jobs/{}/retry", job_id)
    # Without a key of repetition there would be two, if it were sent twice.
    request = Request(method="POST", url=url, headers=headers, repeatable=idempotency_key is not None)
    return answer_of(request, reads(Job))


def dead_letters(
    *,
    tenant: str | None = None,
    pool: str | None = None,
    model: str | None = None,
    limit: int | None = None,
    after: str | None = None,
) -> Items[Job]:
    """Jobs that failed for the service's fault, the newest first, until somebody has looked after them."""
    asked = query(tenant=tenant, pool=pool, model=model)
    return listed("/v1/admin/dead_letters", Job, asked, limit=limit, after=after)


def release(job_id: str) -> Steps[Job]:
    """Queue a job like a dead letter, once; the answer is that job."""
    return answer_of(Request(method="POST", url=at("/v1/admin/dead_letters/{}/release", job_id)), reads(Job))


def forget(job_id: str) -> Steps[Job]:
    """List a dead letter no more."""
    return answer_of(Request(method="POST", url=at("/v1/admin/dead_letters/{}/forget", job_id)), reads(Job))


def parked() -> Steps[list[Parked]]:
    """Batches, campaigns and events that broke the loop that met them."""
    answer = yield from answer_of(Request(method="GET", url="/v1/admin/parked"), reads(_Parked))
    return answer.data


def resume_parked(subject: str) -> Steps[Resumed]:
    """Let its loop meet it again."""
    return answer_of(Request(method="POST", url=at("/v1/admin/parked/{}/resume", subject)), reads(Resumed))


def _asked(worker_id: str, what: str, within_s: float | None, incarnation: str | None) -> Steps[Worker]:
    fields = without_none(within_s=within_s, incarnation=incarnation)
    url = at(f"/v1/admin/workers/{{}}/{what}", worker_id)
    return answer_of(Request(method="POST", url=url, json=fields), reads(Worker))


def _pools(request: Request) -> Steps[list[Pool]]:
    answer = yield from answer_of(request, reads(_Pools))
    return answer.data

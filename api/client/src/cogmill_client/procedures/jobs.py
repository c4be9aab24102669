"""Jobs found and counted by filters, each with all that befell it; acts on all that match; notes, saved filters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from uuid import uuid4

from cogmill_client.effects import Items, Request, Steps
from cogmill_client.exchange import answer_of, reads
from cogmill_client.models.admin import JobTrace
from cogmill_client.models.base import Answer, Deleted
from cogmill_client.models.jobs import BulkAction, Count, Job, JobCounts, Note, SavedFilter, WholeJob
from cogmill_client.models.webhooks import Delivery
from cogmill_client.paging import listed
from cogmill_client.urls import at, query, without_none

Verb = Literal["cancel", "retry", "priority"]


class _Filters(Answer):
    data: list[SavedFilter]


class _Deliveries(Answer):
    data: list[Delivery]


class _Preview(Answer):
    expected: Count


def list_(
    *, limit: int | None = None, after: str | None = None, order: Literal["asc", "desc"] = "desc", **filters: Any
) -> Items[Job]:
    """All jobs that match, or `limit` of them, fetched page by page.

    `filters`: state, pool, model, priority, created_from, created_to, ended_from, ended_to, code, custom_id, campaign,
    text; metadata as a mapping.
    """
    return listed("/v1/jobs", Job, query(order=order, **filtered(filters)), limit=limit, after=after)


def counts(**filters: Any) -> Steps[JobCounts]:
    """How many jobs stand how, of those that match."""
    request = Request(method="GET", url="/v1/jobs/counts", query=query(**filtered(filters)))
    return answer_of(request, reads(JobCounts))


def retrieve(job_id: str) -> Steps[WholeJob]:
    """A job with all that befell it. Its id is its video's."""
    return answer_of(Request(method="GET", url=at("/v1/jobs/{}", job_id)), reads(WholeJob))


def deliveries(job_id: str) -> Steps[list[Delivery]]:
    """What was sent of its end."""
    request = Request(method="GET", url=at("/v1/jobs/{}/deliveries", job_id))
    return _data(request, _Deliveries)


def trace(job_id: str) -> Steps[JobTrace]:
    """What befell it as a tree: waits and why, attempts with their stages; with `webhooks`, those too."""
    return answer_of(Request(method="GET", url=at("/v1/jobs/{}/trace", job_id)), reads(JobTrace))


def act(
    action: Verb,
    filter: Mapping[str, Any],
    *,
    priority: int | None = None,
    idempotency_key: str | None = None,
) -> Steps[BulkAction]:
    """Do something to all jobs that match by now. It goes on by itself: `action` says how far it has come."""
    return begun(
        "/v1/bulk-actions", without_none(action=action, filter=dict(filter), priority=priority), idempotency_key
    )


def expected(action: Verb, filter: Mapping[str, Any], *, priority: int | None = None) -> Steps[Count]:
    """To how many jobs it would be done. Nothing is begun."""
    fields = without_none(action=action, filter=dict(filter), priority=priority)
    return previewed("/v1/bulk-actions", fields)


def actions(*, limit: int | None = None, after: str | None = None) -> Items[BulkAction]:
    """Actions on many jobs, the newest first."""
    return listed("/v1/bulk-actions", BulkAction, limit=limit, after=after)


def action(bulk_id: str) -> Steps[BulkAction]:
    """How far an action has come."""
    return answer_of(Request(method="GET", url=at("/v1/bulk-actions/{}", bulk_id)), reads(BulkAction))


def call_off(bulk_id: str) -> Steps[BulkAction]:
    """Do no more of an action."""
    return answer_of(Request(method="POST", url=at("/v1/bulk-actions/{}/cancel", bulk_id)), reads(BulkAction))


def notes(about: str, *, limit: int | None = None, after: str | None = None) -> Items[Note]:
    """What was written about a video or a campaign, the newest first."""
    return listed("/v1/notes", Note, query(about=about), limit=limit, after=after)


def write_note(about: str, body: str) -> Steps[Note]:
    """Write something about a video or a campaign."""
    request = Request(method="POST", url="/v1/notes", json={"about": about, "body": body}, repeatable=False)
    return answer_of(request, reads(Note))


def delete_note(note_id: str) -> Steps[Deleted]:
    """Take a note away."""
    return answer_of(Request(method="DELETE", url=at("/v1/notes/{}", note_id)), reads(Deleted))


def saved_filters() -> Steps[list[SavedFilter]]:
    """Filters that are kept by name."""
    return _data(Request(method="GET", url="/v1/job-filters"), _Filters)


def save_filter(name: str, filter: Mapping[str, Any]) -> Steps[SavedFilter]:
    """Keep a filter under a name."""
    request = Request(method="PUT", url=at("/v1/job-filters/{}", name), json={"filter": dict(filter)})
    return answer_of(request, reads(SavedFilter))


def drop_filter(name: str) -> Steps[Deleted]:
    """Keep it no more."""
    return answer_of(Request(method="DELETE", url=at("/v1/job-filters/{}", name)), reads(Deleted))


def filtered(filters: Mapping[str, Any]) -> dict[str, Any]:
    """Filters as queries have them."""
    said = dict(filters)
    metadata = said.pop("metadata", None)
    if metadata is not None:
        said["metadata"] = [f"{name}={value}" for name, value in metadata.items()]
    return said


def begun(url: str, fields: Mapping[str, Any], key: str | None) -> Steps[BulkAction]:
    """An action, once however often the request is sent."""
    headers = {"idempotency-key": key or str(uuid4())}
    return answer_of(Request(method="POST", url=url, json=dict(fields), headers=headers), reads(BulkAction))


def previewed(url: str, fields: Mapping[str, Any]) -> Steps[Count]:
    """What a dry run says."""
    request = Request(method="POST", url=url, json={**fields, "dry_run": True})
    preview: _Preview = yield from answer_of(request, reads(_Preview))
    return preview.expected


def _data(request: Request, of: type[Answer]) -> Steps[Any]:
    answer: Any = yield from answer_of(request, reads(of))
    return answer.data

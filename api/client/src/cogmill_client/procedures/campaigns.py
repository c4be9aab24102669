"""Campaigns: made, planned, approved, changed, followed, ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

from cogmill_client.effects import Items, Request, Sleep, Steps, watch
from cogmill_client.errors import ApiError, BadAnswer, ConnectionFailed, NotFound, Timeout, Unauthenticated
from cogmill_client.exchange import answer_of, reads
from cogmill_client.models.base import Deleted
from cogmill_client.models.campaigns import Approval, Campaign, CampaignState, InputFormat, OnDeadline, OnMiss, Order
from cogmill_client.models.events import CampaignCountsEvent, CampaignEvent, campaign_event
from cogmill_client.models.rows import Plan
from cogmill_client.paging import listed
from cogmill_client.sse import Place, follow
from cogmill_client.urls import at, query, without_none

_NEAR_S = 16.0
_POLL_S = (0.5, 5.0)


def create(
    prompt: str | None = None,
    *,
    negative_prompt: str | None = None,
    name: str | None = None,
    defaults: Mapping[str, Any] | None = None,
    input: str | None = None,
    format: InputFormat | None = None,
    variants: int | None = None,
    seeds: Sequence[int] | None = None,
    sample: int | None = None,
    order: Order | None = None,
    strict: bool | None = None,
    approval: Approval | None = None,
    priority: int | None = None,
    max_running: int | None = None,
    budget: Mapping[str, Any] | None = None,
    stop_on_failures: Mapping[str, Any] | None = None,
    progress_every: int | None = None,
    webhook_url: str | None = None,
    row_webhooks: bool | None = None,
    output: str | None = None,
    metadata: Mapping[str, str] | None = None,
    run_at: datetime | int | None = None,
    deadline: datetime | int | None = None,
    on_deadline: OnDeadline | None = None,
    on_miss: OnMiss | None = None,
    schedule: Mapping[str, str] | None = None,
    clone_of: str | None = None,
    like: str | None = None,
    idempotency_key: str | None = None,
    **others: Any,
) -> Steps[Campaign]:
    """A campaign of the rows of `input`, a file's id or an `s3://` URL; without it a draft that rows are sent to.

    `prompt` is the template, with `{variables}`. `clone_of` is a campaign's id, `like` the id of an uploaded manifest.
    """
    fields = without_none(
        name=name, defaults=defaults, input=input, format=format, variants=variants, seeds=seeds, sample=sample,
        order=order, strict=strict, approval=approval, priority=priority, max_running=max_running, budget=budget,
        stop_on_failures=stop_on_failures, progress_every=progress_every, webhook_url=webhook_url,
        row_webhooks=row_webhooks, output=output, metadata=metadata, run_at=run_at, deadline=deadline,
        on_deadline=on_deadline, on_miss=on_miss, schedule=schedule, clone_of=clone_of, like=like, **others,
    )  # fmt: skip
    if negative_prompt is not None:
        fields["template"] = {"prompt": prompt, "negative_prompt": negative_prompt}
    elif prompt is not None:
        fields["prompt"] = prompt
    headers = {"idempotency-key": idempotency_key or str(uuid4())}
    return answer_of(Request(method="POST", url="/v1/campaigns", json=fields, headers=headers), reads(Campaign))


def retrieve(campaign_id: str) -> Steps[Campaign]:
    """The campaign as it stands."""
    return answer_of(Request(method="GET", url=at("/v1/campaigns/{}", campaign_id)), reads(Campaign))


def list_(
    *,
    state: CampaignState | None = None,
    name: str | None = None,
    at_risk: bool | None = None,
    limit: int | None = None,
    after: str | None = None,
) -> Items[Campaign]:
    """All campaigns, the newest first, or `limit` of them, fetched page by page; `name` is a part of theirs."""
    asked = query(state=state, name=name, at_risk=at_risk)
    return listed("/v1/campaigns", Campaign, asked, limit=limit, after=after)


def delete(campaign_id: str) -> Steps[Deleted]:
    """Delete a campaign that has ended, with its rows and manifests."""
    return answer_of(Request(method="DELETE", url=at("/v1/campaigns/{}", campaign_id)), reads(Deleted))


def patch(campaign_id: str, *, etag: str | None = None, **changes: Any) -> Steps[Campaign]:
    """Change what may be changed; None is sent, as null. With `Campaign.etag`, raises `PreconditionFailed` where
    somebody else was faster."""
    body = {name: without_none(value=value).get("value") for name, value in changes.items()}
    headers = {} if etag is None else {"if-match": etag}
    request = Request(method="PATCH", url=at("/v1/campaigns/{}", campaign_id), json=body, headers=headers)
    return answer_of(request, reads(Campaign))


def plan(campaign_id: str) -> Steps[Plan]:
    """What it will render and what that costs, with the token that `approve` takes."""
    return answer_of(Request(method="POST", url=at("/v1/campaigns/{}/plan", campaign_id)), reads(Plan))


def approve(campaign_id: str, plan_token: str) -> Steps[Campaign]:
    """Let it render, for no more than the plan's upper bound. Raises `Conflict` when the plan has changed."""
    return _told(campaign_id, "approve", {"plan_token": plan_token})


def reject(campaign_id: str, rows: Sequence[str], *, do: str) -> Steps[Campaign]:
    """Sampled rows that will not do: `new_seed` renders them again, `drop` leaves them out."""
    return _told(campaign_id, "reject", {"rows": list(rows), "do": do})


def pause(campaign_id: str, *, reason: str | None = None) -> Steps[Campaign]:
    """Begin no more rows."""
    return _told(campaign_id, "pause", without_none(reason=reason))


def resume(campaign_id: str) -> Steps[Campaign]:
    """End the owner's pause, or the one for failures; what else pauses it does so on."""
    return _told(campaign_id, "resume", {})


def cancel(campaign_id: str) -> Steps[Campaign]:
    """End it for good; what is done stays."""
    return _told(campaign_id, "cancel", {})


def retry(campaign_id: str, *, rows: Sequence[str] | None = None, code: str | None = None) -> Steps[Campaign]:
    """Try failed rows again: all, these, or those that failed with this code."""
    return _told(campaign_id, "retry", without_none(rows=rows, code=code))


def waive(campaign_id: str, *, rows: Sequence[str] | None = None, code: str | None = None) -> Steps[Campaign]:
    """Accept that failed rows stay without a video."""
    return _told(campaign_id, "waive", without_none(rows=rows, code=code))


def promote(campaign_id: str, *, rows: Sequence[str] | None = None, profile: str | None = None) -> Steps[Campaign]:
    """Render rows that succeeded again in another profile, `exact` unless said, with their seeds."""
    return _told(campaign_id, "promote", without_none(rows=rows, profile=profile))


def events(campaign_id: str, *, last_event_id: str | None = None) -> Items[CampaignEvent]:
    """What befalls the campaign until it has ended, also over lost connections."""
    return Items(follow(at("/v1/campaigns/{}/events", campaign_id), campaign_event, place=Place(last_event_id)))


def wait(
    campaign_id: str,
    *,
    timeout: float | None = None,
    on_event: Callable[[CampaignEvent], object] | None = None,
    on_change: Callable[[Campaign], object] | None = None,
) -> Steps[Campaign]:
    """The campaign once it has ended, or goes on only when somebody approves it (`needs_approval`).

    Raises `Timeout` after so many seconds. `on_event` hears its events, `on_change` sees it whole after each new state.
    """
    until = None if timeout is None else time.monotonic() + timeout
    place, streams = Place(), True
    pause_s, longest_s = _POLL_S
    while True:
        campaign = yield from retrieve(campaign_id)
        if on_change is not None:
            on_change(campaign)
        if campaign.ended or campaign.needs_approval:
            return campaign
        left_s = None if until is None else until - time.monotonic()
        if left_s is not None and left_s <= 0:
            raise Timeout(f"{campaign_id} has not ended within {timeout:g} s: it is {campaign.state}")
        if streams and (left_s is None or left_s > _NEAR_S):
            streams = yield from _followed(campaign_id, place, None if until is None else until - _NEAR_S, on_event)
        else:
            yield Sleep(pause_s if left_s is None else min(pause_s, left_s))
            pause_s = min(longest_s, pause_s * 1.5)


def _followed(
    campaign_id: str, place: Place, until: float | None, on_event: Callable[[CampaignEvent], object] | None
) -> Steps[bool]:
    """Hear counts until there is other news, or until then; whether streams can be had."""

    def hear(event: CampaignEvent) -> bool:
        if on_event is not None:
            on_event(event)
        return not isinstance(event, CampaignCountsEvent)

    heard: Items[CampaignEvent] = Items(
        follow(at("/v1/campaigns/{}/events", campaign_id), campaign_event, place=place, until=until)
    )
    try:
        yield from watch(heard, hear)
    except (NotFound, Unauthenticated):
        raise
    except (ApiError, BadAnswer, ConnectionFailed):
        return False
    return True


def _told(campaign_id: str, verb: str, fields: dict[str, Any]) -> Steps[Campaign]:
    request = Request(method="POST", url=at(f"/v1/campaigns/{{}}/{verb}", campaign_id), json=fields)
    return answer_of(request, reads(Campaign))

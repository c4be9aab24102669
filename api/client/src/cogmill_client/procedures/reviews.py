"""What people think of videos: said, undone, shared out, carried out, saved; and how a campaign got on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from cogmill_client.downloads import fetch
from cogmill_client.effects import Items, Request, Steps
from cogmill_client.exchange import answer_of, reads
from cogmill_client.models.base import Answer
from cogmill_client.models.reviews import (
    CampaignFailures,
    CampaignProgress,
    Decision,
    Remedy,
    Review,
    ReviewCounts,
    ReviewsApplied,
    ReviewsPromoted,
    ReviewWithHistory,
    SheetVideo,
)
from cogmill_client.paging import listed
from cogmill_client.urls import at, query, without_none


class _Taken(Answer):
    data: list[SheetVideo]


class _Released(Answer):
    released: int


def list_(*, decision: Decision | None = None, limit: int | None = None, after: str | None = None) -> Items[Review]:
    """What was said of videos, the newest video first."""
    return listed("/v1/reviews", Review, query(decision=decision), limit=limit, after=after)


def retrieve(video_id: str) -> Steps[ReviewWithHistory]:
    """What is thought of a finished video, and all that was said of it."""
    return answer_of(Request(method="GET", url=at("/v1/reviews/{}", video_id)), reads(ReviewWithHistory))


def decide(
    video_id: str,
    *,
    version: int,
    rating: int | None = None,
    decision: Decision | None = None,
    reason: str | None = None,
    action: Remedy | None = None,
) -> Steps[Review]:
    """Say what is thought of it, whole. Raises `Conflict` where another has said something since `version`."""
    fields = without_none(version=version, rating=rating, decision=decision, reason=reason, action=action)
    return answer_of(Request(method="PUT", url=at("/v1/reviews/{}", video_id), json=fields), reads(Review))


def undo(video_id: str, *, version: int) -> Steps[Review]:
    """Have what was said before hold again."""
    return _told(at("/v1/reviews/{}/undo", video_id), version)


def render_again(video_id: str, *, version: int) -> Steps[Review]:
    """Another video like one of no campaign that was rejected for another seed: `applied_as`."""
    return _told(at("/v1/reviews/{}/render_again", video_id), version)


def sheet(
    campaign_id: str,
    *,
    decision: Literal["undecided", "approve", "reject"] | None = None,
    rating: int | None = None,
    flagged: bool | None = None,
    promoted: bool | None = None,
    limit: int | None = None,
    after: str | None = None,
) -> Items[SheetVideo]:
    """The videos that a campaign has now, with their reviews, in the order of its rows."""
    asked = query(decision=decision, rating=rating, flagged=flagged, promoted=promoted)
    return listed(at("/v1/campaigns/{}/reviews", campaign_id), SheetVideo, asked, limit=limit, after=after)


def hold(
    campaign_id: str, *, holder: str | None = None, limit: int | None = None, after: str | None = None
) -> Steps[list[SheetVideo]]:
    """The next videos that nobody has decided on; nobody else is given them for five minutes."""
    fields = without_none(holder=holder, limit=limit, after=after)
    request = Request(method="POST", url=at("/v1/campaigns/{}/reviews/hold", campaign_id), json=fields)
    return (yield from answer_of(request, reads(_Taken))).data


def release(campaign_id: str, *, holder: str | None = None) -> Steps[int]:
    """Let others be given what this holder has; how many."""
    url = at("/v1/campaigns/{}/reviews/release", campaign_id)
    request = Request(method="POST", url=url, json=without_none(holder=holder))
    return (yield from answer_of(request, reads(_Released))).released


def counts(campaign_id: str) -> Steps[ReviewCounts]:
    """How far reviewers have come."""
    url = at("/v1/campaigns/{}/reviews/counts", campaign_id)
    return answer_of(Request(method="GET", url=url), reads(ReviewCounts))


def apply(campaign_id: str) -> Steps[ReviewsApplied]:
    """Carry out what was rejected: rows are left out, or rendered again with other seeds."""
    url = at("/v1/campaigns/{}/reviews/apply", campaign_id)
    return answer_of(Request(method="POST", url=url, json={}), reads(ReviewsApplied))


def promote(campaign_id: str, *, profile: str | None = None) -> Steps[ReviewsPromoted]:
    """Render what is approved again in another profile, `exact` unless said, with the seeds that it had."""
    url = at("/v1/campaigns/{}/reviews/promote", campaign_id)
    return answer_of(Request(method="POST", url=url, json=without_none(profile=profile)), reads(ReviewsPromoted))


def export(campaign_id: str, path: str | os.PathLike[str], *, format: Literal["jsonl", "csv"] = "jsonl") -> Steps[Path]:
    """Save what is thought of each video."""
    url = at("/v1/campaigns/{}/reviews/export", campaign_id)
    return fetch(Request(method="GET", url=url, query=query(format=format)), Path(path), resume=False)


def progress(campaign_id: str) -> Steps[CampaignProgress]:
    """How it got on, its forecast and its budget."""
    url = at("/v1/campaigns/{}/progress", campaign_id)
    return answer_of(Request(method="GET", url=url), reads(CampaignProgress))


def failures(campaign_id: str) -> Steps[CampaignFailures]:
    """Why rows failed, with examples."""
    url = at("/v1/campaigns/{}/failures", campaign_id)
    return answer_of(Request(method="GET", url=url), reads(CampaignFailures))


def _told(url: str, version: int) -> Steps[Review]:
    return answer_of(Request(method="POST", url=url, json={"version": version}), reads(Review))

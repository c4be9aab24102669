"""Between reviews and what requests about them are answered: pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from api.native import review_schemas as schemas
from api.wire.replies import unix
from orchestrator.campaigns import finishing
from orchestrator.domain.campaign import Campaign
from orchestrator.domain.job import public_id, public_id_of
from orchestrator.domain.reviews import Entry, Opinion, Review
from orchestrator.ports.reviews import ReviewCounts, Reviewed, SheetPage

# Of an export: flat, in this order.
COLUMNS = (
    "custom_id", "place", "video_id", "draft_id", "prompt", "seed", "profile", "flags", "rating", "decision", "reason",
    "action", "reviewer", "decided_at", "version",
)  # fmt: skip


def review_of(review: Review, campaign: str | None = None) -> schemas.ReviewObject:
    """A review as its reader sees it."""
    return schemas.ReviewObject(**_fields(review, campaign))


def with_history(review: Review, campaign: str | None, entries: Sequence[Entry]) -> schemas.ReviewWithHistory:
    """The same with all that was said."""
    return schemas.ReviewWithHistory(**_fields(review, campaign), history=[_entry(entry) for entry in entries])


def _fields(review: Review, campaign: str | None) -> dict[str, Any]:
    return {
        "id": public_id(review.job_id),
        "campaign": campaign,
        "version": review.version,
        **_opinion(review.opinion),
        "reviewer": review.reviewer,
        "decided_at": unix(review.decided_at),
        "applied_at": unix(review.applied_at),
        "applied_as": None if review.applied_as is None else public_id(review.applied_as),
        "held_by": review.held_by,
    }


def _opinion(opinion: Opinion) -> dict[str, Any]:
    return {name: getattr(opinion, name) for name in ("rating", "decision", "reason", "action")}


def _entry(entry: Entry) -> schemas.ReviewEntry:
    return schemas.ReviewEntry(
        number=entry.number,
        kind=entry.kind,
        version=entry.version,
        back_to=entry.back_to,
        **_opinion(entry.opinion),
        reviewer=entry.reviewer,
        at=unix(entry.at),
    )


def video_of(campaign: Campaign, reviewed: Reviewed) -> schemas.SheetVideo:
    """A row's video, as reviewers see it."""
    row = reviewed.row
    assert row is not None, "videos of a campaign have rows"
    told, draft = finishing.row_of(campaign, row, final=False), row.result.get("draft")
    return schemas.SheetVideo(
        id=public_id(reviewed.review.job_id),
        custom_id=row.row.custom_id,
        place=row.row.place,
        prompt=told.prompt,
        seed=told.seed or 0,
        profile=told.profile,
        flags=row.result.get("flags", ()),
        gpu_seconds=round(told.gpu_seconds, 3),
        draft_id=public_id_of(draft["job"]) if draft and "job" in draft else None,
        review=review_of(reviewed.review, campaign.id),
    )


def page_of(campaign: Campaign, page: SheetPage) -> schemas.SheetPageObject:
    """A page of them."""
    videos = [video_of(campaign, each) for each in page.videos]
    return schemas.SheetPageObject(
        data=videos,
        first_id=str(videos[0].place) if videos else None,
        last_id=str(page.after) if videos or page.has_more else None,
        has_more=page.has_more,
    )


def counts_of(campaign: Campaign, counts: ReviewCounts) -> schemas.ReviewCountsObject:
    """How far reviewers have come."""
    videos = max(0, campaign.counts.succeeded - counts.gone)
    return schemas.ReviewCountsObject(
        campaign=campaign.id,
        videos=videos,
        undecided=max(0, videos - counts.decided),
        approved=counts.approved,
        rejected=counts.new_seed + counts.drop,
        new_seed=counts.new_seed,
        drop=counts.drop,
        ratings=counts.ratings,
        held=counts.held,
        applied=counts.applied,
    )


def exported(campaign: Campaign, page: Iterable[Reviewed]) -> list[dict[str, Any]]:
    """Lines of an export."""
    return [_line(video_of(campaign, each)) for each in page]


def _line(video: schemas.SheetVideo) -> dict[str, Any]:
    review = video.review
    told = {
        "custom_id": video.custom_id, "place": video.place, "video_id": video.id, "draft_id": video.draft_id,
        "prompt": video.prompt, "seed": video.seed, "profile": video.profile, "flags": " ".join(video.flags),
    }  # fmt: skip
    said = {name: getattr(review, name) for name in COLUMNS if name not in told}
    return {name: {**told, **said}[name] for name in COLUMNS}

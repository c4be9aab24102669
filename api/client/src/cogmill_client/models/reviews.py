"""What people think of videos, how a campaign got on, and what a video would cost."""

from __future__ import annotations

from typing import Annotated, Literal

from cogmill_client.models.base import Answer, Identified, OrNewer
from cogmill_client.models.campaigns import Campaign, Forecast
from cogmill_client.models.rows import MoneyRange, Range
from cogmill_client.models.videos import VideoForecast

Decision = Literal["approve", "reject"]
Remedy = Literal["new_seed", "drop"]
EntryKind = Literal["decided", "refused", "undone", "applied"]


class Review(Identified):
    """What is thought of a video; `id` is the video's."""

    object: Literal["review"]
    campaign: str | None
    version: int
    rating: int | None
    decision: Annotated[Decision, OrNewer] | None
    reason: str | None
    action: Annotated[Remedy, OrNewer] | None
    reviewer: str | None
    decided_at: int | None
    applied_at: int | None
    applied_as: str | None
    held_by: str | None


class ReviewEntry(Answer):
    """A word of its history; `refused` came too late."""

    number: int
    kind: Annotated[EntryKind, OrNewer]
    version: int
    back_to: int | None
    rating: int | None
    decision: Annotated[Decision, OrNewer] | None
    reason: str | None
    action: Annotated[Remedy, OrNewer] | None
    reviewer: str
    at: int


class ReviewWithHistory(Review):
    """The same with all that was said, the oldest first."""

    history: list[ReviewEntry]


class SheetVideo(Identified):
    """A video of a campaign, as reviewers see it."""

    object: Literal["campaign.video"]
    custom_id: str
    place: int
    prompt: str | None
    seed: int
    profile: str | None
    flags: list[str]
    gpu_seconds: float
    draft_id: str | None
    review: Review


class ReviewCounts(Answer):
    """How far reviewers have come."""

    object: Literal["campaign.review_counts"]
    campaign: str
    videos: int
    undecided: int
    approved: int
    rejected: int
    new_seed: int
    drop: int
    ratings: list[int]
    held: int
    applied: int


class ReviewsApplied(Answer):
    """What was carried out of the rejections."""

    object: Literal["campaign.reviews_applied"]
    new_seed: int
    drop: int
    campaign: Campaign


class ReviewsPromoted(Answer):
    """How many rows are rendered again in full."""

    object: Literal["campaign.reviews_promoted"]
    rows: int
    campaign: Campaign


class ProgressPoint(Answer):
    """How many rows had ended by then, and what they had cost."""

    at: int
    succeeded: int
    failed: int
    others: int
    gpu_seconds: float


class Threshold(Answer):
    """An action of the budget, and whether it has been taken."""

    percent: int
    do: str
    at: float
    taken: bool


class BudgetStanding(Answer):
    """What there is of the campaign's own budget, in its unit."""

    unit: str
    amount: float
    used: float
    reserved: float
    currency: str | None
    thresholds: list[Threshold]


class CampaignProgress(Answer):
    """A campaign's burn-up; the last point is now."""

    object: Literal["campaign.progress"]
    campaign: str
    rows: int
    started_at: int | None
    deadline: int | None
    points: list[ProgressPoint]
    forecast: Forecast | None
    budget: BudgetStanding | None
    approved_gpu_seconds: float | None


class FailedRow(Answer):
    """A row that failed."""

    custom_id: str
    message: str | None
    video_id: str | None


class FailureReason(Answer):
    """Rows that failed with one code, and a few of them."""

    code: str
    rows: int
    examples: list[FailedRow]


class CampaignFailures(Answer):
    """Why rows failed, the commonest reason first."""

    object: Literal["campaign.failures"]
    campaign: str
    rows: int
    looked_at: int
    data: list[FailureReason]


class VideoQuote(Answer):
    """What a video would be, what it would cost, and when it would be there."""

    object: Literal["video.quote"]
    model: str
    pool: str
    profile: str
    size: str
    render_size: str
    num_frames: int
    fps: int
    seconds: float
    steps: int
    guidance_scale: float
    priority: int
    gpu_seconds: Range
    charge: float
    finish_seconds: float
    money: MoneyRange | None
    forecast: VideoForecast | None

"""What is said about reviews: what requests may say, and what they are answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from api.native.campaign_answers import CAMPAIGN_EXAMPLE, CampaignObject
from api.openai.schemas import OpenAIError
from api.wire.bodies import Integer
from api.wire.paging import Identified, Listing
from orchestrator.domain.reviews import EntryKind, Remedy, Verdict

REVIEW_EXAMPLE: dict[str, JsonValue] = {
    "id": "video_0199c3a57be47c21b1f3a1d3c5e7f944",
    "object": "review",
    "campaign": CAMPAIGN_EXAMPLE["id"],
    "version": 2,
    "rating": 2,
    "decision": "reject",
    "reason": "the handle is on the wrong side",
    "action": "new_seed",
    "reviewer": "key:cgm_Zk41mP0aQe8RtUv3",
    "decided_at": 1758950012,
    "applied_at": None,
    "applied_as": None,
    "held_by": None,
}
ENTRY_EXAMPLE: dict[str, JsonValue] = {
    "number": 2,
    "kind": "decided",
    "version": 2,
    "back_to": None,
    "rating": 2,
    "decision": "reject",
    "reason": "the handle is on the wrong side",
    "action": "new_seed",
    "reviewer": "key:cgm_Zk41mP0aQe8RtUv3",
    "at": 1758950012,
}
SHEET_EXAMPLE: dict[str, JsonValue] = {
    "id": "video_0199c3a57be47c21b1f3a1d3c5e7f944",
    "object": "campaign.video",
    "custom_id": "mug-7",
    "place": 6,
    "prompt": "a red mug on a table, morning light",
    "seed": 2903401187,
    "profile": "exact",
    "flags": [],
    "gpu_seconds": 44.9,
    "draft_id": "video_0199c3a57be47c21b1f3a1d3c5e7f911",
    "review": REVIEW_EXAMPLE,
}
COUNTS_EXAMPLE: dict[str, JsonValue] = {
    "object": "campaign.review_counts",
    "campaign": CAMPAIGN_EXAMPLE["id"],
    "videos": 1138,
    "undecided": 902,
    "approved": 214,
    "rejected": 22,
    "new_seed": 19,
    "drop": 3,
    "ratings": [4, 18, 61, 90, 40],
    "held": 24,
    "applied": 7,
}
APPLIED_EXAMPLE: dict[str, JsonValue] = {
    "object": "campaign.reviews_applied",
    "new_seed": 19,
    "drop": 3,
    "campaign": CAMPAIGN_EXAMPLE,
}


PROMOTED_EXAMPLE: dict[str, JsonValue] = {
    "object": "campaign.reviews_promoted",
    "rows": 212,
    "campaign": CAMPAIGN_EXAMPLE,
}


class _Fields(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Decide(_Fields):
    """What is thought of a video, whole: what is left out, or null, is no longer said."""

    version: Integer = Field(description="That was looked at; 0 where nobody has said anything.")
    rating: Integer | None = Field(None, description="1, the worst, to 5.")
    decision: Verdict | None = None
    reason: str | None = Field(None, max_length=500, description="For people to read.")
    action: Remedy | None = Field(
        None,
        description="What shall become of what is rejected: `new_seed`, the default, renders it again with another "
        "seed, `drop` leaves its row without a video. It is carried out when somebody applies the reviews.",
    )


class Versioned(_Fields):
    """Of which version it is meant."""

    version: Integer = Field(description="That was looked at.")


class PromoteReviews(_Fields):
    """How what is approved is rendered again."""

    profile: Literal["exact", "fast"] | None = Field(None, description="`exact` when it is left out.")


class HoldVideos(_Fields):
    """Which videos to be given."""

    holder: str | None = Field(
        None, max_length=64, description="Tells desks of one key apart: a word of the caller's own, one for each."
    )
    after: str | None = Field(None, description="The `last_id` of the answer before.")
    limit: Integer | None = Field(None, description="How many, 1 to 100; 20 when it is left out.")


class ReleaseVideos(_Fields):
    """Whose videos to give back."""

    holder: str | None = Field(None, max_length=64, description="As it was said when they were taken.")


class ReviewObject(Identified):
    """What is thought of a video; `id` is the video's. Times are Unix seconds."""

    object: Literal["review"] = "review"
    campaign: str | None = Field(description="Whose row it is of. Null in lists, and of a video of no campaign.")
    version: int = Field(description="Grows with every word; 0 where nothing was said.")
    rating: int | None
    decision: Verdict | None
    reason: str | None
    action: Remedy | None
    reviewer: str | None = Field(description="The key or the person who has said so.")
    decided_at: int | None
    applied_at: int | None = Field(description="When what was asked for was carried out.")
    applied_as: str | None = Field(description="The video that came of that, of one of no campaign.")
    held_by: str | None = Field(description="Who is about to look at it.")


class ReviewEntry(BaseModel):
    """A word of its history."""

    number: int
    kind: EntryKind = Field(description="`refused` came too late: another had said something meanwhile.")
    version: int = Field(description="That it made; of what was refused, the one that it met.")
    back_to: int | None = Field(description="The version that undoing went back to.")
    rating: int | None
    decision: Verdict | None
    reason: str | None
    action: Remedy | None
    reviewer: str
    at: int


class ReviewWithHistory(ReviewObject):
    """The same with all that was said, the oldest first; the last 100 words are kept."""

    history: Sequence[ReviewEntry]


class ReviewList(Listing[ReviewObject]):
    """A page of reviews."""


class ReviewConflict(OpenAIError):
    """Somebody else was quicker: what holds is in `review`. What was said is in its history, and does not hold."""

    review: ReviewObject


class SheetVideo(Identified):
    """A video of a campaign, as reviewers see it."""

    object: Literal["campaign.video"] = "campaign.video"
    custom_id: str
    place: int
    prompt: str | None
    seed: int
    profile: str | None
    flags: Sequence[str] = Field(description="Why somebody should look at it.")
    gpu_seconds: float
    draft_id: str | None = Field(description="The video that it was promoted from.")
    review: ReviewObject


class SheetPageObject(BaseModel):
    """A page of videos; the next one begins after `last_id` when `has_more`, also where a filter has left none here."""

    object: Literal["list"] = "list"
    data: Sequence[SheetVideo]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ReviewCountsObject(BaseModel):
    """How far reviewers have come with the videos that a campaign has now."""

    object: Literal["campaign.review_counts"] = "campaign.review_counts"
    campaign: str
    videos: int = Field(description="Those that were deleted left out.")
    undecided: int
    approved: int
    rejected: int
    new_seed: int = Field(description="Rejected, to be rendered again.")
    drop: int = Field(description="Rejected, to be left out.")
    ratings: Sequence[int] = Field(description="How many have 1 to 5.")
    held: int = Field(description="Undecided, and somebody is about to look at them.")
    applied: int = Field(description="Rejections that have been carried out.")


class ReviewsApplied(BaseModel):
    """What was carried out; the rest waits for its rows."""

    object: Literal["campaign.reviews_applied"] = "campaign.reviews_applied"
    new_seed: int
    drop: int
    campaign: CampaignObject


class ReviewsPromoted(BaseModel):
    """How many rows are rendered again in full."""

    object: Literal["campaign.reviews_promoted"] = "campaign.reviews_promoted"
    rows: int
    campaign: CampaignObject


class VideosReleased(BaseModel):
    object: Literal["campaign.reviews_released"] = "campaign.reviews_released"
    released: int

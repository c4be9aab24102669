"""A client of Cogmill: videos, campaigns, files and webhooks, blocking (`Cogmill`) and async (`AsyncCogmill`)."""

from cogmill_client.client import AsyncCogmill, Cogmill
from cogmill_client.errors import (
    ApiError,
    BadAnswer,
    BadRequest,
    ChecksumMismatch,
    CogmillError,
    ConfigurationError,
    Conflict,
    ConnectionFailed,
    Forbidden,
    InvalidSignature,
    NotFound,
    PreconditionFailed,
    RateLimited,
    ServerError,
    Timeout,
    TooLarge,
    Unauthenticated,
)
from cogmill_client.many import Downloaded
from cogmill_client.models.campaigns import Campaign
from cogmill_client.models.files import FileObject
from cogmill_client.models.fleet import Fleet, FleetKind, ScaleDecision
from cogmill_client.models.keys import Key, KeyWithSecret
from cogmill_client.models.reviews import (
    CampaignFailures,
    CampaignProgress,
    Review,
    ReviewCounts,
    ReviewsApplied,
    ReviewsPromoted,
    ReviewWithHistory,
    SheetVideo,
    VideoQuote,
)
from cogmill_client.models.rows import BadRow, Link, ManifestSignature, Plan, Row, Upload
from cogmill_client.models.usage import Usage, UsageLine, WasteLine, WasteUsage, WorkerLine, WorkerUsage
from cogmill_client.models.videos import Video
from cogmill_client.models.webhooks import WebhookEvent

__all__ = [
    "ApiError", "AsyncCogmill", "BadAnswer", "BadRequest", "BadRow", "Campaign", "CampaignFailures",
    "CampaignProgress", "ChecksumMismatch", "Cogmill", "CogmillError", "ConfigurationError", "Conflict",
    "ConnectionFailed", "Downloaded", "FileObject", "Fleet", "FleetKind", "Forbidden", "InvalidSignature", "Key",
    "KeyWithSecret", "Link", "ManifestSignature", "NotFound", "Plan", "PreconditionFailed", "RateLimited", "Review",
    "ReviewCounts", "ReviewWithHistory", "ReviewsApplied", "ReviewsPromoted", "Row", "ScaleDecision", "ServerError",
    "SheetVideo", "Timeout", "TooLarge", "Unauthenticated", "Upload", "Usage", "UsageLine", "Video", "VideoQuote",
    "WasteLine", "WasteUsage", "WebhookEvent", "WorkerLine", "WorkerUsage",
]  # fmt: skip

"""What the world is told of jobs, batches, campaigns; what signs it, and what becomes of a delivery after a try. Pure.

Standard Webhooks (https://www.standardwebhooks.com) says how a delivery is signed, OpenAI's webhook events how its body
looks.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

from orchestrator.domain.retry import Backoff


class EventType(StrEnum):
    """The events that receivers hear of. A video that was cancelled counts as failed, as it does in its status."""

    VIDEO_COMPLETED = "video.completed"
    VIDEO_FAILED = "video.failed"
    BATCH_COMPLETED = "batch.completed"
    BATCH_FAILED = "batch.failed"
    BATCH_EXPIRED = "batch.expired"
    BATCH_CANCELLED = "batch.cancelled"
    CAMPAIGN_PLANNED = "campaign.planned"
    CAMPAIGN_AWAITING_APPROVAL = "campaign.awaiting_approval"
    CAMPAIGN_PROGRESS = "campaign.progress"
    CAMPAIGN_PAUSED = "campaign.paused"
    CAMPAIGN_RESUMED = "campaign.resumed"
    CAMPAIGN_BUDGET = "campaign.budget"
    CAMPAIGN_AT_RISK = "campaign.at_risk"
    CAMPAIGN_ON_TRACK = "campaign.on_track"
    CAMPAIGN_COMPLETED = "campaign.completed"
    CAMPAIGN_CANCELLED = "campaign.cancelled"
    CAMPAIGN_FAILED = "campaign.failed"


# What the store writes into the outbox.
EVENT_TYPES = {
    "job.succeeded": EventType.VIDEO_COMPLETED,
    "job.failed": EventType.VIDEO_FAILED,
    "job.cancelled": EventType.VIDEO_FAILED,
    "batch.completed": EventType.BATCH_COMPLETED,
    "batch.failed": EventType.BATCH_FAILED,
    "batch.expired": EventType.BATCH_EXPIRED,
    "batch.cancelled": EventType.BATCH_CANCELLED,
    "campaign.planned": EventType.CAMPAIGN_PLANNED,
    "campaign.awaiting_approval": EventType.CAMPAIGN_AWAITING_APPROVAL,
    "campaign.progress": EventType.CAMPAIGN_PROGRESS,
    "campaign.paused": EventType.CAMPAIGN_PAUSED,
    "campaign.resumed": EventType.CAMPAIGN_RESUMED,
    "campaign.budget": EventType.CAMPAIGN_BUDGET,
    "campaign.at_risk": EventType.CAMPAIGN_AT_RISK,
    "campaign.on_track": EventType.CAMPAIGN_ON_TRACK,
    "campaign.completed": EventType.CAMPAIGN_COMPLETED,
    "campaign.cancelled": EventType.CAMPAIGN_CANCELLED,
    "campaign.failed": EventType.CAMPAIGN_FAILED,
}


def event_body(
    event_id: str, event_type: EventType, created_at: datetime, subject: str, detail: Mapping[str, Any] | None = None
) -> str:
    """The body of every delivery of an event about the video, batch or campaign `subject`; `detail` says more of it."""
    event = {
        "id": event_id,
        "object": "event",
        "created_at": int(created_at.timestamp()),
        "type": event_type,
        "data": {"id": subject, **(detail or {})},
    }
    return json.dumps(event, separators=(",", ":"))


def secret(master_key: str, owner: str, generation: int) -> str:
    """The signing secret of an owner, which follows from the master key: `whsec_` and 32 bytes in base 64."""
    digest = hmac.digest(master_key.encode(), f"webhook:{owner}:{generation}".encode(), "sha256")
    return f"whsec_{base64.b64encode(digest).decode()}"


def secret_owner(tenant: str, endpoint_id: str | None) -> str:
    """Whose secret signs: the endpoint's, or the tenant's for a URL that a request named."""
    # Named apart, since a tenant may bear any name, an endpoint's id too.
    return f"tenant:{tenant}" if endpoint_id is None else f"endpoint:{endpoint_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A receiver's answer."""

    # HTTP's.
    status: int
    # For so long it asks to be left alone.
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """No answer came."""

    # For the tenant to read: it says nothing of what lies behind the URL.
    error: str


Answer = Reply | Silence


def asked_pause_s(retry_after: str, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for at `now`: it holds them or a date (RFC 9110, 10.2.3).

    None for anything else, which asks for nothing. There is no upper bound: `judge` has one.
    """
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # OverflowError: a year or a zone that no machine word holds
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - now).total_seconds())


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    # Its time is up, or its receiver or its endpoint is gone.
    FAILED = "failed"


class Fate(StrEnum):
    """What a try means."""

    DELIVERED = "delivered"
    RETRY = "retry"
    # The receiver wants nothing more, ever (410).
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What becomes of a delivery after a try."""

    fate: Fate
    # The receiver's, if it answered.
    status: int | None = None
    # Why the try did not deliver.
    error: str | None = None
    # The pause before the next try.
    delay_s: float = 0.0


def judge(answer: Answer, attempts: int, backoff: Backoff, jitter: float) -> Judgement:
    """The judgement on the `attempts`-th try (1 is the first). `jitter` in [0, 1) spreads the pause.

    A receiver may ask for a longer pause than ours, up to the longest that we make by ourselves.
    """
    if isinstance(answer, Silence):
        return Judgement(fate=Fate.RETRY, error=answer.error, delay_s=backoff.delay_s(attempts, jitter))
    if 200 <= answer.status < 300:
        return Judgement(fate=Fate.DELIVERED, status=answer.status)
    if answer.status == 410:
        return Judgement(fate=Fate.GONE, status=answer.status, error="the receiver answered 410 Gone")
    asked_s = min(answer.retry_after_s or 0.0, backoff.cap_s)
    return Judgement(
        fate=Fate.RETRY,
        status=answer.status,
        error=f"the receiver answered {answer.status}{_REDIRECTS if 300 <= answer.status < 400 else ''}",
        delay_s=max(backoff.delay_s(attempts, jitter), asked_s),
    )


_REDIRECTS = "; redirects are not followed"

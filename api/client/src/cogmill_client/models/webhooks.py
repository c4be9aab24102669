"""What webhooks bring, and the endpoints that they go to."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from cogmill_client.models.base import Answer, Identified, OrNewer

EventType = Literal[
    "video.completed", "video.failed", "batch.completed", "batch.failed", "batch.expired", "batch.cancelled",
    "campaign.planned", "campaign.awaiting_approval", "campaign.progress", "campaign.paused", "campaign.resumed",
    "campaign.budget", "campaign.at_risk", "campaign.on_track", "campaign.completed", "campaign.cancelled",
    "campaign.failed",
]  # fmt: skip


class WebhookEvent(Answer):
    """A verified delivery. `data` names what it is about: an `id`, and with some types more."""

    id: str
    object: str = "event"
    created_at: int
    type: str
    data: dict[str, Any]


class Endpoint(Identified):
    """Where events are sent to."""

    object: Literal["webhook_endpoint"]
    created_at: int
    updated_at: int
    name: str
    url: str
    event_types: list[Annotated[EventType, OrNewer]]
    signing_secret_hint: str
    disabled_at: int | None


class EndpointWithSecret(Endpoint):
    """The whole secret is shown once, when the endpoint is made."""

    signing_secret: str


class WebhookSecret(Answer):
    """What signs the deliveries to URLs that requests name (`webhook_url`)."""

    object: Literal["webhook_secret"]
    signing_secret: str


class Jwk(Answer):
    """A public key that manifests are signed with: Ed25519, `x` in base64url."""

    kty: Annotated[Literal["OKP"], OrNewer]
    crv: Annotated[Literal["Ed25519"], OrNewer]
    x: str
    kid: str
    alg: Annotated[Literal["EdDSA"], OrNewer]
    use: Annotated[Literal["sig"], OrNewer]


class Jwks(Answer):
    """The public keys of a deployment."""

    keys: list[Jwk]


class DeliveryAttempt(Answer):
    """One try of a delivery: what was answered, or why nothing was."""

    number: int
    at: int
    seconds: float
    status: int | None
    error: str | None


class Delivery(Identified):
    """One event sent to one URL, and what became of it."""

    object: Literal["webhook_delivery"]
    created_at: int
    state: Annotated[Literal["pending", "delivered", "failed"], OrNewer]
    endpoint: str | None
    url: str
    event: dict[str, Any]
    attempts: int
    next_attempt_at: int | None
    ended_at: int | None
    last_status: int | None
    last_error: str | None
    # The last ones, the oldest first. A server of before tells of none.
    attempts_made: list[DeliveryAttempt] = Field(default_factory=list)

"""The bodies of the webhook routes: OpenAI's for endpoints, and ours for deliveries and the tenant's own secret."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from api.wire.paging import Identified, Listing
from orchestrator.domain.webhooks import DeliveryState, EventType
from orchestrator.notify.subscriptions import MAX_NAME_CHARS

ENDPOINT_EXAMPLE: dict[str, JsonValue] = {
    "id": "whe_019a2f6c5d3e7b1c8f4a9e2d6b0c1a53",
    "object": "webhook_endpoint",
    "created_at": 1758941485,
    "updated_at": 1758941485,
    "name": "production",
    "url": "https://example.com/hooks/videos",
    "event_types": ["video.completed", "video.failed"],
    "signing_secret_hint": "whsec_Cn3u...",
    "disabled_at": None,
}
SECRET_EXAMPLE = "whsec_Cn3uXJ6u4jJr0f0uQyq0m5m7c2cL8l6rX0d3j0J2v1s="
WITH_SECRET_EXAMPLE: dict[str, JsonValue] = {**ENDPOINT_EXAMPLE, "signing_secret": SECRET_EXAMPLE}
DELIVERY_EXAMPLE: dict[str, JsonValue] = {
    "id": "whd_019a2f6c5d3e7b1c8f4a9e2d6b0c1a54",
    "object": "webhook_delivery",
    "created_at": 1758941575,
    "state": "pending",
    "endpoint": ENDPOINT_EXAMPLE["id"],
    "url": ENDPOINT_EXAMPLE["url"],
    "event": {
        "id": "evt_019a2f6c5d3e7b1c8f4a9e2d6b0c1a55",
        "object": "event",
        "created_at": 1758941575,
        "type": "video.completed",
        "data": {"id": "video_0198c5a7e3b97d6f8a0c1f2e3d4c5b6a"},
    },
    "attempts": 2,
    "next_attempt_at": 1758941587,
    "ended_at": None,
    "last_status": 503,
    "last_error": "the receiver answered 503",
    "attempts_made": [
        {
            "number": 1,
            "at": 1758941576,
            "seconds": 15.002,
            "status": None,
            "error": "no answer within 15 s",
        },
        {"number": 2, "at": 1758941582, "seconds": 0.113, "status": 503, "error": "the receiver answered 503"},
    ],
}
NEW_EXAMPLE: JsonValue = {name: ENDPOINT_EXAMPLE[name] for name in ("name", "url", "event_types")}

_Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS, description="For people to read.")]
_Url = Annotated[str, Field(description="An http or https URL with a public address. Redirects are not followed.")]
_Types = Annotated[
    list[EventType],
    Field(min_length=1, max_length=100, description="The events to hear of. A cancelled video is a `video.failed`."),
]


class CreateEndpoint(BaseModel):
    """Where events are sent to, signed by the Standard Webhooks scheme."""

    model_config = ConfigDict(extra="forbid")

    name: _Name
    url: _Url
    event_types: _Types


class UpdateEndpoint(BaseModel):
    """What is left out stays. Any update enables an endpoint that was disabled, even one that changes nothing."""

    model_config = ConfigDict(extra="forbid")

    name: _Name | None = None
    url: _Url | None = None
    event_types: _Types | None = None


class RotateSecret(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keep_old_secret_active_for_24_hours: bool = Field(
        True,
        description="Sign with both secrets for as long as the deployment says (`webhooks.overlap_s`, 24 hours unless "
        "set). False ends the old one at once.",
    )


class SendTest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    event_type: EventType


class Endpoint(Identified):
    """A webhook endpoint. `disabled_at` is ours: since when nothing is sent, because its receiver answered
    410 Gone, or somebody disabled it."""

    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    created_at: int
    updated_at: int
    name: str
    url: str
    event_types: list[EventType]
    signing_secret_hint: str
    disabled_at: int | None


class EndpointWithSecret(Endpoint):
    """The whole secret is shown when an endpoint is made and when its secret is rotated, and never again."""

    signing_secret: str


class EndpointList(Listing[Endpoint]):
    """A page of endpoints."""


class DeletedEndpoint(BaseModel):
    id: str
    object: Literal["webhook_endpoint.deleted"] = "webhook_endpoint.deleted"
    deleted: Literal[True] = True


class EndpointTest(BaseModel):
    """The receiver answered, with this status."""

    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"
    webhook_endpoint_id: str
    event_type: EventType
    status_code: int
    success: Literal[True] = True


class EventTypeList(BaseModel):
    object: Literal["list"] = "list"
    data: list[EventType]


class WebhookSecret(BaseModel):
    """What signs the deliveries to URLs that requests name (`webhook_url`)."""

    object: Literal["webhook_secret"] = "webhook_secret"
    signing_secret: str


class DeliveryAttempt(BaseModel):
    """One try of a delivery. `status` is null where the receiver did not answer, and `error` where it took the event.

    `number` goes on where the delivery is sent again.
    """

    number: int
    at: int
    seconds: float
    status: int | None
    error: str | None


class DeliveryObject(Identified):
    """One event for one URL. `event` is what is sent, and `event.id` the `webhook-id`, the same on every try.

    `endpoint` is null for a URL that a request named. `attempts` counts tries since it was last sent again.
    `attempts_made` has the last 32 tries, the oldest first, those before it was sent again among them; tries of a
    release that kept none are not in it.
    """

    object: Literal["webhook_delivery"] = "webhook_delivery"
    created_at: int
    state: DeliveryState
    endpoint: str | None
    url: str
    event: dict[str, Any]
    attempts: int
    next_attempt_at: int | None
    ended_at: int | None
    last_status: int | None
    last_error: str | None
    attempts_made: list[DeliveryAttempt]


class DeliveryList(Listing[DeliveryObject]):
    """A page of deliveries."""


class JobDeliveries(BaseModel):
    """What was sent of one job."""

    object: Literal["list"] = "list"
    data: list[DeliveryObject]
    complete: bool = Field(
        description="All deliveries that may be its were looked at: some 20,000 of its tenant's are."
    )

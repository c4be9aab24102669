"""The store of webhook endpoints and deliveries, and who carries a delivery to its receiver."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from orchestrator.domain.masters import FIRST
from orchestrator.domain.webhooks import Answer, DeliveryState, EventType, Judgement


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEndpoint:
    """What a tenant wants told where."""

    id: str
    tenant: str
    # For people, to tell endpoints apart.
    name: str
    url: str
    # Deliveries to `url` are counted under it.
    host: str
    # What it wants to hear of.
    event_types: Sequence[EventType]
    # The generation of the master key that its secret is to follow from.
    master: int = FIRST


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretMark:
    """What a tenant's own secret follows from, beside its name."""

    # Grows with each rotation.
    generation: int
    # The generation of the master key.
    master: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A tenant's endpoint."""

    id: str
    tenant: str
    name: str
    url: str
    host: str
    event_types: Sequence[EventType]
    # Its secret follows from a master key, `id` and this number, which grows with each rotation.
    generation: int
    # The generation of that master key.
    master: int = FIRST
    created_at: datetime
    updated_at: datetime
    # When its receiver said that it is gone for good.
    disabled_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointPage:
    endpoints: Sequence[Endpoint]
    has_more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """A row of the outbox."""

    # A key of `EVENT_TYPES`.
    event: str
    # The public id of the job, batch or campaign that it is about.
    subject: str
    tenant: str
    at: datetime
    # The one that the job's request named.
    webhook_url: str | None
    # The tenant's that are enabled.
    endpoints: Sequence[Endpoint]
    # What its body says beside the subject.
    detail: Mapping[str, Any] = field(default_factory=dict)
    # Where in which trace the subject was asked for.
    trace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDelivery:
    """One event for one URL."""

    id: UUID
    # The `webhook-id`, the same on every try.
    event_id: str
    tenant: str
    # None for a URL that a request named.
    endpoint_id: str | None
    url: str
    host: str
    event_type: EventType
    # Sent as it is.
    body: str
    # Of what it tells about.
    trace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryAttempt:
    """One try of a delivery, and what it met."""

    # From 1, and on where the delivery is sent again.
    number: int
    # When it began.
    at: datetime
    seconds: float
    # The receiver's, if it answered.
    status: int | None
    # Why it did not deliver.
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookDelivery:
    """A delivery as its tenant may read it."""

    id: UUID
    tenant: str
    endpoint_id: str | None
    url: str
    body: str
    state: DeliveryState
    # Tries since it was last sent anew.
    attempts: int
    created_at: datetime
    # When the next try is due.
    next_at: datetime
    ended_at: datetime | None
    # What the last try met: the receiver's status, or why there was none or what was wrong with it.
    last_status: int | None
    last_error: str | None
    # The last ones, the oldest first; without those of releases that kept none.
    attempts_made: Sequence[DeliveryAttempt] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPage:
    deliveries: Sequence[WebhookDelivery]
    has_more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """A leased delivery."""

    id: UUID
    # Fresh for each lease. What became of the try is written only under it.
    lease: UUID
    tenant: str
    endpoint_id: str | None
    event_id: str
    url: str
    body: str
    # Tries, this one included.
    attempts: int
    # Its secret signs.
    generation: int
    # So does the secret of the generation before.
    overlaps: bool
    # The generations of the master key that the two follow from; None where nobody has been shown the secret yet.
    master: int | None = FIRST
    previous_master: int | None = FIRST
    event_type: str = ""
    # Of what it tells about.
    trace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What has not arrived yet."""

    # Deliveries.
    pending: int
    # Age of the oldest of them.
    oldest_age_s: float
    # Age of the oldest event that is in no delivery.
    oldest_event_age_s: float


class WebhookStore(Protocol):
    """Endpoints, their secrets' generations, and deliveries. Every method may raise `StoreUnavailable`.

    What names a tenant sees that tenant's rows only.
    """

    # endpoints
    async def add_endpoint(self, endpoint: NewEndpoint, *, at_most: float) -> Endpoint | None:
        """Insert it; None when the tenant has `at_most` already, however many arrive at once."""
        ...

    async def find_endpoint(self, endpoint_id: str, tenant: str) -> Endpoint | None: ...

    async def list_endpoints(self, tenant: str, *, limit: int, after: str | None) -> EndpointPage:
        """Newest first, behind the one with the id `after`."""
        ...

    async def update_endpoint(
        self,
        endpoint_id: str,
        tenant: str,
        *,
        name: str | None,
        url: str | None,
        host: str | None,
        event_types: Sequence[EventType] | None,
    ) -> Endpoint | None:
        """Change what is not None and enable it again; what is pending goes to the new URL. None: no such endpoint."""
        ...

    async def delete_endpoint(self, endpoint_id: str, tenant: str) -> bool:
        """Drop it and fail what is pending for it."""
        ...

    async def disable_endpoint(self, endpoint_id: str, tenant: str) -> Endpoint | None:
        """Send nothing more to it until it is updated, and fail what is pending. None: no such endpoint."""
        ...

    # secrets
    async def rotate_endpoint(
        self, endpoint_id: str, tenant: str, *, overlap_s: float, master: int = FIRST
    ) -> Endpoint | None:
        """The next generation; the present one signs too for `overlap_s`. None: no such endpoint."""
        ...

    async def show_secret(self, tenant: str, *, master: int = FIRST) -> SecretMark:
        """What the tenant's own secret follows from; `master` from now on where nobody has been shown it before."""
        ...

    async def rotate_tenant(self, tenant: str, *, overlap_s: float, master: int = FIRST) -> SecretMark:
        """The next generation of the tenant's own secret."""
        ...

    # delivering
    async def fan_out(
        self, announce: Callable[[Happening], Sequence[NewDelivery]], *, limit: int, give_up_s: float
    ) -> int:
        """Turn the oldest outbox rows into deliveries, in one transaction; how many rows. Each is taken once."""
        ...

    async def add_delivery(self, delivery: NewDelivery, *, give_up_s: float) -> bool:
        """Insert one for an endpoint that is enabled. False when it is not, or no more."""
        ...

    async def lease_deliveries(self, *, limit: int, per_host: int, per_tenant: int, lease_s: float) -> list[Try]:
        """Lease what is due, fairly over tenants and over hosts, each with a fresh token.

        Never are more than `per_host` leases of one host alive, nor `per_tenant` of one tenant, over all processes.
        """
        ...

    async def record_try(
        self, attempt: Try, judgement: Judgement, *, took_s: float = 0.0, ago_s: float = 0.0
    ) -> DeliveryState | None:
        """Write what became of a try and give back its lease; None when the lease is another's by now.

        The try began `ago_s` ago and took `took_s`. A retry after the time to give up is a failure. A receiver that is
        gone disables its endpoint.
        """
        ...

    async def webhook_backlog(self) -> Backlog: ...

    # looking and sending again
    async def find_delivery(self, delivery_id: UUID, tenant: str) -> WebhookDelivery | None: ...

    async def list_deliveries(
        self,
        tenant: str | None,
        *,
        limit: int,
        after: UUID | None = None,
        state: DeliveryState | None = None,
        endpoint_id: str | None = None,
    ) -> DeliveryPage:
        """Newest first, behind `after`; without a tenant, everybody's."""
        ...

    async def resend(self, delivery_id: UUID, tenant: str | None, *, give_up_s: float) -> WebhookDelivery | None:
        """Pending and due now, at its endpoint's present URL. None: no such delivery, or its endpoint hears no more."""
        ...

    async def prune_deliveries(self, *, keep_s: float) -> int:
        """Delete deliveries that ended `keep_s` ago; how many."""
        ...


class WebhookSender(Protocol):
    """HTTP to a receiver: guarded, bounded in time and size, without redirects."""

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """POST once. Never raises for what the receiver, the network or the URL does."""
        ...

"""Webhooks as their tenant manages them: endpoints, secrets, tests, and deliveries to look at and send again."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from uuid_utils.compat import uuid7

from orchestrator.adapters.fetch import check_url
from orchestrator.adapters.webhook_http import host_of
from orchestrator.config import Settings
from orchestrator.domain.errors import InvalidField, NotFound, Unavailable, WrongState
from orchestrator.domain.masters import Masters
from orchestrator.domain.texts import check_text
from orchestrator.domain.webhooks import DeliveryState, EventType, event_body, secret, secret_owner
from orchestrator.notify.outbox import RETIRED, delivery_to, new_event_id
from orchestrator.policy.quotas import exceeded
from orchestrator.ports import (
    DeliveryPage,
    Endpoint,
    EndpointPage,
    NewEndpoint,
    WebhookDelivery,
    WebhookStore,
)
from orchestrator.tenants.rates import TenantLimits

MAX_NAME_CHARS = 200

_ENDPOINT_ID = re.compile(r"whe_[0-9a-f]{32}")
_DELIVERY_ID = re.compile(r"whd_([0-9a-f]{32})")
# What a test is about: no video has this id.
_NOTHING = f"video_{UUID(int=0).hex}"
_LOOK_AGAIN_S = 0.2
# How long a test may wait for its turn, beside the time that its receiver has to answer.
_TURN_S = 10.0


@dataclass(frozen=True, slots=True)
class Signed:
    """An endpoint and its whole secret, which is shown when it is new."""

    endpoint: Endpoint
    secret: str


class Subscriptions:
    """A tenant's webhooks. Every id that is not one of the tenant's own raises `NotFound`, whatever the reason."""

    def __init__(self, settings: Settings, store: WebhookStore, limits: TenantLimits, *, masters: Masters) -> None:
        self._settings = settings
        self._store = store
        self._limits = limits
        self._masters = masters

    # ---------------------------------------------------------------- endpoints

    async def create(self, tenant: str, *, name: str, url: str, event_types: Sequence[EventType]) -> Signed:
        """Raises `InvalidField`, or `LimitExceeded` for one endpoint too many."""
        _check_name(name)
        new = NewEndpoint(
            id=f"whe_{uuid7().hex}",
            tenant=tenant,
            name=name,
            url=url,
            host=self._host(url),
            event_types=list(dict.fromkeys(event_types)),
            master=self._masters().newest.generation,
        )
        own = (await self._limits.of(tenant)).webhook_endpoints
        most = math.inf if own is None else own
        endpoint = await self._store.add_endpoint(new, at_most=most)
        if endpoint is None:
            raise exceeded("webhook_endpoints", most=most, used=math.floor(most))
        return Signed(endpoint, self.secret_of(endpoint))

    async def get(self, tenant: str, endpoint_id: str) -> Endpoint:
        return _found(await self._store.find_endpoint(_checked(endpoint_id), tenant), endpoint_id)

    async def list(self, tenant: str, *, limit: int, after: str | None) -> EndpointPage:
        """Newest first, behind the endpoint `after`, which may be gone by now."""
        if after is not None:
            _checked(after, param="after")
        return await self._store.list_endpoints(tenant, limit=limit, after=after)

    async def update(
        self,
        tenant: str,
        endpoint_id: str,
        *,
        name: str | None = None,
        url: str | None = None,
        event_types: Sequence[EventType] | None = None,
    ) -> Endpoint:
        """Change what is not None. An endpoint that was disabled is enabled again."""
        if name is not None:
            _check_name(name)
        updated = await self._store.update_endpoint(
            _checked(endpoint_id),
            tenant,
            name=name,
            url=url,
            host=None if url is None else self._host(url),
            event_types=None if event_types is None else list(dict.fromkeys(event_types)),
        )
        return _found(updated, endpoint_id)

    async def delete(self, tenant: str, endpoint_id: str) -> None:
        """Drop an endpoint; what is still to be delivered to it fails."""
        if not await self._store.delete_endpoint(_checked(endpoint_id), tenant):
            raise _no_endpoint(endpoint_id)

    async def disable(self, tenant: str, endpoint_id: str) -> Endpoint:
        """Send nothing more to an endpoint until it is updated; what is still to be delivered to it fails."""
        return _found(await self._store.disable_endpoint(_checked(endpoint_id), tenant), endpoint_id)

    async def test(self, tenant: str, endpoint_id: str, event_type: EventType) -> int:
        """Send a sample event as any other, once; the receiver's HTTP status.

        Raises `InvalidField` when it does not answer, `Unavailable` when the test's turn does not come.
        """
        endpoint = await self.get(tenant, endpoint_id)
        event_id = new_event_id()
        sample = delivery_to(
            endpoint, event_id, event_type, event_body(event_id, event_type, datetime.now(UTC), _NOTHING)
        )
        if not await self._store.add_delivery(sample, give_up_s=0):
            raise WrongState("the endpoint is disabled; any update enables it again")
        tried = await self._tried(sample.id, tenant)
        if tried.last_status is None:
            message = f"did not answer the test: {tried.last_error}"
            raise InvalidField(message, param="url", code="webhook_unreachable")
        return tried.last_status

    async def _tried(self, delivery_id: UUID, tenant: str) -> WebhookDelivery:
        """A delivery once it has been tried."""
        try:
            async with asyncio.timeout(self._settings.webhooks.timeout_s + _TURN_S):
                while True:
                    delivery = await self._store.find_delivery(delivery_id, tenant)
                    if delivery is None or delivery.state is not DeliveryState.PENDING:
                        return _found_delivery(delivery, f"whd_{delivery_id.hex}")
                    await asyncio.sleep(_LOOK_AGAIN_S)
        except TimeoutError:
            raise Unavailable("nobody delivered the test in time: is `cogmill maintain` running?") from None

    # ---------------------------------------------------------------- secrets

    def secret_of(self, endpoint: Endpoint) -> str:
        """Raises `WrongState` where its master key was retired."""
        return self._secret(secret_owner(endpoint.tenant, endpoint.id), endpoint.generation, endpoint.master)

    def shown_of(self, endpoint: Endpoint) -> str:
        """The secret that a hint may be taken of; empty where its master key was retired."""
        try:
            return self.secret_of(endpoint)
        except WrongState:
            return ""

    async def rotate(self, tenant: str, endpoint_id: str, *, overlap: bool) -> Signed:
        """A new secret. With `overlap` the present one signs beside it for a while."""
        overlap_s = self._overlap_s(overlap)
        master = self._masters().newest.generation
        rotated = await self._store.rotate_endpoint(_checked(endpoint_id), tenant, overlap_s=overlap_s, master=master)
        endpoint = _found(rotated, endpoint_id)
        return Signed(endpoint, self.secret_of(endpoint))

    async def tenant_secret(self, tenant: str) -> str:
        """What signs the deliveries to URLs that requests name. Raises `WrongState`, as `secret_of`."""
        mark = await self._store.show_secret(tenant, master=self._masters().newest.generation)
        return self._secret(secret_owner(tenant, None), mark.generation, mark.master)

    async def rotate_tenant(self, tenant: str, *, overlap: bool) -> str:
        master = self._masters().newest.generation
        mark = await self._store.rotate_tenant(tenant, overlap_s=self._overlap_s(overlap), master=master)
        return self._secret(secret_owner(tenant, None), mark.generation, mark.master)

    # ---------------------------------------------------------------- deliveries

    async def deliveries(
        self,
        tenant: str,
        *,
        limit: int,
        after: str | None = None,
        state: DeliveryState | None = None,
        endpoint_id: str | None = None,
    ) -> DeliveryPage:
        """Newest first, behind the delivery `after`."""
        cursor = None if after is None else _uuid(after, param="after")
        return await self._store.list_deliveries(
            tenant, limit=limit, after=cursor, state=state, endpoint_id=endpoint_id
        )

    async def delivery(self, tenant: str, delivery_id: str) -> WebhookDelivery:
        return _found_delivery(await self._store.find_delivery(_uuid(delivery_id), tenant), delivery_id)

    async def resend(self, tenant: str, delivery_id: str) -> WebhookDelivery:
        """Send an event again, now, under the same `webhook-id`. Raises `WrongState` when its endpoint is gone."""
        before = await self.delivery(tenant, delivery_id)
        sent = await self._store.resend(before.id, tenant, give_up_s=self._settings.webhooks.give_up_s)
        if sent is None:
            raise WrongState("the endpoint of this delivery was deleted or is disabled")
        return sent

    def _secret(self, owner: str, generation: int, master: int) -> str:
        key = self._masters().key_of(master)
        if key is None:
            raise WrongState(RETIRED)
        return secret(key, owner, generation)

    def _overlap_s(self, overlap: bool) -> float:
        return self._settings.webhooks.overlap_s if overlap else 0.0

    def _host(self, url: str) -> str:
        return host_of(check_url(url, "url", reach=self._settings.webhook_reach))


def delivery_id_of(delivery: WebhookDelivery) -> str:
    """The id that callers see."""
    return f"whd_{delivery.id.hex}"


def parse_delivery_id(text: str) -> UUID | None:
    """The id behind it, or None when `text` is not one."""
    match = _DELIVERY_ID.fullmatch(text)
    return UUID(hex=match[1]) if match else None


def _uuid(delivery_id: str, param: str | None = None) -> UUID:
    parsed = parse_delivery_id(delivery_id)
    if parsed is None:
        raise _no_delivery(delivery_id, param)
    return parsed


def _check_name(name: str) -> None:
    check_text(name, "name", max_chars=MAX_NAME_CHARS)
    if not name.strip():
        raise InvalidField("must not be blank", param="name")


def _checked(endpoint_id: str, param: str | None = None) -> str:
    """The id, once it can be one. Raises `NotFound`."""
    if not _ENDPOINT_ID.fullmatch(endpoint_id):
        raise _no_endpoint(endpoint_id, param)
    return endpoint_id


def _found(endpoint: Endpoint | None, endpoint_id: str) -> Endpoint:
    if endpoint is None:
        raise _no_endpoint(endpoint_id)
    return endpoint


def _found_delivery(delivery: WebhookDelivery | None, delivery_id: str) -> WebhookDelivery:
    if delivery is None:
        raise _no_delivery(delivery_id)
    return delivery


def _no_endpoint(endpoint_id: str, param: str | None = None) -> NotFound:
    return NotFound(f"no webhook endpoint with the id {endpoint_id[:80]!r}", param=param)


def _no_delivery(delivery_id: str, param: str | None = None) -> NotFound:
    return NotFound(f"no webhook delivery with the id {delivery_id[:80]!r}", param=param)

"""Drains the outbox: who hears of what, signed, sent, and tried again until it arrives or time is up.

A delivery arrives at least once: a process that dies between sending and recording leaves a lease that runs out, and
the same event, under the same `webhook-id`, is sent again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from standardwebhooks import Webhook
from uuid_utils.compat import uuid7

from orchestrator.adapters.fetch import check_url
from orchestrator.adapters.webhook_http import host_of
from orchestrator.config import Settings
from orchestrator.domain.errors import InvalidField, StoreUnavailable
from orchestrator.domain.masters import FIRST, Masters, Ring
from orchestrator.domain.retry import Backoff
from orchestrator.domain.trace import of_row
from orchestrator.domain.webhooks import (
    EVENT_TYPES,
    Answer,
    DeliveryState,
    EventType,
    Reply,
    Silence,
    event_body,
    judge,
    secret,
    secret_owner,
)
from orchestrator.ports import Clock, Endpoint, Happening, NewDelivery, Try, WebhookSender, WebhookStore
from orchestrator.telemetry import logs, metrics, tracing
from orchestrator.telemetry.tracing import Kind, Value

_log = logs.get("webhooks")

# A lease outlasts its try by this much: the time that there is to write down what came of it.
RECORD_S = 30.0
# A tenant whose receivers hang holds at most this share of a process's slots, whatever the number of their hosts.
TENANT_SHARE = 8

_OUTBOX_ROWS = 200

# What is said of a secret whose master key is no longer in the ring.
RETIRED = "the signing secret was retired with the master key that it follows from: rotate it"


class Announcer:
    """Turns what happened into deliveries: one for each endpoint that wants it, and one for the URL of the request."""

    def __init__(self, store: WebhookStore, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    async def run_once(self) -> int:
        """Take outbox rows until there are none; how many. Several may run side by side. Raises `StoreUnavailable`."""
        total = 0
        give_up_s = self._settings.webhooks.give_up_s
        while taken := await self._store.fan_out(self._announce, limit=_OUTBOX_ROWS, give_up_s=give_up_s):
            total += taken
            if taken < _OUTBOX_ROWS:
                break
        return total

    def _announce(self, happening: Happening) -> list[NewDelivery]:
        event_type = EVENT_TYPES.get(happening.event)
        if event_type is None:
            return []
        event_id = new_event_id()
        body = event_body(event_id, event_type, happening.at, happening.subject, happening.detail)
        listening = [endpoint for endpoint in happening.endpoints if event_type in endpoint.event_types]
        deliveries = [delivery_to(endpoint, event_id, event_type, body) for endpoint in listening]
        if happening.webhook_url is not None:
            deliveries += self._to_url(happening.tenant, happening.webhook_url, event_id, event_type, body)
        return [replace(each, trace=happening.trace) for each in deliveries]

    def _to_url(self, tenant: str, url: str, event_id: str, event_type: EventType, body: str) -> list[NewDelivery]:
        try:
            host = host_of(check_url(url, "webhook_url", reach=self._settings.webhook_reach))
        except InvalidField as error:  # the rules have changed since its request was accepted
            _log.warning("webhook_url_refused", tenant=tenant, event_type=event_type, error=error.message)
            return []
        return [
            NewDelivery(
                id=uuid7(),
                event_id=event_id,
                tenant=tenant,
                endpoint_id=None,
                url=url,
                host=host,
                event_type=event_type,
                body=body,
            )
        ]


class Deliverer:
    """Leases what is due and sends it, many at a time; what one receiver does holds up no other."""

    def __init__(
        self,
        store: WebhookStore,
        sender: WebhookSender,
        settings: Settings,
        clock: Clock,
        jitter: random.Random,
        *,
        masters: Masters,
    ) -> None:
        self._store = store
        self._sender = sender
        self._limits = settings.webhooks
        self._masters = masters
        self._backoff = Backoff(base_s=settings.webhooks.base_s, cap_s=settings.webhooks.cap_s)
        self._clock = clock
        self._jitter = jitter
        self._flying: set[asyncio.Task[None]] = set()
        self._landed = asyncio.Event()

    async def run_once(self) -> int:
        """Begin as many deliveries as there are free slots; how many. Raises `StoreUnavailable`."""
        self._landed.clear()
        limits = self._limits
        free = limits.concurrency - len(self._flying)
        if free == 0:
            return 0
        tries = await self._store.lease_deliveries(
            limit=free,
            per_host=limits.per_host,
            per_tenant=max(limits.per_host, limits.concurrency // TENANT_SHARE),
            lease_s=limits.timeout_s + RECORD_S,
        )
        for attempt in tries:
            task = asyncio.create_task(self._deliver(attempt), name=f"deliver-{attempt.id}")
            self._flying.add(task)
            task.add_done_callback(self._land)
        metrics.webhooks_in_flight.set(len(self._flying))
        return len(tries)

    async def wait(self, timeout_s: float) -> None:
        """Until a delivery has landed, or the timeout."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._landed.wait()

    async def close(self, patience_s: float) -> None:
        """Let what is in flight land for `patience_s`, then let it go: its leases run out and it is sent again."""
        if self._flying:
            _, late = await asyncio.wait(self._flying, timeout=patience_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _land(self, task: asyncio.Task[None]) -> None:
        self._flying.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("webhook_unrecorded", error=f"{type(error).__name__}: {error}"[:500])
        self._landed.set()
        metrics.webhooks_in_flight.set(len(self._flying))

    async def _deliver(self, attempt: Try) -> None:
        began = self._clock.monotonic()
        answer = await self._send(attempt)
        took_s = self._clock.monotonic() - began
        judgement = judge(answer, attempt.attempts, self._backoff, self._jitter.random())
        until = self._clock.monotonic() + RECORD_S
        while self._clock.monotonic() < until:
            try:
                ago_s = self._clock.monotonic() - began
                state = await self._store.record_try(attempt, judgement, took_s=took_s, ago_s=ago_s)
            except StoreUnavailable:
                await self._clock.sleep(1.0)
                continue
            metrics.webhook_tries.labels("stale" if state is None else judgement.fate).inc()
            if state is DeliveryState.FAILED:
                metrics.webhooks_given_up.inc()
                _log.warning("webhook_given_up", **_named(attempt), error=judgement.error)
            return
        _log.warning("webhook_unrecorded", **_named(attempt))

    async def _send(self, attempt: Try) -> Answer:
        secrets = secrets_of(attempt, self._masters())
        if not secrets:
            return Silence(error=RETIRED)
        headers = signed(secrets, attempt.event_id, attempt.body, datetime.now(UTC))
        with tracing.span("webhook", _about(attempt), parent=of_row(attempt.trace), kind=Kind.CLIENT) as span:
            answer = await self._sent(attempt, headers | (span.context.headers if span.context else {}))
            if isinstance(answer, Reply):
                span.say({"http.response.status_code": answer.status})
            if not isinstance(answer, Reply) or not 200 <= answer.status < 300:
                span.fail("no_answer" if isinstance(answer, Silence) else str(answer.status))
        return answer

    async def _sent(self, attempt: Try, headers: Mapping[str, str]) -> Answer:
        try:
            return await self._sender.send(attempt.url, headers, attempt.body.encode())
        except Exception as error:  # a bug of ours: it must not come back at once and for ever
            _log.error("webhook_broke", **_named(attempt), error=f"{type(error).__name__}: {error}"[:500])
            return Silence(error="internal error")


def _named(attempt: Try) -> dict[str, str]:
    """What its log lines say."""
    return {"delivery": attempt.id.hex, "tenant": attempt.tenant} | logs.of_trace(attempt.trace)


def _about(attempt: Try) -> dict[str, Value]:
    return {
        "http.request.method": "POST",
        "cogmill.tenant": attempt.tenant,
        "cogmill.delivery": attempt.id.hex,
        "cogmill.event_type": attempt.event_type,
        "cogmill.delivery_attempt": attempt.attempts,
    }


def secrets_of(attempt: Try, ring: Ring) -> list[str]:
    """What signs a try: its secret, and while they overlap that of before, each by the master key that it follows from.

    None whose master key is no longer in the ring.
    """
    owner = secret_owner(attempt.tenant, attempt.endpoint_id)
    # Nobody has been shown a secret of no generation yet; what was rotated before there were others is the first's.
    present = ring.newest.generation if attempt.master is None else attempt.master
    previous = FIRST if attempt.previous_master is None else attempt.previous_master
    signing = [(attempt.generation, present), (attempt.generation - 1, previous)][: 1 + attempt.overlaps]
    return [
        secret(key, owner, generation) for generation, master in signing if (key := ring.key_of(master)) is not None
    ]


def signed(secrets: Sequence[str], event_id: str, body: str, moment: datetime) -> dict[str, str]:
    """The headers of a delivery at a moment in UTC: one signature for each secret, the present one's first."""
    return {
        "content-type": "application/json",
        "user-agent": "cogmill",
        "webhook-id": event_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(Webhook(key).sign(event_id, moment, body) for key in secrets),
    }


def new_event_id() -> str:
    return f"evt_{uuid7().hex}"


def delivery_to(endpoint: Endpoint, event_id: str, event_type: EventType, body: str) -> NewDelivery:
    """A delivery of an event to an endpoint as it is now."""
    return NewDelivery(
        id=uuid7(),
        event_id=event_id,
        tenant=endpoint.tenant,
        endpoint_id=endpoint.id,
        url=endpoint.url,
        host=endpoint.host,
        event_type=event_type,
        body=body,
    )

"""What loops and use-cases may touch: the store, workers, objects, pictures, receivers of webhooks, the clock.

Imports config, domain, policy.
"""

from __future__ import annotations

from orchestrator.domain.picture import Picture
from orchestrator.ports.clock import Clock
from orchestrator.ports.inputs import Inputs, InputStore, Moderator
from orchestrator.ports.jobs import (
    EndedAttempt,
    Heartbeat,
    JobStore,
    Page,
    Progress,
    QueueDepth,
    Settled,
    SettleResult,
    Snapshot,
    Sweep,
    Wakeups,
)
from orchestrator.ports.keys import ApiKey, KeyPage, KeyStore, NewKey, Person, Share, Successor, Tenant, TenantPage
from orchestrator.ports.objects import ObjectStore
from orchestrator.ports.webhooks import (
    Backlog,
    DeliveryAttempt,
    DeliveryPage,
    Endpoint,
    EndpointPage,
    Happening,
    NewDelivery,
    NewEndpoint,
    SecretMark,
    Try,
    WebhookDelivery,
    WebhookSender,
    WebhookStore,
)
from orchestrator.ports.workers import WorkerPlan, Workers

__all__ = [
    "ApiKey",
    "Backlog",
    "Clock",
    "DeliveryAttempt",
    "DeliveryPage",
    "EndedAttempt",
    "Endpoint",
    "EndpointPage",
    "Happening",
    "Heartbeat",
    "InputStore",
    "Inputs",
    "JobStore",
    "KeyPage",
    "KeyStore",
    "Moderator",
    "NewDelivery",
    "NewEndpoint",
    "NewKey",
    "ObjectStore",
    "Page",
    "Person",
    "Picture",
    "Progress",
    "QueueDepth",
    "SecretMark",
    "SettleResult",
    "Settled",
    "Share",
    "Snapshot",
    "Successor",
    "Sweep",
    "Tenant",
    "TenantPage",
    "Try",
    "Wakeups",
    "WebhookDelivery",
    "WebhookSender",
    "WebhookStore",
    "WorkerPlan",
    "Workers",
]

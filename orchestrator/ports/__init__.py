"""What the loops and use-cases may touch: the store, the workers, the objects, the clock. One contract suite each."""

from __future__ import annotations

from orchestrator.ports.clock import Clock
from orchestrator.ports.inputs import Inputs, Moderator, Picture
from orchestrator.ports.jobs import (
    Heartbeat,
    JobStore,
    Page,
    Progress,
    QueueDepth,
    Settled,
    SettleResult,
    Sweep,
    Wakeups,
)
from orchestrator.ports.keys import ApiKey, KeyStore
from orchestrator.ports.objects import ObjectStore
from orchestrator.ports.workers import WorkerPlan, WorkerPool

__all__ = [
    "ApiKey",
    "Clock",
    "Heartbeat",
    "Inputs",
    "JobStore",
    "KeyStore",
    "Moderator",
    "ObjectStore",
    "Page",
    "Picture",
    "Progress",
    "QueueDepth",
    "SettleResult",
    "Settled",
    "Sweep",
    "Wakeups",
    "WorkerPlan",
    "WorkerPool",
]

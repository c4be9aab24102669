"""What dispatcher and maintainer have in common: how they end jobs, and what they show of the queue."""

from __future__ import annotations

import random
from collections.abc import Callable
from uuid import UUID

from orchestrator.capacity.pools import PauseWatch
from orchestrator.config import Settings
from orchestrator.dispatch.settler import Settler
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.timeline import Timeline
from orchestrator.domain.usage import price_of
from orchestrator.kit.loops import Life, Loop
from orchestrator.ports import JobStore
from orchestrator.telemetry import metrics

# A watched loop that is silent for this many seconds makes `/healthz` fail.
PATIENCE_S = 60.0


def settler_of(
    settings: Settings,
    store: JobStore,
    used: Callable[[UUID], float] = lambda token: 0.0,
    finishing_s: Callable[[UUID], float] = lambda token: 0.0,
    timeline: Callable[[UUID], Timeline] = lambda token: (),
) -> Settler:
    """What writes down how claims end; `used` is what is known of the cost of those that are lost, in GPU seconds.

    `finishing_s` is what is known of their seconds of a finisher, `timeline` of what they went through.
    """
    policy = RetryPolicy(base_s=settings.retry.base_s, cap_s=settings.retry.cap_s)
    prices = settings.worker_prices
    return Settler(
        store,
        policy,
        random.Random(),
        used,
        settings.kind_of,
        lambda pool, kind: price_of(pool, kind, prices),
        finishing_s,
        timeline,
    )


def showing(settings: Settings, store: JobStore) -> list[Loop]:
    """The loops that keep the metrics of the queue: its depth, and which pools are paused."""

    async def show() -> None:
        metrics.show_queue(await store.queue_depth())

    every_s = settings.metrics.queue_every_s
    return [
        Loop("queue_depth", every_s, show, Life.GOES_ROUND),
        Loop("pauses", every_s, PauseWatch(settings.pools, store).run_once, Life.GOES_ROUND),
    ]

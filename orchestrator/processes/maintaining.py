"""The maintainer: rescues lost claims, sweeps the bucket, delivers webhooks, moves batches on. Any number may run."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from orchestrator.adapters.s3 import S3Objects
from orchestrator.adapters.webhook_http import HttpSender
from orchestrator.batches.runner import BatchRunner
from orchestrator.config import Settings
from orchestrator.dispatch.recovery import Recovery
from orchestrator.dispatch.rescuer import Rescuer
from orchestrator.kit.clock import SystemClock
from orchestrator.kit.loops import Life, Loop, running, stop_signals
from orchestrator.notify.outbox import Announcer, Deliverer
from orchestrator.objects.files import FileSweeper
from orchestrator.objects.inputs import InputSweeper
from orchestrator.objects.videos import Retention
from orchestrator.ports import ObjectStore, WebhookStore
from orchestrator.ports.batches import Lines
from orchestrator.processes.frontdoor import open_front_door
from orchestrator.processes.shared import PATIENCE_S, settler_of, showing
from orchestrator.store import Store
from orchestrator.telemetry import health, metrics

# Looking for orphans lists every key of a kind: rarely.
_ORPHANS_EVERY_S = 6 * 3600.0

# Batches that one process works on at the same time.
_BATCHES = 4

# How long webhooks in flight may take to land when the process stops.
_LANDING_S = 5.0


async def run_maintainer(settings: Settings, dialects: Mapping[str, Lines]) -> None:
    """Run until SIGTERM or SIGINT. `dialects` read and write batches' lines.

    Any number may run: every write is fenced or idempotent.
    """
    async with Store.open(settings.database, limits=settings.limits.defaults) as store:
        pulse = health.Pulse(PATIENCE_S)
        objects = S3Objects(settings.s3)
        with stop_signals() as stopping, health.serve(settings.metrics.host, settings.metrics.maintain_port, pulse):
            async with _deliverer(settings, store) as deliverer, running(pulse) as loops:
                table = [
                    *rescuing(settings, store, objects),
                    *sweeping(settings, store, objects),
                    *moving_batches(settings, store, objects, dialects),
                    *delivering(settings, store, deliverer),
                    *showing(settings, store),
                ]
                for loop in table:
                    loops.start(loop)
                await stopping.wait()


def rescuing(settings: Settings, store: Store, objects: ObjectStore) -> list[Loop]:
    """Workers whose heartbeat is over are dead, and what they held is recovered or given back."""
    recovery = Recovery(settler_of(settings, store), objects, ended=lambda _: None)
    rescuer = Rescuer(store, recovery, SystemClock(), settings.lease.ttl_s)
    every_s = min(5.0, settings.lease.ttl_s / 4)
    return [
        Loop("expire", every_s, rescuer.expire, Life.GOES_ROUND),
        Loop("rescue", every_s, rescuer.rescue),
    ]


def sweeping(settings: Settings, store: Store, objects: ObjectStore) -> list[Loop]:
    """What nobody needs any more leaves the bucket."""
    videos = Retention(store, objects, settings.retention)
    inputs, files = InputSweeper(store, objects), FileSweeper(store, objects)
    every_s = settings.retention.every_s
    return [
        Loop("retention", every_s, videos.run_once),
        Loop("inputs", every_s, inputs.run_once),
        Loop("files", every_s, files.run_once),
        Loop("input_orphans", _ORPHANS_EVERY_S, inputs.orphans),
        Loop("file_orphans", _ORPHANS_EVERY_S, files.orphans),
    ]


def moving_batches(settings: Settings, store: Store, objects: ObjectStore, dialects: Mapping[str, Lines]) -> list[Loop]:
    """Batches are taken in, submitted, watched and answered."""
    door = open_front_door(settings, store, objects)
    runner = BatchRunner(settings, store, objects, jobs=door.jobs, files=door.files, dialects=dialects)
    return [
        *(Loop(f"batches-{number}", 0.5, runner.run_once) for number in range(_BATCHES)),
        Loop("prune_batches", settings.retention.every_s, runner.prune),
    ]


def delivering(settings: Settings, store: WebhookStore, deliverer: Deliverer) -> list[Loop]:
    """Events become deliveries, and deliveries arrive."""

    async def landed_or_soon() -> None:
        await deliverer.wait(0.5)

    async def prune() -> None:
        await store.prune_deliveries(keep_s=settings.webhooks.keep_s)

    async def show() -> None:
        metrics.show_webhooks(await store.webhook_backlog())

    return [
        Loop("announce", 0.5, Announcer(store, settings).run_once, Life.GOES_ROUND),
        Loop("deliver", landed_or_soon, deliverer.run_once, Life.GOES_ROUND),
        Loop("prune_deliveries", settings.retention.every_s, prune),
        Loop("webhook_backlog", settings.metrics.queue_every_s, show, Life.GOES_ROUND),
    ]


@asynccontextmanager
async def _deliverer(settings: Settings, store: WebhookStore) -> AsyncIterator[Deliverer]:
    """A deliverer; what it has in flight at the block's end may land for a while."""
    sender = HttpSender(
        timeout_s=settings.webhooks.timeout_s,
        allow_networks=settings.fetch.allow_networks,
        proxy_url=settings.fetch.proxy,
    )
    deliverer = Deliverer(store, sender, settings, SystemClock(), random.Random())
    try:
        yield deliverer
    finally:
        await deliverer.close(_LANDING_S)
        await sender.close()

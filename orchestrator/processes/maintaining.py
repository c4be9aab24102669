"""The maintainer: rescues lost claims, sweeps the bucket, delivers webhooks, moves batches on. Any number may run."""

from __future__ import annotations

import gc
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

from orchestrator.adapters.s3 import S3Objects
from orchestrator.adapters.webhook_http import HttpSender
from orchestrator.audit.sealing import Sealer
from orchestrator.batches.kind import BatchKind
from orchestrator.campaigns.asking import own_prefixes, shared
from orchestrator.campaigns.finishing import Finishing
from orchestrator.campaigns.ingest import Ingest
from orchestrator.campaigns.inputs import UPLOAD_S
from orchestrator.campaigns.kind import CampaignKind
from orchestrator.campaigns.manifest import ManifestWriter
from orchestrator.campaigns.requests import Requests, Wording
from orchestrator.campaigns.schedules import Scheduler
from orchestrator.campaigns.signing import NewestSigner
from orchestrator.capacity.forecasting import Forecasting
from orchestrator.capacity.sampling import Sampler
from orchestrator.config import Settings
from orchestrator.dispatch.recovery import Recovery
from orchestrator.dispatch.rescuer import Rescuer
from orchestrator.domain.campaign import Kind
from orchestrator.intake.bulk import BulkCarrier
from orchestrator.intake.jobs import Jobs
from orchestrator.intake.notes import NotePruner
from orchestrator.kit.clock import SystemClock
from orchestrator.kit.loops import Life, Loop, running, stop_signals
from orchestrator.notify.outbox import Announcer, Deliverer
from orchestrator.objects.erasing import Eraser
from orchestrator.objects.files import FileSweeper
from orchestrator.objects.inputs import InputSweeper
from orchestrator.objects.manifests import ManifestSweeper
from orchestrator.objects.videos import Retention
from orchestrator.ports import ObjectStore, WebhookStore
from orchestrator.ports.audit import AuditStore
from orchestrator.ports.batches import Lines
from orchestrator.ports.overview import SampleStore
from orchestrator.processes.frontdoor import open_front_door
from orchestrator.processes.shared import PATIENCE_S, settler_of, showing
from orchestrator.rows.engine import RowEngine, RowKind
from orchestrator.rows.pruning import RowFreer, RowPruner
from orchestrator.store import Store
from orchestrator.telemetry import health, metrics
from orchestrator.tenants.masters import MasterFiles

_GC_THRESHOLDS = 50_000, 20, 20

# Looking for orphans lists every key of a kind: rarely.
_ORPHANS_EVERY_S = 6 * 3600.0

# Batches and campaigns that one process takes in, moves on and finishes at the same time.
_INGESTS, _REFILLS, _FINISHES = 2, 4, 2

# Actions on many jobs that one process carries on at the same time.
_BULKS = 2

# How often the first of them looks whether something is due, and how often each other one.
_LOOKS_S, _HELPS_S = 0.5, 2.0

# Between two looks whether forecasts have to be made anew.
_LOOKS_AHEAD_S = 2.0

# Between two looks whether a minute's sample is due, and between two times that old ones are merged.
_SAMPLES_S, _THINS_S = 5.0, 1800.0

# Between two times that what tenants store is added up.
_ADDS_UP_S = 10.0

# Between two looks whether a tenant is to be erased.
_ERASES_EVERY_S = 2.0

# How long webhooks in flight may take to land when the process stops.
_LANDING_S = 5.0


async def run_maintainer(settings: Settings, dialects: Mapping[str, Lines], wording: Wording) -> None:
    """Run until SIGTERM or SIGINT. `dialects` read and write batches' lines, `wording` is that of campaigns' rows.

    Any number may run: every write is fenced or idempotent.
    """
    spare_the_collector()
    async with Store.open(settings.database, limits=settings.limits.defaults) as store:
        pulse = health.Pulse(PATIENCE_S)
        objects = S3Objects(settings.s3, settings.s3_files)
        own = settings.metrics
        with stop_signals() as stopping, health.serve(own.host, own.maintain_port, pulse, own.bearer):
            async with delivery(settings, store) as deliverer, running(pulse) as loops:
                for loop in maintaining(settings, store, objects, deliverer, dialects, wording):
                    loops.start(loop)
                await stopping.wait()


def maintaining(
    settings: Settings,
    store: Store,
    objects: S3Objects,
    deliverer: Deliverer,
    dialects: Mapping[str, Lines],
    wording: Wording,
) -> list[Loop]:
    """Every loop of the process."""
    return [
        *rescuing(settings, store, objects),
        *sweeping(settings, store, objects),
        Loop("erasures", _ERASES_EVERY_S, eraser_of(settings, store, objects).run_once),
        *moving_rows(settings, store, objects, dialects, wording),
        *delivering(settings, store, deliverer),
        *auditing(settings, store),
        *remembering(store),
        *showing(settings, store),
    ]


def spare_the_collector() -> None:
    """A manifest of a million rows makes many small objects that soon are garbage; none of them go round in circles."""
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


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
    manifests = ManifestSweeper(store, objects, keep_s=settings.campaigns.keep_s)
    every_s = settings.retention.every_s

    async def prune_learned() -> None:
        await store.prune_learned(keep_s=settings.prediction.keep_s, most=settings.prediction.most)

    return [
        Loop("retention", every_s, videos.run_once),
        Loop("inputs", every_s, inputs.run_once),
        Loop("files", every_s, files.run_once),
        Loop("stored", _ADDS_UP_S, store.add_up_stored),
        Loop("campaign_manifests", every_s, manifests.run_once),
        Loop("prune_learned", every_s, prune_learned),
        Loop("input_orphans", _ORPHANS_EVERY_S, inputs.orphans),
        Loop("file_orphans", _ORPHANS_EVERY_S, files.orphans),
    ]


def eraser_of(settings: Settings, store: Store, objects: S3Objects) -> Eraser:
    """What erases tenants."""
    campaigns = settings.campaigns
    patterns = tuple(dict.fromkeys((*campaigns.s3_inputs, *campaigns.s3_outputs)))
    return Eraser(
        store,
        objects,
        # A URL that was signed just before the fence takes uploads until then.
        late_s=max(settings.retention.losers_s, UPLOAD_S),
        own=partial(own_prefixes, patterns),
        shared=[pattern for pattern in patterns if shared(pattern)],
        sign=NewestSigner(MasterFiles(settings)).sign_receipt,
    )


def moving_rows(
    settings: Settings, store: Store, objects: ObjectStore, dialects: Mapping[str, Lines], wording: Wording
) -> list[Loop]:
    """Batches and campaigns are taken in, moved on, finished: loops of their own, so that none holds up another."""
    door = open_front_door(settings, store, objects)
    finishing = finishing_of(settings, store, objects)
    kinds: dict[Kind, RowKind] = {
        Kind.BATCH: BatchKind(
            settings, store, objects, jobs=door.jobs, files=door.files, limits=door.limits, dialects=dialects
        ),
        Kind.CAMPAIGN: campaigns_of(settings, store, objects, door.jobs, wording, finishing),
    }
    engine = RowEngine(store, kinds)
    pruner = RowPruner(store, door.jobs, keep_s=settings.retention.jobs_s)

    async def adopt() -> None:
        await store.adopt_batches(priority=settings.batches.priority)

    async def prune_bulk() -> None:
        await store.prune_bulk(keep_s=settings.retention.jobs_s)

    async def show() -> None:
        metrics.show_campaigns(*await store.campaign_states())

    return [
        *_several("ingest", _INGESTS, engine.ingest),
        *_several("refill", _REFILLS, engine.move),
        *_several("finish", _FINISHES, engine.finish),
        Loop("manifests", 1.0, finishing.revise),
        Loop("schedules", 1.0, Scheduler(store).run_once),
        Loop("forecasts", _LOOKS_AHEAD_S, Forecasting(settings, store, door.book).run_once),
        Loop("campaigns", settings.metrics.queue_every_s, show),
        Loop("adopt_batches", 5.0, adopt),
        Loop("free_rows", _LOOKS_S, RowFreer(store).run_once),
        Loop("prune_batches", settings.retention.every_s, pruner.run_once),
        *_several("bulk_actions", _BULKS, BulkCarrier(store, door.jobs).run_once),
        Loop("prune_bulk_actions", settings.retention.every_s, prune_bulk),
        Loop("prune_notes", settings.retention.every_s, NotePruner(store).run_once),
    ]


def _several(name: str, count: int, run_once: Callable[[], Awaitable[object]]) -> list[Loop]:
    """Loops that do the same beside each other. One looks often; the others are for when it is busy."""
    return [Loop(f"{name}-{number}", _HELPS_S if number else _LOOKS_S, run_once) for number in range(count)]


def finishing_of(settings: Settings, store: Store, objects: ObjectStore) -> Finishing:
    """What writes manifests."""
    return Finishing(settings, store, objects, ManifestWriter(objects, NewestSigner(MasterFiles(settings))))


def campaigns_of(
    settings: Settings, store: Store, objects: ObjectStore, jobs: Jobs, wording: Wording, finishing: Finishing
) -> CampaignKind:
    """What moves campaigns on."""
    requests = Requests(settings, wording)
    ingest = Ingest(settings, store, objects, requests)
    return CampaignKind(settings, store, jobs=jobs, requests=requests, ingest=ingest, finishing=finishing)


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


def auditing(settings: Settings, store: AuditStore) -> list[Loop]:
    """What the audit log has come to is sealed, and what is too old goes."""
    sealer = Sealer(store, MasterFiles(settings), keep_s=settings.audit.keep_days * 24 * 3600)
    return [
        Loop("audit_seal", settings.audit.every_s, sealer.run_once),
        Loop("audit_prune", settings.retention.every_s, sealer.prune),
    ]


def remembering(store: SampleStore) -> list[Loop]:
    """How the queue and the GPUs stand is sampled, for whoever asks later."""
    sampler = Sampler(store)
    return [
        Loop("sample", _SAMPLES_S, sampler.run_once),
        Loop("thin_samples", _THINS_S, sampler.thin),
    ]


@asynccontextmanager
async def delivery(settings: Settings, store: WebhookStore) -> AsyncIterator[Deliverer]:
    """A deliverer; what it has in flight at the block's end may land for a while."""
    sender = HttpSender(
        timeout_s=settings.webhooks.timeout_s,
        reach=settings.webhook_reach,
        proxy_url=settings.fetch.proxy,
    )
    deliverer = Deliverer(store, sender, settings, SystemClock(), random.Random(), masters=MasterFiles(settings))
    try:
        yield deliverer
    finally:
        await deliverer.close(_LANDING_S)
        await sender.close()

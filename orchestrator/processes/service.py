"""Wires the two background processes and their loops: the dispatcher and the maintainer."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager

from orchestrator.adapters.s3 import S3Objects
from orchestrator.adapters.webhook_http import HttpSender
from orchestrator.batches.runner import BatchRunner
from orchestrator.capacity.loads import Loads
from orchestrator.capacity.pools import PauseWatch
from orchestrator.capacity.scaler import Scaler, plans
from orchestrator.config import Settings
from orchestrator.dispatch.cluster import Cluster
from orchestrator.dispatch.dispatcher import Dispatcher
from orchestrator.dispatch.fleet import Fleet, Worker
from orchestrator.dispatch.recovery import Recovery
from orchestrator.dispatch.rescuer import Rescuer
from orchestrator.dispatch.settler import Settler
from orchestrator.dispatch.verdict import Rules
from orchestrator.dispatch.watcher import Watcher
from orchestrator.domain.protocol import Caller, WorkerState
from orchestrator.domain.retry import RetryPolicy
from orchestrator.intake.files import FileSweeper
from orchestrator.kit.loops import Life, Loops, at_once, running, stop_signals
from orchestrator.notify.outbox import Announcer, Deliverer
from orchestrator.objects.inputs import InputSweeper
from orchestrator.objects.videos import Retention
from orchestrator.policy.watchdog import Patience
from orchestrator.ports import JobStore, ObjectStore, WebhookStore, WorkerPool
from orchestrator.ports.batches import Lines
from orchestrator.processes.frontdoor import open_front_door
from orchestrator.store import Store
from orchestrator.telemetry import health, logs, metrics

_log = logs.get("service")

# A watched loop that is silent for this many seconds makes `/healthz` fail.
PATIENCE_S = 60.0

# Looking for orphans lists every key of a kind: rarely.
_ORPHANS_EVERY_S = 6 * 3600.0

# Batches that one process works on at the same time.
_BATCHES = 4

# How long webhooks in flight may take to land when the process stops.
_LANDING_S = 5.0


class SystemClock:
    """The `Clock` of a real process."""

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def run_dispatcher(
    settings: Settings, connect: Callable[[str | None, str], WorkerPool], *, drain_s: float | None = None
) -> None:
    """Drive one Ray cluster until SIGTERM or SIGINT.

    `connect(address, namespace)` joins the cluster. With `drain_s` the end waits that long for what is rendering and
    evicts the rest; without it workers render on, and the next dispatcher adopts them.
    Raises `StaleEpoch` when a newer dispatcher has taken over.
    """
    async with Store.open(settings.database, limits=settings.limits.defaults) as store:
        namespace = f"cogmill-{await store.deployment_id()}"
        pool = await asyncio.to_thread(connect, settings.ray.address, namespace)
        pulse = health.Pulse(PATIENCE_S)
        with (
            stop_signals() as stopping,  # after ray.init, which installs a handler of its own
            health.serve(settings.metrics.host, settings.metrics.dispatch_port, pulse),
        ):
            caller = Caller(epoch=await store.next_epoch(settings.ray.cluster))
            cluster = _cluster(settings, store, S3Objects(settings.s3), pool, caller)
            dispatcher = Dispatcher(cluster, tuple(settings.pools))
            await dispatcher.reconcile()
            _log.info("dispatching", cluster=cluster.name, epoch=caller.epoch, adopted=len(cluster.fleet.claims))
            async with running(pulse) as loops:
                _start_dispatching(loops, settings, cluster, dispatcher)
                await stopping.wait()
                if drain_s is not None:
                    await dispatcher.drain(drain_s)


def _cluster(settings: Settings, store: JobStore, objects: ObjectStore, pool: WorkerPool, caller: Caller) -> Cluster:
    watchdog, fleet = settings.watchdog, Fleet()
    settler = _settler(settings, store)
    return Cluster(
        name=settings.ray.cluster,
        caller=caller,
        fleet=fleet,
        store=store,
        pool=pool,
        settler=settler,
        recovery=Recovery(settler, objects, ended=lambda claim: fleet.drop(claim.token)),
        clock=SystemClock(),
        rules=Rules(
            patience=Patience(floor_s=watchdog.floor_s, factor=watchdog.factor, upload_s=watchdog.upload_s),
            unheld_grace_s=settings.lease.unheld_grace_s,
            load_s=watchdog.load_s,
            quarantine_after=settings.engine.quarantine_after,
            notice_s=settings.engine.notice_s,
        ),
        poll_s=settings.lease.poll_timeout_s,
        ttl_s=settings.lease.ttl_s,
    )


def _settler(settings: Settings, store: JobStore) -> Settler:
    return Settler(store, RetryPolicy(base_s=settings.retry.base_s, cap_s=settings.retry.cap_s), random.Random())


def _states(workers: Iterable[Worker], now: float) -> Iterator[tuple[str, WorkerState]]:
    """Of each worker that is known its pool and state. One that rests has no process to tell its own."""
    for worker in workers:
        if worker.rests(now):
            yield worker.pool, WorkerState.BROKEN
        if worker.status is not None:
            yield worker.pool, worker.status.state


def _start_dispatching(loops: Loops, settings: Settings, cluster: Cluster, dispatcher: Dispatcher) -> None:
    wanted = plans(settings)
    scaler, loads = Scaler(cluster, wanted), Loads(cluster, wanted)
    watched: dict[str, asyncio.Task[None]] = {}

    async def scale() -> None:
        workers = await scaler.run_once()
        for worker in workers:
            if worker.name not in watched:
                watched[worker.name] = loops.after(at_once, f"watch-{worker.name}", Watcher(cluster, worker).run_once)
        for name in set(watched) - set(cluster.fleet.workers):
            watched.pop(name).cancel()
        metrics.show_workers(_states(workers, cluster.clock.monotonic()))

    async def listen() -> None:
        async with cluster.store.wakeups() as wakeups:
            while True:
                if await wakeups.wait(30):
                    dispatcher.announce()

    async def work_or_a_second() -> None:
        try:
            async with asyncio.timeout(1.0):
                await cluster.fleet.changed.wait()
        except TimeoutError:
            dispatcher.announce()  # an announcement can be lost with its connection: look once a second anyway

    lease = settings.lease
    loops.every(2.0, "scale", scale, Life.SUCCEEDS)
    loops.every(1.0, "listen", listen)
    loops.after(work_or_a_second, "dispatch", dispatcher.run_once, Life.GOES_ROUND)
    loops.every(lease.beat_s, "beat", dispatcher.beat, Life.GOES_ROUND)
    loops.every(lease.cancel_poll_s, "cancel", dispatcher.cancel, Life.GOES_ROUND)
    loops.every(lease.unheld_grace_s / 3, "reconcile", dispatcher.reconcile, Life.GOES_ROUND)
    loops.every(0.5, "loads", loads.write)
    loops.every(0.5, "progress", dispatcher.write_progress, Life.GOES_ROUND)
    loops.every(1.0, "wake_due", dispatcher.wake_due, Life.GOES_ROUND)
    loops.every(1.0, "rebalance", dispatcher.rebalance)
    loops.every(0.5, "recover", cluster.recovery.run_once)
    _show_queue(loops, settings, cluster.store)


async def run_maintainer(settings: Settings, dialects: Mapping[str, Lines]) -> None:
    """Rescue, sweep, deliver and move batches on until SIGTERM or SIGINT. `dialects` read and write batches' lines.

    Any number may run: every write is fenced or idempotent.
    """
    async with Store.open(settings.database, limits=settings.limits.defaults) as store:
        objects = S3Objects(settings.s3)
        recovery = Recovery(_settler(settings, store), objects, ended=lambda _: None)
        rescuer = Rescuer(store, recovery, SystemClock(), settings.lease.ttl_s)
        retention = Retention(store, objects, settings.retention)
        inputs = InputSweeper(store, objects)
        pulse = health.Pulse(PATIENCE_S)
        with stop_signals() as stopping, health.serve(settings.metrics.host, settings.metrics.maintain_port, pulse):
            async with _delivering(settings, store) as deliverer, running(pulse) as loops:
                every_s = min(5.0, settings.lease.ttl_s / 4)
                loops.every(every_s, "expire", rescuer.expire, Life.GOES_ROUND)
                loops.every(every_s, "rescue", rescuer.rescue)
                loops.every(settings.retention.every_s, "retention", retention.run_once)
                loops.every(settings.retention.every_s, "inputs", inputs.run_once)
                loops.every(_ORPHANS_EVERY_S, "input_orphans", inputs.orphans)
                _start_files(loops, settings, store, objects, dialects)
                _start_webhooks(loops, settings, store, deliverer)
                _show_queue(loops, settings, store)
                await stopping.wait()


def _start_files(
    loops: Loops, settings: Settings, store: Store, objects: ObjectStore, dialects: Mapping[str, Lines]
) -> None:
    door = open_front_door(settings, store, objects)
    runner = BatchRunner(settings, store, objects, jobs=door.jobs, files=door.files, dialects=dialects)
    sweeper = FileSweeper(store, objects)
    for number in range(_BATCHES):
        loops.every(0.5, f"batches-{number}", runner.run_once)
    loops.every(settings.retention.every_s, "prune_batches", runner.prune)
    loops.every(settings.retention.every_s, "files", sweeper.run_once)
    loops.every(_ORPHANS_EVERY_S, "file_orphans", sweeper.orphans)


@asynccontextmanager
async def _delivering(settings: Settings, store: WebhookStore) -> AsyncIterator[Deliverer]:
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


def _start_webhooks(loops: Loops, settings: Settings, store: WebhookStore, deliverer: Deliverer) -> None:
    async def landed_or_soon() -> None:
        await deliverer.wait(0.5)

    async def prune() -> None:
        await store.prune_deliveries(keep_s=settings.webhooks.keep_s)

    async def show() -> None:
        metrics.show_webhooks(await store.webhook_backlog())

    loops.every(0.5, "announce", Announcer(store, settings).run_once, Life.GOES_ROUND)
    loops.after(landed_or_soon, "deliver", deliverer.run_once, Life.GOES_ROUND)
    loops.every(settings.retention.every_s, "prune_deliveries", prune)
    loops.every(settings.metrics.queue_every_s, "webhook_backlog", show, Life.GOES_ROUND)


def _show_queue(loops: Loops, settings: Settings, store: JobStore) -> None:
    async def show() -> None:
        metrics.show_queue(await store.queue_depth())

    loops.every(settings.metrics.queue_every_s, "queue_depth", show, Life.GOES_ROUND)
    loops.every(settings.metrics.queue_every_s, "pauses", PauseWatch(settings.pools, store).run_once, Life.GOES_ROUND)

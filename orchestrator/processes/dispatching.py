"""The dispatcher: one process for each Ray cluster, which gives claims to workers and watches them to their end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Protocol

from orchestrator.adapters.s3 import S3Objects
from orchestrator.capacity.autoscaler import Autoscaler
from orchestrator.capacity.leftovers import Leftovers
from orchestrator.capacity.loads import Loads
from orchestrator.capacity.orders import Orders
from orchestrator.capacity.plans import plans
from orchestrator.capacity.scaler import Scaler
from orchestrator.capacity.swapper import Swapper
from orchestrator.capacity.yielding import Yielding
from orchestrator.config import S3Settings, Settings
from orchestrator.dispatch.claims import Claims
from orchestrator.dispatch.cluster import Cluster
from orchestrator.dispatch.dispatcher import Dispatcher
from orchestrator.dispatch.fleet import Fleet, Worker
from orchestrator.dispatch.recovery import Recovery
from orchestrator.dispatch.retirement import Retirement
from orchestrator.dispatch.timekeeper import Timekeeper
from orchestrator.dispatch.urls import ClaimUrls, Sign
from orchestrator.dispatch.verdict import Rules
from orchestrator.dispatch.watcher import Watcher
from orchestrator.domain.protocol import Caller, WorkerState
from orchestrator.kit.clock import SystemClock
from orchestrator.kit.loops import Life, Loop, Loops, at_once, first, running, stop_signals
from orchestrator.learning.book import FRESH_S, Book
from orchestrator.learning.lessons import Lessons
from orchestrator.ports import JobStore, ObjectStore, Workers
from orchestrator.ports.clusters import WishStore
from orchestrator.ports.fleet import FleetStore
from orchestrator.ports.orders import OrderStore
from orchestrator.ports.predictions import PredictionStore
from orchestrator.processes import renewing
from orchestrator.processes.shared import PATIENCE_S, settler_of, showing
from orchestrator.store import Store
from orchestrator.telemetry import health, logs, metrics

_log = logs.get("dispatching")

# What workers' seconds went into is seen so much later, and lost for so long where a dispatcher is killed.
_BOOKED_EVERY_S = 5.0
# Between two looks for what is held for no worker: it costs a node each, and happens when a dispatcher is killed.
_LEFTOVERS_EVERY_S = 20.0
# Between two looks for URLs of workers that must be renewed: they open for a minute at least.
_RENEWED_EVERY_S = 5.0


class DispatcherStore(JobStore, PredictionStore, Protocol):
    """What a dispatcher asks of the store."""


class ClusterStore(FleetStore, WishStore, OrderStore, Protocol):
    """What it asks and tells about its cluster."""


async def run_dispatcher(
    settings: Settings,
    connect: Callable[[str | None, str], Workers],
    *,
    drain_s: float | None = None,
    renewal: renewing.Renewal | None = None,
) -> None:
    """Drive one Ray cluster until SIGTERM or SIGINT.

    `connect(address, namespace)` joins the cluster. With `drain_s` the end waits that long for what is rendering and
    evicts the rest; without it workers render on, and the next dispatcher adopts them. So they do when it ends because
    files of secrets have changed, which only its successor can tell the workers: `renewal` knows them as they were
    before the settings were read.
    Raises `StaleEpoch` when a newer dispatcher has taken over.
    """
    renewal = renewal or renewing.Renewal()  # first: joining a cluster may take minutes, in which secrets change
    async with Store.open(settings.database, limits=settings.limits.defaults) as store:
        namespace = f"cogmill-{await store.deployment_id()}"
        workers = await asyncio.to_thread(connect, settings.ray.address, namespace)
        pulse = health.Pulse(PATIENCE_S)
        with (
            stop_signals() as stopping,  # after ray.init, which installs a handler of its own
            health.serve(settings.metrics.host, settings.metrics.dispatch_port, pulse, settings.metrics.bearer),
        ):
            caller = Caller(epoch=await store.next_epoch(settings.ray.cluster))
            objects = S3Objects(settings.s3, settings.s3_files)
            cluster = cluster_of(settings, store, objects, workers, caller, _signer(settings.s3, objects))
            dispatcher = Dispatcher(cluster, tuple(settings.pools))
            await cluster.reconcile()
            _log.info("dispatching", cluster=cluster.name, epoch=caller.epoch, adopted=len(cluster.claims.by_token))
            async with running(pulse) as loops:
                for loop in dispatching(settings, cluster, dispatcher, Watchers(cluster, loops), store):
                    loops.start(loop)
                loops.start(Loop("secrets", renewing.EVERY_S, renewal.run_once))
                await first(stopping.wait(), renewal.due.wait())
                if drain_s is not None and stopping.is_set():
                    await dispatcher.drain(drain_s)


def cluster_of(
    settings: Settings,
    store: DispatcherStore,
    objects: ObjectStore,
    workers: Workers,
    caller: Caller,
    sign: Sign | None = None,
) -> Cluster:
    """What every loop of the dispatcher works on."""
    claims = Claims()
    settler = settler_of(settings, store, claims.used, claims.finishing_s, claims.timeline)
    return Cluster(
        name=settings.ray.cluster,
        caller=caller,
        fleet=Fleet(),
        claims=claims,
        store=store,
        workers=workers,
        settler=settler,
        recovery=Recovery(settler, objects, ended=lambda claim: claims.drop(claim.token)),
        clock=SystemClock(),
        rules=Rules(
            patience=settings.watchdog.patience,
            unheld_grace_s=settings.lease.unheld_grace_s,
            load_s=settings.watchdog.load_s,
            quarantine_after=settings.engine.quarantine_after,
            notice_s=settings.engine.notice_s,
        ),
        poll_s=settings.lease.poll_timeout_s,
        ttl_s=settings.lease.ttl_s,
        lessons=Lessons(Book.of(settings, store), store, keep=settings.prediction.keep),
        urls=ClaimUrls(sign),
    )


def _signer(s3: S3Settings, objects: S3Objects) -> Sign | None:
    """What signs for workers that have no keys; None where they have them."""
    return partial(objects.sign, lifetime_s=s3.worker_urls_s) if s3.worker_access == "presigned" else None


class Watchers:
    """One watching loop for each worker that there is."""

    def __init__(self, cluster: Cluster, loops: Loops) -> None:
        self._cluster = cluster
        self._loops = loops
        self._tasks: dict[str, tuple[Worker, asyncio.Task[None]]] = {}

    def follow(self, workers: Iterable[Worker]) -> None:
        """Watch every worker of these, and none that is gone, or that another has taken the name of."""
        for name, (watched, task) in list(self._tasks.items()):
            if self._cluster.fleet.workers.get(name) is not watched:
                task.cancel()
                del self._tasks[name]
        for worker in workers:
            if worker.name not in self._tasks and self._cluster.fleet.workers.get(worker.name) is worker:
                loop = Loop(f"watch-{worker.name}", at_once, Watcher(self._cluster, worker).run_once)
                self._tasks[worker.name] = worker, self._loops.start(loop)


def dispatching(
    settings: Settings, cluster: Cluster, dispatcher: Dispatcher, watchers: Watchers, fleets: ClusterStore
) -> list[Loop]:
    """The dispatcher's loops; beside them, each worker has the one that watches it."""
    wanted = plans(settings)
    autoscaler, swapper = Autoscaler(cluster, settings, fleets, wanted), Swapper(cluster, settings, fleets, wanted)
    yielding, orders = Yielding(cluster, fleets, wanted), Orders(cluster, fleets, wanted)
    scaler = Scaler(cluster, wanted, swapper.unjudged, yielding.leaving, orders.standing)
    loads = Loads(cluster, wanted)
    leftovers = Leftovers(cluster, wanted)

    turn = asyncio.Lock()  # nobody starts what the other withdraws

    async def scale() -> None:
        async with turn:
            await autoscaler.adopt()
            await swapper.adopt()
            await yielding.run_once()
            await orders.run_once()
            workers = await scaler.run_once()
        watchers.follow(workers)
        metrics.show_workers(_states(workers, cluster.clock.monotonic()))

    async def autoscale() -> None:
        if dispatcher.retires:  # what waits is another cluster's to render
            return
        async with turn:
            await autoscaler.run_once(grows=not yielding.active)

    async def give_back_leftovers() -> None:
        async with turn:
            await leftovers.run_once()

    async def swap() -> None:
        if dispatcher.retires or yielding.active:
            return
        async with turn:
            await swapper.run_once()

    async def listen() -> None:
        async with cluster.store.wakeups() as wakeups:
            while True:
                if await wakeups.wait(30):
                    dispatcher.announce()

    async def look() -> None:
        dispatcher.announce()  # one from the database can be lost with its connection

    async def changed() -> None:
        await cluster.fleet.changed.wait()

    lease = settings.lease
    return [
        Loop("scale", 2.0, scale, Life.SUCCEEDS),
        Loop("autoscale", settings.autoscale.every_s, autoscale, Life.GOES_ROUND),
        Loop("leftovers", _LEFTOVERS_EVERY_S, give_back_leftovers),
        Loop("swap", settings.autoscale.every_s, swap, Life.GOES_ROUND),
        Loop("listen", 1.0, listen),
        Loop("look", 1.0, look),
        Loop("dispatch", changed, dispatcher.run_once, Life.GOES_ROUND),
        Loop("retire", 1.0, Retirement(cluster, dispatcher, fleets).run_once),
        Loop("beat", lease.beat_s, dispatcher.beat, Life.GOES_ROUND),
        Loop("cancel", lease.cancel_poll_s, dispatcher.cancel, Life.GOES_ROUND),
        Loop("renew_urls", _RENEWED_EVERY_S, dispatcher.renew_urls),
        Loop("reconcile", lease.unheld_grace_s / 3, cluster.reconcile, Life.GOES_ROUND),
        Loop("loads", 0.5, loads.write),
        Loop("worker_time", _BOOKED_EVERY_S, Timekeeper(cluster, settings.kind_of).run_once),
        Loop("progress", 0.5, dispatcher.write_progress, Life.GOES_ROUND),
        Loop("wake_due", 1.0, dispatcher.wake_due, Life.GOES_ROUND),
        Loop("learned", FRESH_S, cluster.lessons.read),
        Loop("lessons", 1.0, cluster.lessons.write),
        Loop("rebalance", 1.0, dispatcher.rebalance),
        Loop("give_back", 1.0, dispatcher.give_back),
        Loop("recover", 0.5, cluster.recovery.run_once),
        *showing(settings, cluster.store),
    ]


def _states(workers: Iterable[Worker], now: float) -> Iterator[tuple[str, WorkerState]]:
    """Of each worker that is known its pool and state. One that rests has no process to tell its own."""
    for worker in workers:
        if worker.rests(now):
            yield worker.pool, WorkerState.BROKEN
        if worker.status is not None:
            yield worker.pool, worker.status.state

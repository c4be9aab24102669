"""A dispatcher's parts wired as `processes/dispatching.py` wires them, around simulated workers and time."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from uuid import UUID

from orchestrator.capacity.loads import Loads
from orchestrator.capacity.scaler import Scaler
from orchestrator.capacity.swapper import Swapper
from orchestrator.capacity.yielding import Yielding
from orchestrator.config import PoolSettings, S3Settings, Settings
from orchestrator.config.logins import Login
from orchestrator.dispatch.claims import Claims
from orchestrator.dispatch.cluster import Cluster
from orchestrator.dispatch.dispatcher import Dispatcher
from orchestrator.dispatch.fleet import Fleet, Worker
from orchestrator.dispatch.recovery import Recovery
from orchestrator.dispatch.settler import Settler
from orchestrator.dispatch.timekeeper import Timekeeper
from orchestrator.dispatch.verdict import Rules
from orchestrator.dispatch.watcher import Watcher
from orchestrator.domain.catalog import FAMILIES
from orchestrator.domain.job import Artifact, Checkpoint, VideoResult
from orchestrator.domain.objects import checkpoint_prefix, claim_prefix, result_key
from orchestrator.domain.protocol import Assignment, Caller, WorkerStatus
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.timeline import Timeline
from orchestrator.learning.book import Book, Models
from orchestrator.learning.lessons import Lessons
from orchestrator.objects import results
from orchestrator.policy.watchdog import Patience
from orchestrator.ports import JobStore, ObjectStore, WorkerPlan
from orchestrator.ports.clusters import WishStore
from orchestrator.ports.fleet import FleetStore
from orchestrator.processes.dispatching import DispatcherStore
from tests.support.builders import a_result
from tests.support.logins import acting
from tests.support.simulated_workers import SimulatedWorkers

GRACE_S = 10.0
TTL_S = 60.0
MODELS = Models({"tiny-2b": FAMILIES["tiny-2b"]}, {"tiny-2b": "tiny-2b:here"})
RULES = Rules(
    patience=Patience(floor_s=40, factor=5, upload_s=40),
    unheld_grace_s=GRACE_S,
    load_s=100,
    quarantine_after=3,
    notice_s=5,
)


def a_plan(name: str = "small-0", *, model: str = "tiny-2b") -> WorkerPlan:
    return WorkerPlan(
        name=name,
        pool="small",
        model=model,
        family="tiny-2b",
        source="/none",
        cache=Path("/none"),
        settings=PoolSettings(model=model),
        s3=S3Settings(),
    )


def a_settler(
    store: JobStore,
    jitter: random.Random,
    used: Callable[[UUID], float] = lambda token: 0.0,
    kind_of: Callable[[str, str], str] = lambda pool, worker: "",
    timeline: Callable[[UUID], Timeline] = lambda token: (),
) -> Settler:
    return Settler(store, RetryPolicy(base_s=0.001, cap_s=0.001), jitter, used, kind_of, timeline=timeline)


def publisher(objects: ObjectStore) -> Callable[[Assignment], VideoResult]:
    """What a real worker does at the end of a render: video, cover, and result.json last."""

    def put(key: str) -> Artifact:
        return objects.put(key, key.encode(), "application/octet-stream")

    def publish(assignment: Assignment) -> VideoResult:
        prefix = claim_prefix(assignment.job_id, assignment.claim)
        result = a_result(video=put(f"{prefix}video.mp4"), cover=put(f"{prefix}cover.png"))
        document = results.dump(assignment.job_id, assignment.claim, result)
        objects.put(result_key(assignment.job_id, assignment.claim), document, results.CONTENT_TYPE)
        return result

    return publish


def saver(objects: ObjectStore) -> Callable[[Assignment, int, str], Checkpoint]:
    """What a real worker does every so many seconds of a render."""

    def save(assignment: Assignment, step: int, numerics: str) -> Checkpoint:
        key = f"{checkpoint_prefix(assignment.job_id, assignment.claim)}{step}.safetensors"
        return Checkpoint(
            artifact=objects.put(key, key.encode(), "application/octet-stream"), step=step, numerics=numerics
        )

    return save


def hears(fleet: Fleet, status: WorkerStatus, now: float = 0.0) -> Worker:
    """The fleet knows this worker, whose life has a row, and takes in its answer."""
    worker = fleet.worker(status.worker.name, status.pool, now)
    worker.registered = status.worker
    fleet.heard(worker, status, now)
    return worker


def _models(settings: Settings | None) -> Models:
    if settings is None:
        return MODELS
    return Models({name: settings.family_of(name) for name in settings.models}, settings.revisions)


@dataclass
class Control:
    """One life of a dispatcher: build it with `begin`, which is what a start does."""

    cluster: Cluster
    dispatcher: Dispatcher
    scaler: Scaler
    loads: Loads
    timekeeper: Timekeeper
    # Of pools that share workers.
    swapper: Swapper | None = None
    # Of clusters that may be asked to give up hosts.
    yielding: Yielding | None = None
    watchers: dict[str, Watcher] = field(default_factory=dict)
    _watched: dict[str, Worker] = field(default_factory=dict)

    @classmethod
    async def begin(
        cls,
        store: DispatcherStore,
        objects: ObjectStore,
        pool: SimulatedWorkers,
        wanted: dict[str, WorkerPlan],
        jitter: random.Random,
        kind_of: Callable[[str, str], str] = lambda pool, worker: "",
        *,
        pools: tuple[str, ...] = ("small",),
        shared: Settings | None = None,
        name: str = "default",
        yields: bool = False,
    ) -> Control:
        """`shared` are the settings of pools that share workers, `name` is the cluster's; it `yields` when asked to."""
        store = acting(store, Login.DISPATCH)
        claims = Claims()
        settler = a_settler(store, jitter, claims.used, kind_of, claims.timeline)
        cluster = Cluster(
            name=name,
            caller=Caller(epoch=await store.next_epoch(name)),
            fleet=Fleet(),
            claims=claims,
            store=store,
            workers=pool,
            settler=settler,
            recovery=Recovery(settler, objects, ended=lambda claim: claims.drop(claim.token)),
            clock=pool.clock,
            rules=RULES,
            poll_s=1,
            ttl_s=TTL_S,
            lessons=Lessons(Book(_models(shared), store, monotonic=pool.clock.monotonic), store),
        )
        swapper = None if shared is None else Swapper(cluster, shared, cast(FleetStore, store), wanted)
        yielding = Yielding(cluster, cast(WishStore, store), wanted) if yields else None
        unjudged = frozenset[str]() if swapper is None else swapper.unjudged
        control = cls(
            cluster,
            Dispatcher(cluster, pools),
            Scaler(cluster, wanted, unjudged, frozenset() if yielding is None else yielding.leaving),
            Loads(cluster, wanted),
            Timekeeper(cluster, kind_of),
            swapper,
            yielding,
        )
        await control.cluster.reconcile()
        await control.scale()
        return control

    async def scale(self) -> None:
        if self.swapper is not None:
            await self.swapper.adopt()
        if self.yielding is not None:
            await self.yielding.run_once()
        await self.scaler.run_once()
        for name, worker in self.cluster.fleet.workers.items():
            if self._watched.get(name) is not worker:
                self._watched[name], self.watchers[name] = worker, Watcher(self.cluster, worker)
        for name in set(self.watchers) - set(self.cluster.fleet.workers):
            del self._watched[name], self.watchers[name]

    async def dispatch(self) -> None:
        """Look into every queue, and wait for the workers' answers."""
        self.dispatcher.announce()
        await self.dispatcher.run_once()
        await self.dispatcher.assigned()

    async def round(self) -> None:
        """One turn of every loop of the dispatcher's table."""
        if self.swapper is not None:
            await self.swapper.run_once()
        await self.scale()
        for watcher in list(self.watchers.values()):
            await watcher.run_once()
        await self.loads.write()
        await self.timekeeper.run_once()
        await self.cluster.recovery.run_once()
        await self.dispatcher.beat()
        await self.dispatcher.cancel()
        await self.cluster.reconcile()
        await self.cluster.lessons.write()
        await self.cluster.lessons.read()
        await self.dispatcher.wake_due()
        await self.dispatch()
        await self.dispatcher.rebalance()
        await self.dispatcher.give_back()

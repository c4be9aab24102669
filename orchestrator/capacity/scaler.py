"""The workers that a cluster should have -> the workers that it has."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from types import MappingProxyType

from orchestrator.capacity.sources import FilesWatch
from orchestrator.dispatch.cluster import Cluster
from orchestrator.dispatch.fleet import Worker
from orchestrator.dispatch.verdict import worker_vanished
from orchestrator.domain.errors import WorkerError
from orchestrator.domain.loading import NO_TROUBLE
from orchestrator.domain.orders import Order
from orchestrator.domain.outcome import Lost
from orchestrator.domain.protocol import WorkerState
from orchestrator.ports import WorkerPlan
from orchestrator.telemetry import aside, logs

_log = logs.get("scaler")


class Scaler:
    """Starts what is missing; ends what is too much or was started from another plan, once it holds nothing.

    A worker that could not load its model rests before it is started again, unless its files change meanwhile.
    `unjudged` are workers of which nobody knows yet as what they are wanted, `leaving` those whose GPUs are wanted now,
    `orders` what administrators ask of single ones.
    """

    def __init__(
        self,
        cluster: Cluster,
        wanted: Mapping[str, WorkerPlan],
        unjudged: Collection[str] = frozenset(),
        leaving: Collection[str] = frozenset(),
        orders: Mapping[str, Order] = MappingProxyType({}),
    ) -> None:
        self._cluster = cluster
        self._unjudged = unjudged
        self._leaving = leaving
        self._orders = orders
        self._wanted = wanted
        self._files: dict[str, FilesWatch] = {}

    async def run_once(self) -> list[Worker]:
        """Bring the workers closer to what is wanted; all that exist now."""
        cluster = self._cluster
        existing = await cluster.workers.list_workers()
        started = set[str]()
        for name in sorted(set(self._wanted) - set(existing)):
            with aside.unless_it_breaks("scale", worker=name):
                if await self._start(name):
                    started.add(name)
        names = {*existing, *self._wanted}
        for name in set(cluster.fleet.workers) - names:
            cluster.fleet.forget(name)
        now = cluster.clock.monotonic()
        workers = [cluster.fleet.worker(name, self._pool_of(name), now) for name in sorted(names)]
        for worker in workers:
            with aside.unless_it_breaks("scale", worker=worker.name):
                if worker.name in started:
                    worker.loading, worker.heard_at, worker.pool = True, now, self._pool_of(worker.name)
                    worker.awaited = worker.name in self._wanted and self._wanted[worker.name].kind is not None
                worker.draining = self._outdated(worker)
                if worker.draining:
                    await self._let_go(worker)
        self._lose_homeless(names, now)
        return workers

    async def _start(self, name: str) -> bool:
        """Start a wanted worker; False when it rests."""
        worker, plan = self._cluster.fleet.workers.get(name), self._wanted.get(name)
        if plan is None:  # wanted no more, since the names were read
            return False
        if worker is not None and worker.rests(self._cluster.clock.monotonic()):
            watch = self._files.setdefault(name, FilesWatch(plan.source))
            if not await asyncio.to_thread(watch.changed):
                return False
            _log.info("model_files_changed", worker=name, source=plan.source)
            worker.trouble = NO_TROUBLE
        self._files.pop(name, None)
        _log.info("worker_started", worker=name)
        await self._cluster.workers.start(plan)
        return True

    def _outdated(self, worker: Worker) -> bool:
        """True for a worker that nobody wants, or not as it is. One that has not answered yet cannot be judged.

        Nor is one wanted that drains, whoever told it to and for what: it takes no work any more, and there is no way
        back. A condemned one is ended by its watcher.
        """
        plan, status, order = self._wanted.get(worker.name), worker.status, self._orders.get(worker.name)
        if status is None or worker.condemned:
            return False
        if order is not None and order.incarnation == status.worker.incarnation:
            return True
        if worker.name in self._unjudged:
            return False
        # Two pools may differ in nothing that a worker would notice, and yet it renders for one of them.
        as_wanted = plan is not None and (status.plan, status.pool) == (plan.fingerprint, plan.pool)
        return not as_wanted or status.state is WorkerState.DRAINING

    async def _let_go(self, worker: Worker) -> None:
        """Drain it; end it once it holds nothing. If it is wanted it is missing then, and started from its new plan.

        Where a pool shrank, the GPU is wanted back, and what it renders goes on at another worker of the pool. Under a
        changed plan, which may mean other numerics, and where the pool has no workers any more, it goes on to its end.
        Where an administrator asked for it, it has the time that was given.
        """
        cluster = self._cluster
        shrank = worker.name not in self._wanted and any(plan.pool == worker.pool for plan in self._wanted.values())
        order = self._orders.get(worker.name)
        at_once = worker.name in self._leaving or (shrank if order is None else order.overdue)
        try:
            await cluster.workers.drain(worker.name, cluster.caller, within_s=0.0 if at_once else None)
        except WorkerError as error:
            _log.info("drain_unanswered", worker=worker.name, error=str(error)[:200])
            return
        if worker.status is not None and not worker.status.renders and not cluster.claims.held_by(worker.name):
            _log.info("worker_stopped", worker=worker.name)
            await cluster.store.declare_dead(cluster.name, worker.status.worker)
            await cluster.workers.kill(worker.name, restart=False)
            cluster.fleet.forget(worker.name)

    def _lose_homeless(self, names: Collection[str], now: float) -> None:
        """Lose the claims of workers that do not exist and that nobody will start again."""
        cluster = self._cluster
        homeless = [claim for claim in cluster.claims.by_token.values() if claim.worker.name not in names]
        late = [claim for claim in cluster.claims.aged(homeless, now) if claim.age_s > cluster.rules.unheld_grace_s]
        cluster.recovery.add((claim, Lost(failure=worker_vanished(claim))) for claim in late)

    def _pool_of(self, name: str) -> str:
        plan = self._wanted.get(name)
        return plan.pool if plan is not None else name.rpartition("-")[0]

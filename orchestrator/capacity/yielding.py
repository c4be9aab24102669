"""A cluster that gives up hosts -> workers that are wanted no more; and tells which host holds which workers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping

from orchestrator.dispatch.cluster import Cluster
from orchestrator.domain.clusters import Wish
from orchestrator.domain.errors import StoreUnavailable
from orchestrator.ports import WorkerPlan
from orchestrator.ports.clusters import WishStore
from orchestrator.telemetry import aside, logs

_log = logs.get("yielding")


class Yielding:
    """Obeys the wish that stands in the database for this cluster.

    `wanted` are the workers that there should be: those on hosts that are given up are removed from it here, and
    `Scaler` has them leave at once, with their checkpoints. So are those that have no host yet: they would take the
    GPUs that are given up. When the cluster need not make way they are wanted again; those of kinds are the
    autoscaler's.
    """

    def __init__(self, cluster: Cluster, store: WishStore, wanted: dict[str, WorkerPlan]) -> None:
        self._cluster = cluster
        self._store = store
        self._wanted = wanted
        self._given: dict[str, WorkerPlan] = {}
        # The hosts of each worker that is wanted, as they were last seen.
        self._seats: dict[str, set[str]] = {}
        # The workers that leave. The scaler holds the same set.
        self.leaving: set[str] = set()
        self.active = False

    async def run_once(self) -> bool:
        """Read what is asked and do it; whether the cluster yields. Without a database it goes on as it did."""
        try:
            wish = await self._store.cluster_wish(self._cluster.name)
            if wish.yields:
                await self._give_up(wish)
            elif self.active and not wish.retires:
                _log.info("yields_no_more", cluster=self._cluster.name, workers=sorted(self._given))
                self._wanted.update(self._given)
                self._given.clear()
                self.leaving.clear()
            self.active = wish.yields or (self.active and wish.retires)
        except StoreUnavailable as error:
            _log.warning("wish_unknown", error=str(error))
        return self.active

    async def _give_up(self, wish: Wish) -> None:
        hosts = await self._cluster.workers.hosts()
        seats = self._seated(hosts)
        for name in sorted(self._wanted):
            with aside.unless_it_breaks("yielding", worker=name):
                if seats[name] & wish.gives:
                    _log.info("worker_given_up", worker=name, hosts=sorted(seats[name]))
                    self._remove(name)
                    self.leaving.add(name)
                elif not seats[name] and self._holds_nothing(name):
                    self._remove(name)
                    await self._cluster.workers.kill(name, restart=False)
                    self._cluster.fleet.forget(name)
        told = {host: Counter(self._pool_of(name) for name, where in seats.items() if host in where) for host in hosts}
        await self._store.tell_hosts(self._cluster.name, {host: dict(held) for host, held in told.items()})

    def _seated(self, hosts: Mapping[str, Collection[str]]) -> defaultdict[str, set[str]]:
        """The hosts of each worker. One that has just lost its process keeps its place: it is started again there."""
        seats = defaultdict[str, set[str]](set)
        for host, names in hosts.items():
            for name in names:
                seats[name].add(host)
        for name in self._wanted:
            seats[name] = seats[name] or {host for host in self._seats.get(name, ()) if host in hosts}
        self._seats = {name: seats[name] for name in self._wanted}
        return seats

    def _remove(self, name: str) -> None:
        plan = self._wanted.pop(name)
        if plan.kind is None:
            self._given[name] = plan

    def _holds_nothing(self, name: str) -> bool:
        worker = self._cluster.fleet.workers.get(name)
        return (worker is None or worker.status is None) and not self._cluster.claims.held_by(name)

    def _pool_of(self, name: str) -> str:
        worker = self._cluster.fleet.workers.get(name)
        return name.rpartition("-")[0] if worker is None else worker.pool

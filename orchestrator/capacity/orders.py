"""What administrators ask of single workers -> workers that are wanted no more, or are to be started anew."""

from __future__ import annotations

from orchestrator.dispatch.cluster import Cluster
from orchestrator.domain.errors import StoreUnavailable
from orchestrator.domain.orders import Order, OrderKind
from orchestrator.ports import WorkerPlan
from orchestrator.ports.orders import OrderStore
from orchestrator.telemetry import aside, logs

_log = logs.get("orders")


class Orders:
    """Obeys what stands in the database for the workers of this cluster.

    `wanted` are the workers that there should be. One that is drained is removed from it here, and put back when its
    order is lifted. One of a kind is removed whatever was asked: it is the autoscaler's whether another comes. One that
    is replaced stays wanted: `Scaler`, which holds `standing`, lets its life go and starts the next.
    """

    def __init__(self, cluster: Cluster, store: OrderStore, wanted: dict[str, WorkerPlan]) -> None:
        self._cluster = cluster
        self._store = store
        self._wanted = wanted
        # Those that there are at all times. Of these one that is drained stays away until it is called back.
        self._fixed = {name for name, plan in wanted.items() if plan.kind is None}
        # The plans of those that were drained.
        self._kept: dict[str, WorkerPlan] = {}
        # Those of kinds that were removed.
        self._left: set[str] = set()
        # By worker. The scaler holds the same one.
        self.standing: dict[str, Order] = {}

    async def run_once(self) -> None:
        """Read what is asked and do it. Without a database it goes on as it did."""
        try:
            asked = await self._store.worker_orders(self._cluster.name)
            standing = {}
            for order in asked:
                with aside.unless_it_breaks("orders", worker=order.worker):
                    if self._is_over(order):
                        _log.info("order_done", worker=order.worker, order=order.kind)
                        await self._store.order_done(order)
                        self._left.discard(order.worker)
                        continue
                    self._obey(order)
                standing[order.worker] = order
        except StoreUnavailable as error:
            _log.warning("orders_unknown", error=str(error))
            return
        for name in set(self._kept) - {name for name, each in standing.items() if each.kind is OrderKind.DRAIN}:
            _log.info("worker_called_back", worker=name)
            self._wanted.setdefault(name, self._kept.pop(name))
        self._left.intersection_update(standing)
        self.standing.clear()
        self.standing.update(standing)

    def _is_over(self, order: Order) -> bool:
        """Whether the life that it was said to has ended."""
        name = order.worker
        if order.kind is OrderKind.DRAIN and name in self._fixed:
            return False
        worker, is_wanted = self._cluster.fleet.workers.get(name), name in self._wanted
        if worker is not None and worker.status is not None:
            return worker.status.worker.incarnation != order.incarnation
        # Of a kind, and wanted once more: another worker has been given its name.
        return (worker is None and not is_wanted) or (name in self._left and is_wanted)

    def _obey(self, order: Order) -> None:
        plan = self._wanted.get(order.worker)
        if plan is None or (order.kind is OrderKind.REPLACE and plan.kind is None):
            return
        if plan.kind is not None and not self._lives(order):  # the name may be another's by now
            return
        _log.info("worker_told_to_leave", worker=order.worker, order=order.kind, by=order.asked_by)
        del self._wanted[order.worker]
        if plan.kind is None:
            self._kept[order.worker] = plan
        else:
            self._left.add(order.worker)

    def _lives(self, order: Order) -> bool:
        worker = self._cluster.fleet.workers.get(order.worker)
        status = None if worker is None else worker.status
        return status is not None and status.worker.incarnation == order.incarnation

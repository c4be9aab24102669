"""Workers of every cluster, one by one, for administrators: seen, drained, replaced and called back."""

from __future__ import annotations

from collections.abc import Collection

from orchestrator.config import Settings
from orchestrator.domain.errors import NotFound, WrongState
from orchestrator.domain.orders import OrderKind, check_grace
from orchestrator.ports.orders import WorkerAdmin, WorkerPage, WorkerSeen
from orchestrator.telemetry import logs

_log = logs.get("workers")


class WorkerList:
    """A worker's id is its cluster and its name, with a colon between. Every call raises `StoreUnavailable`.

    What is asked here stands in the database; the worker's dispatcher obeys within seconds.
    """

    def __init__(self, settings: Settings, store: WorkerAdmin) -> None:
        self._settings = settings
        self._store = store

    async def list(self, *, limit: int, after: str | None, pool: str | None, cluster: str | None) -> WorkerPage:
        """Some of them, by cluster and name. Raises `NotFound` where `after` is no worker's id."""
        behind = None if after is None else _parts(after, "after")
        return await self._store.page_workers(limit=limit, after=behind, pool=pool, cluster=cluster)

    async def get(self, worker_id: str) -> WorkerSeen:
        """Raises `NotFound`."""
        found = await self._store.find_worker(*_parts(worker_id))
        if found is None:
            raise _not_found(worker_id)
        return found

    async def ask(
        self, worker_id: str, kind: OrderKind, *, within_s: float | None, incarnation: str | None, by: str
    ) -> WorkerSeen:
        """Have it leave (`DRAIN`), or make way for a fresh life (`REPLACE`). `incarnation` means that life alone.

        What it renders goes on to its end, or leaves with its checkpoint when `within_s` is over. Asked again, that
        time begins anew. Raises `NotFound`, `InvalidField`, and `WrongState` for a worker that has no such life.
        """
        check_grace(within_s)
        seen = await self.get(worker_id)
        if incarnation is not None and incarnation != seen.incarnation:
            lives = "it has none" if seen.incarnation is None else f"it lives as {seen.incarnation}"
            raise WrongState(f"the worker does not live as {incarnation[:80]} any more: {lives}")
        if seen.incarnation is None and (kind is OrderKind.REPLACE or seen.pool in self._scaled()):
            raise WrongState("the worker has no life that could end")
        cluster, name = seen.cluster, seen.name
        life = seen.incarnation or (seen.order.incarnation if seen.order is not None else "")
        asked = await self._store.order_worker(cluster, name, kind, incarnation=life, within_s=within_s, by=by)
        if asked.before is None or asked.before.kind is not kind:
            _log.info("worker_order", worker=name, cluster=cluster, order=kind, by=by)
        return await self.get(worker_id)

    async def call_back(self, worker_id: str, *, by: str) -> WorkerSeen:
        """Let nothing stand for it: one that was drained is started again. Without effect where nothing does.

        A life that has begun to leave has no way back.
        """
        cluster, name = _parts(worker_id)
        before = await self.get(worker_id)
        lifted = await self._store.lift_order(cluster, name)
        if lifted.before is not None:
            _log.info("worker_order_lifted", worker=name, cluster=cluster, order=lifted.before.kind, by=by)
        return await self._store.find_worker(cluster, name) or _bare(before)

    def _scaled(self) -> Collection[str]:
        """The pools whose workers come and go, and so have names that are used again."""
        return {name for name, pool in self._settings.pools.items() if pool.kinds}


def _bare(seen: WorkerSeen) -> WorkerSeen:
    """A worker of which nothing but its order was known."""
    return WorkerSeen(
        cluster=seen.cluster, name=seen.name, pool=seen.pool, incarnation=None, beat_at=None, load=None, model=None,
        failures=0, reason="", detail="", adapters=(), running=0, renders=(), order=None,
    )  # fmt: skip


def _parts(worker_id: str, param: str | None = None) -> tuple[str, str]:
    cluster, colon, name = worker_id.partition(":")
    if not (cluster and colon and name):
        raise _not_found(worker_id, param)
    return cluster, name


def _not_found(worker_id: str, param: str | None = None) -> NotFound:
    return NotFound(f"no worker with the id {worker_id[:80]!r}; it is like default:main-0", param=param)

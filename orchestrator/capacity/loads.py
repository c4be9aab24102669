"""How a cluster's workers stand with their models, kept in the database."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from orchestrator.dispatch.cluster import Cluster
from orchestrator.dispatch.fleet import Worker
from orchestrator.domain.errors import Unavailable
from orchestrator.domain.loading import LoadState, WorkerLoad
from orchestrator.domain.protocol import WorkerState
from orchestrator.ports import WorkerPlan
from orchestrator.telemetry import aside

# What has not changed is said again after so many seconds, or it would not be believed any more.
_AGAIN_S = 60.0

_STATES = {
    WorkerState.LOADING: LoadState.LOADING,
    WorkerState.READY: LoadState.LOADED,
    WorkerState.DRAINING: LoadState.LOADED,
    WorkerState.BROKEN: LoadState.BROKEN,
}


def load_of(worker: Worker, model: str) -> WorkerLoad:
    """How a worker stands with the model. One that is tried again is broken until it is ready."""
    status, trouble = worker.status, worker.trouble
    state = LoadState.STARTING if status is None else _STATES[status.state]
    if trouble.failures and state is not LoadState.LOADED:
        state = LoadState.BROKEN
    return WorkerLoad(
        worker=worker.name,
        pool=worker.pool,
        model=model if status is None else status.model,
        state=state,
        failures=trouble.failures,
        reason=trouble.reason,
        detail=trouble.detail,
        adapters=() if status is None else status.adapters,
    )


class Loads:
    """Writes what has changed. The API reads it there: it never asks Ray."""

    def __init__(self, cluster: Cluster, wanted: Mapping[str, WorkerPlan]) -> None:
        self._cluster = cluster
        self._wanted = wanted
        self._written: list[WorkerLoad] = []
        self._written_at = -math.inf

    async def write(self) -> bool:
        """Bring the database up to date; whether there was anything to write."""
        cluster = self._cluster
        loads = []
        for name, worker in sorted(cluster.fleet.workers.items()):
            with aside.unless_it_breaks("loads", worker=name):
                loads.append(load_of(worker, self._wanted[name].model if name in self._wanted else ""))
        now = cluster.clock.monotonic()
        if loads == self._written and now - self._written_at < _AGAIN_S:
            return False
        try:
            await cluster.store.record_loads(cluster.name, loads)
        except Unavailable:
            raise
        except Exception as error:  # a worker's own words may be such as the database cannot hold: without them, then
            aside.put("loads", error)
            await cluster.store.record_loads(cluster.name, [replace(load, detail="") for load in loads])
        self._written, self._written_at = loads, now
        return True

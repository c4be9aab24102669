"""What operators see of the fleet: every pool's kinds of workers, how they stand, and what was decided last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from orchestrator.config import Settings
from orchestrator.domain.loading import LoadState, WorkerLoad
from orchestrator.ports.fleet import KindState, ScaleDecision

# The one kind of a pool that has none.
DEFAULT = "default"
_LAST = 20


class FleetReader(Protocol):
    """The part of the store that this needs."""

    async def fleet(self) -> list[KindState]: ...

    async def scale_decisions(self, *, limit: int) -> list[ScaleDecision]: ...

    async def worker_loads(self) -> list[WorkerLoad]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetKind:
    """A kind of a configured pool: its settings, and how its workers stand in all clusters together."""

    pool: str
    kind: str
    least: int
    most: int
    # Of one GPU; None is unknown.
    price_per_gpu_hour: float | None
    may_vanish: bool
    state: KindState


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The fleet now, and the last decisions about it, the newest first."""

    kinds: Sequence[FleetKind]
    decisions: Sequence[ScaleDecision]


class Fleets:
    """Reads it; a pool without kinds shows as one kind, `default`, and workers that it shares as a kind of its set."""

    def __init__(self, settings: Settings, store: FleetReader) -> None:
        self._settings = settings
        self._pools = settings.pools
        self._store = store

    async def show(self) -> Shown:
        told, loads = await self._store.fleet(), await self._store.worker_loads()
        kinds = []
        for name, pool in self._pools.items():
            for kind, settings in pool.kinds.items():
                state = _summed(name, kind, [it for it in told if (it.pool, it.kind) == (name, kind)])
                price = pool.price_of(kind)
                kinds.append(
                    FleetKind(
                        pool=name, kind=kind, least=settings.min, most=settings.max, price_per_gpu_hour=price,
                        may_vanish=settings.may_vanish, state=state,
                    )
                )  # fmt: skip
            shared = self._settings.set_of(name)
            if shared is not None:
                state = _summed(name, shared, [it for it in told if (it.pool, it.kind) == (name, shared)])
                kinds.append(
                    FleetKind(
                        pool=name, kind=shared, least=0, most=self._settings.shared[shared].workers, may_vanish=False,
                        price_per_gpu_hour=pool.price_per_gpu_hour, state=state,
                    )
                )  # fmt: skip
            workers = self._settings.own_workers(name)
            if not pool.kinds and (workers or shared is None):
                own = [load for load in loads if load.worker.rpartition("-")[0] == name]
                kinds.append(
                    FleetKind(
                        pool=name, kind=DEFAULT, least=workers, most=workers, may_vanish=False,
                        price_per_gpu_hour=pool.price_per_gpu_hour,
                        state=_fixed(name, workers, loads if shared is None else own),
                    )
                )  # fmt: skip
        return Shown(kinds=kinds, decisions=await self._store.scale_decisions(limit=_LAST))


def _summed(pool: str, kind: str, told: Sequence[KindState]) -> KindState:
    """One kind over all clusters."""
    nothing = KindState(
        cluster="", pool=pool, kind=kind, wanted=0, requested=0, starting=0, ready=0, draining=0,
        why="" if told else "no dispatcher has said anything of it within ten minutes",
    )  # fmt: skip
    return replace(
        nothing,
        **{
            count: sum(getattr(each, count) for each in told)
            for count in ("wanted", "requested", "starting", "ready", "draining")
        },
        why="; ".join(each.why for each in told if each.why) or nothing.why,
        failures=max((each.failures for each in told), default=0),
        rests_s=max((each.rests_s for each in told), default=0.0),
    )


def _fixed(pool: str, workers: int, loads: Sequence[WorkerLoad]) -> KindState:
    """A pool whose number of workers the configuration says."""
    states = Counter(load.state for load in loads if load.pool == pool)
    return KindState(
        cluster="", pool=pool, kind=DEFAULT, wanted=workers, requested=states[LoadState.STARTING],
        starting=states[LoadState.LOADING] + states[LoadState.BROKEN], ready=states[LoadState.LOADED], draining=0,
        why=f"workers = {workers}",
    )  # fmt: skip

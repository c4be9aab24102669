"""The configuration -> the workers that it asks for, or may ask for. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from orchestrator.config import Settings
from orchestrator.policy.kinds import Kind
from orchestrator.policy.prediction import NOTHING_LEARNED, Predictions, WorkerKind
from orchestrator.ports import WorkerPlan


def plans(settings: Settings) -> dict[str, WorkerPlan]:
    """The workers that there are at all times, by name: `<pool>-<index>`, `<pool>-<kind>-<index>`, `<set>-<index>`."""
    found: dict[str, WorkerPlan] = {}
    for name, pool in settings.pools.items():
        names = [(None, index) for index in range(0 if pool.kinds else settings.own_workers(name))]
        for kind, index in [*names, *((kind, index) for kind, it in pool.kinds.items() for index in range(it.min))]:
            plan = plan_of(settings, name, kind, index)
            found[plan.name] = plan
    for name, shared in settings.shared.items():
        for index in range(shared.workers):
            # At first each model in turn, the first ones once more where that does not come out even.
            plan = shared_plan(settings, name, shared.pools[index % len(shared.pools)], index)
            found[plan.name] = plan
    return found


def shared_plan(settings: Settings, name: str, pool: str, index: int) -> WorkerPlan:
    """A worker of a shared set while it holds the model of this pool."""
    return replace(plan_of(settings, pool, None, index), name=f"{name}-{index}")


def plan_of(settings: Settings, pool_name: str, kind: str | None, index: int) -> WorkerPlan:
    """One worker of a pool, of one of its kinds where it has any."""
    pool = settings.pools[pool_name]
    return WorkerPlan(
        name=f"{prefix_of(pool_name, kind)}{index}",
        pool=pool_name,
        model=pool.model,
        family=settings.models[pool.model].family,
        source=settings.models[pool.model].source,
        cache=settings.models_cache.expanduser(),
        settings=pool.as_sent,
        engine=settings.engine,
        adapters={name: it for name, it in settings.adapters.items() if pool.model in it.models},
        s3=settings.s3.for_workers,
        log=settings.log,
        finish=settings.finish,
        moderation=settings.moderation,
        sizes=settings.models[pool.model].offered,
        kind=kind,
        resource=None if kind is None else pool.kinds[kind].resource,
        may_vanish=kind is not None and pool.kinds[kind].may_vanish,
    )


def prefix_of(pool: str, kind: str | None) -> str:
    """What the names of these workers begin with; a number follows."""
    return f"{pool}-" if kind is None else f"{pool}-{kind}-"


def index_of(name: str, pool: str, kind: str) -> int | None:
    """The number of a kind's worker by its name; None for another's."""
    prefix = prefix_of(pool, kind)
    number = name.removeprefix(prefix)
    return int(number) if name.startswith(prefix) and number.isascii() and number.isdigit() else None


def kinds_of(settings: Settings, pool: str, known: Predictions = NOTHING_LEARNED) -> list[Kind]:
    """The kinds of a pool as they are decided about, as fast as renders have taught; none for a pool without."""
    chosen = settings.pools[pool]
    return [
        Kind(
            name=name,
            price_per_gpu_hour=chosen.price_of(name),
            gpus=chosen.gpus_per_worker,
            least=kind.min,
            most=kind.max,
            speed=known.speed(chosen.model, WorkerKind.word(pool, name), kind.speed),
            start_s=kind.start_s,
            resource=kind.resource,
            may_vanish=kind.may_vanish,
        )
        for name, kind in chosen.kinds.items()
    ]


def scaled(settings: Settings) -> Iterable[str]:
    """The pools whose workers come and go."""
    return [name for name, pool in settings.pools.items() if pool.kinds]

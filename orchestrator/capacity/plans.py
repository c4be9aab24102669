"""The configuration -> the workers that it asks for. Pure."""

from __future__ import annotations

from orchestrator.config import Settings
from orchestrator.ports import WorkerPlan


def plans(settings: Settings) -> dict[str, WorkerPlan]:
    """The workers that the configuration asks for, by name: `<pool>-<index>`."""
    return {
        f"{name}-{index}": WorkerPlan(
            name=f"{name}-{index}",
            pool=name,
            model=pool.model,
            family=settings.models[pool.model].family,
            source=settings.models[pool.model].source,
            cache=settings.models_cache.expanduser(),
            settings=pool,
            engine=settings.engine,
            adapters={name: it for name, it in settings.adapters.items() if pool.model in it.models},
            s3=settings.s3,
            log=settings.log,
            finish=settings.finish,
            moderation=settings.moderation,
            sizes=settings.models[pool.model].offered,
        )
        for name, pool in settings.pools.items()
        for index in range(pool.workers)
    }

"""What the person who started a stack is told of its models: which can be rendered, and why one cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Event

from orchestrator.config import Settings
from orchestrator.config.database import Access
from orchestrator.domain.errors import CogmillError, ConfigError
from orchestrator.domain.loading import LoadState, WorkerLoad
from orchestrator.domain.waiting import unavailable, worst
from orchestrator.store import Store

_LOOK_EVERY_S = 2.0


def unfit(settings: Settings, require: Callable[[Path], None]) -> dict[str, str]:
    """The models whose files keep every worker from loading them, as far as they are on this machine, and why.

    Raises `ConfigError` when these are all models: there is nothing to serve.
    """
    found: dict[str, str] = {}
    for name, model in settings.models.items():
        try:
            if model.directory is not None:
                require(model.directory)
        except (CogmillError, OSError) as error:
            found[name] = str(error)
    if len(found) == len(settings.models):
        raise ConfigError("no model can be loaded: " + "; ".join(f"{name}: {why}" for name, why in found.items()))
    return found


def changes(before: Mapping[str, str | None], loads: Sequence[WorkerLoad]) -> dict[str, str | None]:
    """Of each model that stands otherwise than before: None when a worker has loaded it, else why none has.

    A model that is merely on its way is not mentioned.
    """
    told: dict[str, str | None] = {}
    for model in dict.fromkeys(load.model for load in loads):
        its = [load for load in loads if load.model == model]
        reason, broken = unavailable(its), worst(its)
        if reason is not None and broken.state is not LoadState.BROKEN:
            continue
        said = None if reason is None else f"{reason} ({broken.detail})"
        if model not in before or before[model] != said:
            told[model] = said
    return told


def tell(settings: Settings, say: Callable[[str], None], until: Event) -> None:
    """Say of each model when it can be rendered, and whenever it cannot and why; blocks until the event is set."""
    known: dict[str, str | None] = {}
    while not until.wait(_LOOK_EVERY_S):
        try:
            fresh = changes(known, asyncio.run(_read(settings.database)))
        except CogmillError:
            continue  # the database comes back, or the supervisor says why not
        for model, why in fresh.items():
            say(f"{model} is loaded: its videos are rendered" if why is None else f"{model} is not available: {why}")
        known |= fresh


async def forget(settings: Settings) -> None:
    """What an earlier run's dispatcher told holds no more."""
    async with Store.open(settings.database, connections=1) as store:
        await store.record_loads(settings.ray.cluster, [])


async def _read(database: Access) -> list[WorkerLoad]:
    async with Store.open(database, connections=1) as store:
        return await store.worker_loads()

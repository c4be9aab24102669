"""Why a job waits, beside its turn: one sentence for whoever asked for it, or none. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestrator.domain.loading import LoadState, WorkerLoad
from orchestrator.domain.pausing import Pause, pause_over, told
from orchestrator.domain.states import JobState

WAITING = (JobState.HELD, JobState.QUEUED)


def queue_reason(state: JobState, pool: str, loads: Iterable[WorkerLoad], pauses: Iterable[Pause] = ()) -> str | None:
    """Why no worker takes a job of this pool now; None for a job that does not wait, or only for its turn.

    `loads` and `pauses` are those of any pools. A pool that no dispatcher has told of keeps nothing waiting as far as
    is known.
    """
    if state not in WAITING:
        return None
    pause = pause_over(pool, pauses)
    return told(pause) if pause is not None else unavailable([load for load in loads if load.pool == pool])


def unserved(pools: Sequence[str], loads: Sequence[WorkerLoad], pauses: Sequence[Pause]) -> str | None:
    """Why nothing is rendered in any of a model's pools; None when it is in one, as far as is known."""
    paused = {pool: pause for pool in pools if (pause := pause_over(pool, pauses)) is not None}
    if pools and len(paused) == len(pools):
        return told(paused[pools[0]])
    return unavailable([load for load in loads if load.pool in pools and load.pool not in paused])


def unavailable(loads: Sequence[WorkerLoad]) -> str | None:
    """Why none of these workers has its model loaded; None when one has, or when there are none."""
    if not loads or any(load.state is LoadState.LOADED for load in loads):
        return None
    known = worst(loads)
    match known.state:
        case LoadState.BROKEN:
            return f"no worker of pool {known.pool} has loaded {known.model}: {known.reason}"
        case LoadState.LOADING:
            return f"the workers of pool {known.pool} are still loading {known.model}"
        case _:
            return f"no worker of pool {known.pool} has started yet"


def worst(loads: Iterable[WorkerLoad]) -> WorkerLoad:
    """The one of several workers, at least one, that says most about why a model is not loaded.

    First the one that failed most often in a row, then one that is on its way.
    """
    return max(loads, key=lambda load: (load.state is LoadState.BROKEN, load.failures, load.state is LoadState.LOADING))

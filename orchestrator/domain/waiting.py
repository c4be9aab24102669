"""Why a job waits: one sentence for whoever asked for it, with its number, and a word for programs, or none. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.loading import LoadState, WorkerLoad
from orchestrator.domain.pausing import Pause, pause_over, told
from orchestrator.domain.states import JobState

# No pool is without a worker.
_NONE: Mapping[str, float | None] = {}
WAITING = (JobState.HELD, JobState.QUEUED)
# Of its own tenant's jobs so many are counted that go before it, and no more.
MOST_AHEAD = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Where a queued job stands in its pool's queue."""

    # Seconds until it is due; below zero afterwards.
    due_in_s: float
    # Renders of its tenant that run, in all pools and in its own, and how many may. None is any number.
    running: int
    most: float | None
    running_here: int
    most_here: int | None
    # Its tenant's jobs of its priority that go before it, at most `MOST_AHEAD`; and their predicted charge.
    ahead: int
    ahead_s: float
    # Other tenants with more urgent jobs; and those with jobs of its priority who had less of the pool so far.
    more_urgent: int
    had_less: int
    # Others that want a worker that they are guaranteed; none for what goes before guarantees, or has its own.
    lacking: int = 0


class WaitCode(StrEnum):
    """What must change first before a job is rendered, or goes on."""

    # The whole queue, or its pool, is paused.
    PAUSED = "paused"
    # No worker of its pool could load the model: they are broken, still loading, or not there yet.
    BROKEN = "broken"
    LOADING = "loading"
    STARTING = "starting"
    # The workers that its pool shares hold other models.
    COLD = "cold"
    # Its campaign holds it; asked for later; an attempt failed, and the next one comes later.
    HELD = "held"
    SCHEDULED = "scheduled"
    BACKING_OFF = "backing_off"
    # As many of its tenant's run as may; or in this pool.
    TENANT_LIMIT = "tenant_limit"
    POOL_LIMIT = "pool_limit"
    # Others go before it; or nobody does, and it is the next.
    TURN = "turn"
    NEXT = "next"
    # It was begun, and waits in its worker's memory for a more urgent one.
    PREEMPTED = "preempted"


@dataclass(frozen=True, slots=True)
class Wait:
    """One reason."""

    code: WaitCode
    message: str


def turn_reason(turn: Turn) -> str:
    """What a job waits for that some worker could take: the first of these that holds is what must change first."""
    return turn_wait(turn).message


def turn_wait(turn: Turn) -> Wait:
    """The same, with its word."""
    if turn.due_in_s > 0:
        return Wait(WaitCode.SCHEDULED, f"it is due in {turn.due_in_s:.0f} s")
    if turn.most is not None and turn.running >= turn.most:
        may = f"its tenant runs {turn.running} of the {turn.most:g} videos that it may run at a time"
        return Wait(WaitCode.TENANT_LIMIT, may)
    if turn.most_here is not None and turn.running_here >= turn.most_here:
        may = f"its tenant runs {turn.running_here} of the {turn.most_here} videos that it may run in this pool"
        return Wait(WaitCode.POOL_LIMIT, may)
    before = []
    if turn.more_urgent:
        before.append(f"the more urgent videos of {_count(turn.more_urgent, 'other tenant')}")
    if turn.lacking:
        before.append(f"{_count(turn.lacking, 'tenant')} below what the pool guarantees")
    if turn.ahead:
        more = " or more" if turn.ahead == MOST_AHEAD else ""
        before.append(f"{turn.ahead}{more} of its own tenant's ({turn.ahead_s:.0f} GPU seconds)")
    if turn.had_less:
        before.append(f"one or more of {_count(turn.had_less, 'tenant')} that had less of the pool")
    if before:
        return Wait(WaitCode.TURN, f"its turn: before it go {', '.join(before)}")
    return Wait(WaitCode.NEXT, "its turn: it is next, when a worker is free")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def queue_reason(
    state: JobState,
    pool: str,
    loads: Iterable[WorkerLoad],
    pauses: Iterable[Pause] = (),
    unheld: Mapping[str, float | None] = _NONE,
) -> str | None:
    """Why no worker takes a job of this pool now; None for a job that does not wait, or only for its turn.

    `loads` and `pauses` are those of any pools. A pool that no dispatcher has told of keeps nothing waiting as far as
    is known. `unheld` are the pools whose model no worker of those that they share holds, with the seconds until one
    is taken for them at the latest, or None where one is on its way. For a job that is held none is taken.
    """
    wait = queue_wait(state, pool, loads, pauses, unheld)
    return None if wait is None else wait.message


def queue_wait(
    state: JobState,
    pool: str,
    loads: Iterable[WorkerLoad],
    pauses: Iterable[Pause] = (),
    unheld: Mapping[str, float | None] = _NONE,
) -> Wait | None:
    """The same, with its word."""
    if state not in WAITING:
        return None
    pause = pause_over(pool, pauses)
    if pause is not None:
        return Wait(WaitCode.PAUSED, told(pause))
    here = [load for load in loads if load.pool == pool]
    if not here and pool in unheld and state is not JobState.HELD:
        return Wait(WaitCode.COLD, _cold(pool, unheld[pool]))
    reason = unavailable(here)
    return None if reason is None else Wait(_LOADS[worst(here).state], reason)


def _cold(pool: str, within_s: float | None) -> str:
    when = "a worker that ends another's is given it" if within_s is None else f"one is taken within {within_s:.0f} s"
    return f"no worker holds the model of pool {pool} now: {when}"


def unserved(
    pools: Sequence[str],
    loads: Sequence[WorkerLoad],
    pauses: Sequence[Pause],
    unheld: Mapping[str, float | None] = _NONE,
) -> str | None:
    """Why nothing is rendered in any of a model's pools; None when it is in one, as far as is known.

    What it is told is what `queue_reason` is.
    """
    paused = {pool: pause for pool in pools if (pause := pause_over(pool, pauses)) is not None}
    if pools and len(paused) == len(pools):
        return told(paused[pools[0]])
    here = [load for load in loads if load.pool in pools and load.pool not in paused]
    cold = {pool: unheld[pool] for pool in pools if pool in unheld and pool not in paused}
    if not here and cold and len(cold) + len(paused) == len(pools):
        soonest = min(cold, key=lambda pool: cold[pool] or 0.0)
        return _cold(soonest, cold[soonest])
    return unavailable(here)


_LOADS = {
    LoadState.BROKEN: WaitCode.BROKEN,
    LoadState.LOADING: WaitCode.LOADING,
    LoadState.STARTING: WaitCode.STARTING,
}


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

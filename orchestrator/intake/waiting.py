"""What is known of why jobs wait: read from the store, seldom, and never in the way of whoever answers their owners."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol
from uuid import UUID

from orchestrator.domain.errors import StoreUnavailable
from orchestrator.domain.job import Job
from orchestrator.domain.loading import WorkerLoad
from orchestrator.domain.pausing import Pause
from orchestrator.domain.states import JobState
from orchestrator.domain.waiting import WAITING, Turn, queue_reason, turn_reason
from orchestrator.ports.fleet import KindState

# How old an answer about workers may be, and how long a job's answer waits for a newer one.
_FRESH_S = 2.0
_PATIENCE_S = 1.0


class WaitReader(Protocol):
    """The part of `JobStore` that this needs."""

    async def worker_loads(self) -> list[WorkerLoad]: ...

    async def pauses(self) -> list[Pause]: ...

    async def fleet(self) -> list[KindState]: ...

    async def turn(self, job_id: UUID) -> Turn | None: ...


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of workers and pauses."""

    loads: Sequence[WorkerLoad] = ()
    pauses: Sequence[Pause] = ()
    # Pools that share workers and have none now, as `queue_reason` is told of them.
    unheld: Mapping[str, float | None] = field(default_factory=dict)


class Waiting:
    """Workers as their dispatchers last told of them, and pauses, at most two seconds ago where the store answers."""

    def __init__(
        self, store: WaitReader, sets: Collection[str] = (), *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`sets` are the names of the sets of workers that several pools share."""
        self._store = store
        self._sets = sets
        self._monotonic = monotonic
        self._known = Known()
        self._read_at = -math.inf
        self._reading = asyncio.Lock()

    async def known(self) -> Known:
        """Every worker that a dispatcher has told of, and every pause. Never raises: what was known before does."""
        async with self._reading:
            now = self._monotonic()
            if now - self._read_at >= _FRESH_S:
                self._read_at = now  # also when it fails: the next reader must not wait as long
                try:
                    async with asyncio.timeout(_PATIENCE_S):
                        loads, pauses = await self._store.worker_loads(), await self._store.pauses()
                        fleet = await self._store.fleet() if self._sets else []
                        self._known = Known(loads, pauses, _unheld(each for each in fleet if each.kind in self._sets))
                except (StoreUnavailable, TimeoutError):
                    pass
            return self._known

    async def told(self, job: Job) -> Job:
        """The job, with the reason why it waits."""
        if job.state not in WAITING:
            return job
        known = await self.known()
        return replace(job, queue_reason=queue_reason(job.state, job.pool, known.loads, known.pauses, known.unheld))

    async def told_with_turn(self, job: Job) -> Job:
        """The same; and where it waits only for its turn, where that stands. Costs a statement for each job."""
        job = await self.told(job)
        if job.queue_reason is not None or job.state is not JobState.QUEUED:
            return job
        try:
            async with asyncio.timeout(_PATIENCE_S):
                turn = await self._store.turn(job.id)
        except (StoreUnavailable, TimeoutError):
            return job
        return job if turn is None else replace(job, queue_reason=turn_reason(turn))


def _unheld(states: Iterable[KindState]) -> dict[str, float | None]:
    """Of pools that share workers, those for which none is ready in any cluster; and when one is, at the latest."""
    found: dict[str, float | None] = {}
    held = set[str]()
    for state in states:
        if state.ready:
            held.add(state.pool)
        elif state.wanted:
            found[state.pool] = None
        else:
            soonest = found.get(state.pool, state.rests_s)
            found[state.pool] = None if soonest is None else min(soonest, state.rests_s)
    return {pool: within_s for pool, within_s in found.items() if pool not in held}

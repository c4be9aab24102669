"""What is known of why jobs wait: read from the store, seldom, and never in the way of whoever answers their owners."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol
from uuid import UUID

from orchestrator.domain.campaign import Campaign
from orchestrator.domain.campaign_waiting import waits_for_turn
from orchestrator.domain.errors import StoreUnavailable
from orchestrator.domain.job import Job
from orchestrator.domain.loading import WorkerLoad
from orchestrator.domain.pausing import Pause
from orchestrator.domain.states import JobState
from orchestrator.domain.waiting import WAITING, Turn, queue_reason, turn_reason

# How old an answer about workers may be, and how long a job's answer waits for a newer one.
_FRESH_S = 2.0
_PATIENCE_S = 1.0


class WaitReader(Protocol):
    """The part of `JobStore` that this needs."""

    async def worker_loads(self) -> list[WorkerLoad]: ...

    async def pauses(self) -> list[Pause]: ...

    async def turn(self, job_id: UUID) -> Turn | None: ...

    async def campaign_turn(self, number: int) -> Turn | None: ...


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of workers and pauses."""

    loads: Sequence[WorkerLoad] = ()
    pauses: Sequence[Pause] = ()


class Waiting:
    """Workers as their dispatchers last told of them, and pauses, at most two seconds ago where the store answers."""

    def __init__(self, store: WaitReader, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
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
                        self._known = Known(await self._store.worker_loads(), await self._store.pauses())
                except (StoreUnavailable, TimeoutError):
                    pass
            return self._known

    async def told(self, job: Job) -> Job:
        """The job, with the reason why it waits."""
        if job.state not in WAITING:
            return job
        known = await self.known()
        return replace(job, queue_reason=queue_reason(job.state, job.pool, known.loads, known.pauses))

    async def told_with_turn(self, job: Job) -> Job:
        """The same; and where it waits only for its turn, where that stands. Costs a statement for each job."""
        job = await self.told(job)
        if job.queue_reason is not None or job.state is not JobState.QUEUED:
            return job
        turn = await _in_time(self._store.turn(job.id))
        return job if turn is None else replace(job, queue_reason=turn_reason(turn))

    async def turn_of(self, campaign: Campaign) -> Turn | None:
        """Where a campaign stands in the queue; None where that is not what it waits for. Costs a statement."""
        return await _in_time(self._store.campaign_turn(campaign.number)) if waits_for_turn(campaign) else None


async def _in_time(turn: Awaitable[Turn | None]) -> Turn | None:
    """What the store answers; nothing where that takes long."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await turn
    except (StoreUnavailable, TimeoutError):
        return None

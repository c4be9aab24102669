"""What is known of why jobs wait: read from the store, seldom, and never in the way of whoever answers their owners."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol, TypeVar
from uuid import UUID

from orchestrator.domain.campaign import Campaign
from orchestrator.domain.campaign_waiting import waits_for_turn
from orchestrator.domain.errors import StoreUnavailable
from orchestrator.domain.job import Job, NewJob
from orchestrator.domain.loading import WorkerLoad
from orchestrator.domain.outlooks import JobOutlook, LaneOutlook, expected
from orchestrator.domain.pausing import Pause
from orchestrator.domain.states import JobState
from orchestrator.domain.waiting import (
    MOST_AHEAD,
    WAITING,
    Turn,
    Wait,
    queue_reason,
    queue_wait,
    turn_reason,
    turn_wait,
)
from orchestrator.kit.readings import Reading
from orchestrator.ports.fleet import KindState

T = TypeVar("T")

# How old an answer about workers may be, and how long a job's answer waits for a newer one.
_FRESH_S = 2.0
_PATIENCE_S = 1.0
_NONE: Mapping[str, str] = {}


class WaitReader(Protocol):
    """The part of `JobStore` that this needs."""

    async def worker_loads(self) -> list[WorkerLoad]: ...

    async def pauses(self) -> list[Pause]: ...

    async def fleet(self) -> list[KindState]: ...

    async def turn(self, job_id: UUID) -> Turn | None: ...

    async def lane_outlook(self, pool: str, tenant: str, priority: int) -> LaneOutlook | None: ...
    async def campaign_turn(self, number: int) -> Turn | None: ...


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
        self, store: WaitReader, sets: Mapping[str, str] = _NONE, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`sets` are, by pool that shares workers with others, the names of their sets."""
        self._store = store
        self._sets = sets
        self._known = Reading(
            "waiting", self._read, Known(), fresh_s=_FRESH_S, patience_s=_PATIENCE_S, monotonic=monotonic
        )

    async def _read(self) -> Known:
        loads, pauses = await self._store.worker_loads(), await self._store.pauses()
        fleet = await self._store.fleet() if self._sets else []
        # Another pool may have a kind with a set's name.
        return Known(loads, pauses, _unheld(each for each in fleet if self._sets.get(each.pool) == each.kind))

    async def known(self) -> Known:
        """Every worker that a dispatcher has told of, and every pause. Never raises: what was known before does."""
        return await self._known.now()

    async def told(self, job: Job) -> Job:
        """The job, with the reason why it waits."""
        if job.state not in WAITING:
            return job
        known = await self.known()
        # A worker is taken for what is due, and for nothing else.
        unheld = known.unheld if job.ready else {}
        return replace(job, queue_reason=queue_reason(job.state, job.pool, known.loads, known.pauses, unheld))

    async def told_with_turn(self, job: Job) -> Job:
        """The same; where it waits only for its turn, where that stands; and when it is expected to begin and to end.

        Costs two statements for each job.
        """
        job = await self.told(job)
        if job.state is not JobState.QUEUED:
            return job
        turn = await _in_time(self._store.turn(job.id))
        if turn is None:
            return job
        lane = await _in_time(self._store.lane_outlook(job.pool, job.tenant, job.priority))
        reason = turn_reason(turn) if job.queue_reason is None else job.queue_reason
        return replace(job, queue_reason=reason, outlook=None if lane is None else _outlook(job, turn, lane))

    async def waits(self, job: Job) -> list[Wait]:
        """Why no worker takes it now, and where its turn stands: what must change first comes first.

        Costs two statements.
        """
        if job.state not in WAITING:
            return []
        known = await self.known()
        pool = queue_wait(job.state, job.pool, known.loads, known.pauses, known.unheld if job.ready else {})
        turn = await _in_time(self._store.turn(job.id)) if job.state is JobState.QUEUED else None
        return [wait for wait in (pool, None if turn is None else turn_wait(turn)) if wait is not None]

    async def outlook_of(self, new: NewJob) -> JobOutlook | None:
        """When a job would begin and end that stood behind all of its lane now; None where nobody has reckoned it."""
        lane = await _in_time(self._store.lane_outlook(new.pool, new.tenant, new.priority))
        if lane is None:
            return None
        due_in_s = 0.0 if new.run_at is None else max(0.0, (new.run_at - datetime.now(UTC)).total_seconds())
        behind_s = lane.ahead_s[-2]
        return expected(lane, datetime.now(UTC), ahead_s=behind_s, cost_s=new.charged, due_in_s=due_in_s)

    async def turn_of(self, campaign: Campaign) -> Turn | None:
        """Where a campaign stands in the queue; None where that is not what it waits for. Costs a statement."""
        return await _in_time(self._store.campaign_turn(campaign.number)) if waits_for_turn(campaign) else None


def _outlook(job: Job, turn: Turn, lane: LaneOutlook) -> JobOutlook:
    return expected(
        lane,
        datetime.now(UTC),
        ahead_s=turn.ahead_s,
        cost_s=job.charged,
        due_in_s=turn.due_in_s,
        at_least=turn.ahead >= MOST_AHEAD,
    )


async def _in_time(answer: Awaitable[T | None]) -> T | None:
    """What the store answers; nothing where that takes long."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await answer
    except (StoreUnavailable, TimeoutError):
        return None


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

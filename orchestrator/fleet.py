"""What a dispatcher knows: its workers' last answers and the claims they hold. No I/O, so every rule is testable."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from orchestrator.domain.cost import Speed
from orchestrator.domain.job import Claim, WorkerRef
from orchestrator.domain.protocol import WorkerState, WorkerStatus
from orchestrator.ports import Progress

# A worker is given its next render this long before it is free, or one denoise step before, whichever is longer:
# long enough for a claim and an assignment, short enough to be no prefetch.
LEAD_S = 0.5


@dataclass(slots=True)
class Seat:
    """One worker by name, across its incarnations. Times are the dispatcher's monotonic seconds."""

    name: str
    pool: str
    heard_at: float
    status: WorkerStatus | None = None
    state_since: float = 0.0
    registered: WorkerRef | None = None
    beaten_at: float = 0.0
    draining: bool = False


@dataclass(slots=True)
class Fleet:
    """The workers and claims of one cluster, as its dispatcher sees them.

    `changed` is set whenever a worker may take a render.
    """

    seats: dict[str, Seat] = field(default_factory=dict)
    claims: dict[UUID, Claim] = field(default_factory=dict)
    claimed_at: dict[UUID, float] = field(default_factory=dict)
    speeds: dict[str, Speed] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _written: dict[UUID, tuple[str, int]] = field(default_factory=dict)

    # -------------------------------------------------------------- workers
    def seat(self, name: str, pool: str, now: float) -> Seat:
        """The seat of a worker, taken now if it is new."""
        return self.seats.setdefault(name, Seat(name, pool, heard_at=now))

    def leave(self, name: str) -> None:
        """The worker is gone for good."""
        self.seats.pop(name, None)

    def heard(self, seat: Seat, status: WorkerStatus, now: float) -> WorkerStatus | None:
        """Take in a worker's answer; returns the one before it from the same incarnation, if any."""
        before = seat.status
        same = before if before is not None and before.worker == status.worker else None
        if same is None or same.state is not status.state:
            seat.state_since = now
        seat.status, seat.heard_at, seat.pool = status, now, status.pool
        if self._open(seat):
            self.changed.set()
        return same

    def slots(self, pool: str) -> list[WorkerRef]:
        """Workers of a pool that should get one more render now, soonest free first."""
        free = [seat.status for seat in self.seats.values() if seat.pool == pool and self._open(seat)]
        ready = [status for status in free if status is not None]
        return [status.worker for status in sorted(ready, key=lambda status: status.free_in_s)]

    def _open(self, seat: Seat) -> bool:
        status = seat.status
        if status is None or seat.draining or seat.registered != status.worker:
            return False
        if status.state is not WorkerState.READY or status.room < 1:
            return False
        held = {render.token for render in status.renders}
        unseen = any(claim.token not in held for claim in self.held_by(seat.name))
        return not unseen and status.free_in_s <= max(LEAD_S, status.step_s)

    # -------------------------------------------------------------- claims
    def hold(self, claims: Iterable[Claim], now: float) -> None:
        """Remember claims that our workers own; their age counts from now less `age_s`."""
        for claim in claims:
            self.claims[claim.token] = claim
            self.claimed_at[claim.token] = now - claim.age_s

    def drop(self, token: UUID) -> None:
        """A claim is settled, here or elsewhere."""
        self.claims.pop(token, None)
        self.claimed_at.pop(token, None)
        self._written.pop(token, None)

    def held_by(self, name: str) -> list[Claim]:
        """The claims that we believe a worker's name to hold, of any incarnation."""
        return [claim for claim in self.claims.values() if claim.worker.name == name]

    def aged(self, name: str, now: float) -> list[Claim]:
        """`held_by`, each with its age in seconds."""
        return [claim for claim in self.all_aged(now) if claim.worker.name == name]

    def all_aged(self, now: float) -> list[Claim]:
        """Every claim, each with its age in seconds."""
        return [replace(claim, age_s=now - self.claimed_at[token]) for token, claim in self.claims.items()]

    def reconcile(self, before: Iterable[UUID], running: Sequence[Claim], now: float) -> None:
        """Make our claims agree with the database's; `before` are the tokens that we held when the reading began.

        A claim made while it ran is not in it and stays.
        """
        tokens = {claim.token for claim in running}
        for token in set(before) - tokens:
            self.drop(token)
        self.hold((claim for claim in running if claim.token not in self.claims), now)

    def request_cancel(self, tokens: Iterable[UUID]) -> list[Claim]:
        """Mark claims as to be cancelled; returns those that were not marked before."""
        fresh = [claim for token in tokens if (claim := self.claims.get(token)) and not claim.cancel_requested]
        for claim in fresh:
            self.claims[claim.token] = replace(claim, cancel_requested=True)
        return fresh

    # -------------------------------------------------------------- learning
    def speed(self, pool: str) -> Speed:
        return self.speeds.get(pool, Speed())

    def learn(self, claim: Claim, gpu_seconds: float) -> None:
        """One more finished render of the claim's pool."""
        self.speeds[claim.pool] = self.speed(claim.pool).learn(predicted_s=claim.cost, actual_s=gpu_seconds)

    def unwritten_progress(self) -> list[Progress]:
        """Where renders stand that have moved since `wrote` was last told."""
        moved = []
        for seat in self.seats.values():
            for render in seat.status.renders if seat.status else ():
                place = (str(render.stage), render.step)
                if render.end is None and render.token in self.claims and self._written.get(render.token) != place:
                    moved.append(Progress(job_id=render.job_id, token=render.token, stage=place[0], step=place[1]))
        return moved

    def wrote(self, progress: Iterable[Progress]) -> None:
        """This progress is in the database."""
        for item in progress:
            if item.token in self.claims:
                self._written[item.token] = (item.stage, item.step)

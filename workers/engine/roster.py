"""A worker's renders as its dispatcher's calls see them: what they ask, and what they tell."""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import UUID

from orchestrator.domain.protocol import Assignment, RenderStatus, Stopped
from workers.engine.changes import Changes
from workers.engine.choice import Capacity
from workers.engine.held import Held
from workers.engine.meter import Meter
from workers.engine.renders import Renders
from workers.engine.schedule import Schedule

# How long a render that was evicted may try to store its checkpoint, when nobody is in a hurry.
EVICTION_S = 60.0


class Roster:
    """Every method may be called from any thread and returns at once, but for `wait_over`; `renders.py` has the locks.

    `renders` and `schedule` are the same renders as the worker's own threads see them. A preview is taken after
    `preview_at` of a render's steps, a checkpoint every `checkpoint_every_s` of its GPU seconds; 0 is never.
    """

    def __init__(
        self,
        meter: Meter,
        changes: Changes,
        *,
        capacity: Capacity | None = None,
        preview_at: float = 0.0,
        checkpoint_every_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.renders = Renders(meter, changes, clock)
        self.schedule = Schedule(self.renders, capacity or Capacity(), checkpoint_every_s=checkpoint_every_s)
        self._preview_at = preview_at

    def holds(self, token: UUID) -> bool:
        """Whether the render is held; one that has ended is, until it is forgotten."""
        with self.renders.lock:
            return token in self.renders.by_token

    def assign(self, assignment: Assignment) -> bool:
        """Hold a render; False when there is no room, and it is not urgent enough to need none."""
        renders, schedule = self.renders, self.schedule
        with renders.lock:
            interrupts = schedule.interrupts
            urgent = interrupts is not None and assignment.priority < interrupts
            if schedule.room_for(assignment.tenant) == 0 and not urgent:
                return False
            batches = schedule.capacity.batch_size > 1
            renders.by_token[assignment.token] = Held.of(
                assignment, renders.meter.family, renders.clock(), preview_at=self._preview_at, batches=batches
            )
            renders.lock.notify_all()
            renders.changes.urgent()
            return True

    def cancel(self, token: UUID) -> None:
        """Stop a render at the next step, or before its upload; when it is too late for that, it ends as it would."""
        with self.renders.lock:
            held = self.renders.by_token.get(token)
            if held is None or held.end is not None:
                return
            held.cancelled = True
            self._stop_unbegun(held)
            self.renders.lock.notify_all()

    def evict(self, token: UUID, reason: str, *, within_s: float = EVICTION_S) -> None:
        """Make a render leave at the next step, with a checkpoint if one can be stored in time; or before it begins.

        One that has left the GPU ends as it would. Asked again, the earlier time holds.
        """
        with self.renders.lock:
            held = self.renders.by_token.get(token)
            if held is None or not held.needs_gpu:
                return
            held.evicted = held.evicted or reason
            held.leave_by = min(held.leave_by, self.renders.clock() + within_s)
            self._stop_unbegun(held)
            self.renders.lock.notify_all()

    def evict_all(self, reason: str, *, within_s: float = EVICTION_S) -> None:
        """Evict everything that still needs the GPU."""
        with self.renders.lock:
            for token in list(self.renders.by_token):
                self.evict(token, reason, within_s=within_s)

    def forget(self, token: UUID) -> None:
        """Drop a render that has ended."""
        with self.renders.lock:
            held = self.renders.by_token.get(token)
            if held is not None and held.end is not None:
                del self.renders.by_token[token]
                self.renders.lock.notify_all()
                self.renders.changes.urgent()

    def drain(self) -> None:
        """Take no more renders."""
        with self.renders.lock:
            self.renders.taking = False
            self.renders.changes.urgent()

    def wait_over(self, within_s: float) -> bool:
        """Wait until every render has ended and the dispatcher has heard so; whether at least the former is true."""
        with self.renders.lock:
            self.renders.lock.wait_for(lambda: not self.renders.by_token, within_s)
            return all(held.end is not None for held in self.renders.by_token.values())

    def close(self) -> None:
        """Let the step loop and the fetchers stop. What needs the GPU stays as it is."""
        with self.renders.lock:
            self.renders.open = self.renders.taking = False
            self.renders.lock.notify_all()

    def statuses(self) -> tuple[RenderStatus, ...]:
        """Every render that is held, as it stands now."""
        with self.renders.lock:
            now = self.renders.clock()
            return tuple(held.status(now) for held in self.renders.by_token.values())

    @property
    def step_s(self) -> float:
        """Mean seconds of the last steps; 0 before the first."""
        with self.renders.lock:
            return self.renders.meter.step_s

    @property
    def gpu_busy_s(self) -> float:
        """Seconds for which the GPU was busy so far."""
        with self.renders.lock:
            return self.renders.meter.busy_s

    def _stop_unbegun(self, held: Held) -> None:
        """Under the lock: what has not begun need not begin to stop or to leave."""
        if not held.begun and held.end is None:
            self.renders.end(held, Stopped(gpu_seconds=held.gpu_seconds))

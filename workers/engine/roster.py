"""The renders that a worker holds: asked and told by the dispatcher's calls, worked through by the step loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from orchestrator.domain.job import Failure
from orchestrator.domain.protocol import Assignment, Broke, End, RenderStatus, Stage, Stopped
from orchestrator.telemetry import logs
from workers.engine import choice, turns
from workers.engine.changes import Changes
from workers.engine.choice import Act, Candidate, Capacity
from workers.engine.held import Held
from workers.engine.meter import Meter

# Renders that may be encoded and uploaded at a time; also how many decoded videos can be in memory.
FINISHERS = 2

# How long a render that was evicted may try to store its checkpoint, when nobody is in a hurry.
EVICTION_S = 60.0

_log = logs.get("engine")


class Roster:
    """Every method may be called from any thread and returns at once, but for `next`, `next_to_fetch` and `wait_over`.

    One lock guards the renders and the meter; `changes` hears of everything that a status shows. A preview is taken
    after `preview_at` of a render's steps, a checkpoint after every `checkpoint_every_s` that its GPU has spent on it
    (what a lost worker costs; a render that waits has nothing new to lose); 0 is never.
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
        self._meter = meter
        self._changes = changes
        self._capacity = capacity or Capacity()
        self._preview_at = preview_at
        self._checkpoint_every_s = checkpoint_every_s
        self._clock = clock
        self._lock = threading.Condition()
        self._held: dict[UUID, Held] = {}
        self._open = True
        self._taking = True

    @property
    def capacity(self) -> Capacity:
        return self._capacity

    # ------------------------------------------------------------ what a dispatcher asks and tells

    def holds(self, token: UUID) -> bool:
        with self._lock:
            return token in self._held

    def assign(self, assignment: Assignment) -> bool:
        """Hold a render; False when there is no room, and it is not urgent enough to need none."""
        with self._lock:
            interrupts = self.interrupts
            urgent = interrupts is not None and assignment.priority < interrupts
            if self.room == 0 and not urgent:
                return False
            batches = self._capacity.batch_size > 1
            self._held[assignment.token] = Held.of(
                assignment, self._meter.family, self._clock(), preview_at=self._preview_at, batches=batches
            )
            self._lock.notify_all()
            self._changes.urgent()
            return True

    def drain(self) -> None:
        """Take no more renders."""
        with self._lock:
            self._taking = False
            self._changes.urgent()

    def cancel(self, token: UUID) -> None:
        """Stop a render at the next step, or before its upload; when it is too late for that, it ends as it would."""
        with self._lock:
            held = self._held.get(token)
            if held is None or held.end is not None:
                return
            held.cancelled = True
            if not held.begun:
                self._stop(held)
            self._lock.notify_all()

    def evict(self, token: UUID, reason: str, *, within_s: float = EVICTION_S) -> None:
        """Make a render leave at the next step, with a checkpoint if one can be stored in time; or before it begins.

        One that has left the GPU ends as it would. Asked again, the earlier time holds.
        """
        with self._lock:
            held = self._held.get(token)
            if held is None or not held.needs_gpu:
                return
            held.evicted = held.evicted or reason
            held.leave_by = min(held.leave_by, self._clock() + within_s)
            if not held.begun:
                self._stop(held)
            self._lock.notify_all()

    def evict_all(self, reason: str, *, within_s: float = EVICTION_S) -> None:
        """Evict everything that still needs the GPU."""
        with self._lock:
            for token in list(self._held):
                self.evict(token, reason, within_s=within_s)

    def forget(self, token: UUID) -> None:
        """Drop a render that has ended."""
        with self._lock:
            held = self._held.get(token)
            if held is not None and held.end is not None:
                del self._held[token]
                self._lock.notify_all()
                self._changes.urgent()

    def wait_over(self, within_s: float) -> bool:
        """Wait until every render has ended and the dispatcher has heard so; whether at least the former is true."""
        with self._lock:
            self._lock.wait_for(lambda: not self._held, within_s)
            return all(held.end is not None for held in self._held.values())

    def statuses(self) -> tuple[RenderStatus, ...]:
        with self._lock:
            now = self._clock()
            return tuple(held.status(now) for held in self._held.values())

    @property
    def room(self) -> int:
        """How many more renders `assign` would take now, however urgent they are. Those parked in memory do not count.

        One batch, and one that waits so that no gap follows.
        """
        with self._lock:
            counted = sum(1 for held in self._on_gpu() if held.stage is not Stage.PREEMPTED)
            return max(0, self._capacity.batch_size + 1 - counted) if self._taking else 0

    @property
    def interrupts(self) -> int | None:
        """A render of a smaller priority number would be taken, room or not, and step next; None when none would."""
        with self._lock:
            return choice.interrupts(self._candidates(), self._capacity) if self._taking else None

    @property
    def free_in_s(self) -> float:
        """Seconds until the GPU has done all that is held; 0 when it could do more at the same time.

        A render whose material is still on its way counts in full: it will be there in a moment, and a second render
        claimed meanwhile would wait behind it for as long as it takes.
        """
        with self._lock:
            if choice.joinable(self._candidates(), self._capacity):
                return 0.0
            return sum(self._remaining_s(held) for held in self._on_gpu())

    @property
    def step_s(self) -> float:
        with self._lock:
            return self._meter.step_s

    @property
    def gpu_busy_s(self) -> float:
        with self._lock:
            return self._meter.busy_s

    # ------------------------------------------------------------ what the fetchers ask and tell

    def next_to_fetch(self) -> Held | None:
        """Wait for a render whose material nobody fetches yet, the most urgent first; None after `close`."""
        with self._lock:
            while self._open:
                wanting = [held for held in self._on_gpu() if not held.ready and not held.fetching]
                if wanting:
                    held = min(wanting, key=lambda one: one.assignment.priority)
                    held.fetching = True
                    return held
                self._lock.wait()
            return None

    def wants(self, held: Held) -> bool:
        """False when the render has ended, or the roster is closed."""
        with self._lock:
            return self._open and held.end is None

    # ------------------------------------------------------------ what the step loop asks

    def next(self) -> tuple[Act, list[Held]] | None:
        """Wait for the next move; None after `close`. A render that it says to begin has begun."""
        with self._lock:
            while self._open:
                chosen = choice.choose(self._candidates(), self._capacity, finishers_free=self._finishers_free())
                room = self.room
                moving = turns.take(self._on_gpu(), chosen, self._clock())
                if self.room != room:
                    self._changes.urgent()
                if chosen is not None:
                    return chosen.act, moving
                self._lock.wait()
            return None

    # ------------------------------------------------------------ what the step loop and those beside it tell

    def wait_saved(self, held: Held, within_s: float) -> None:
        """Wait until none of a render's checkpoints is on its way to the bucket."""
        with self._lock:
            self._lock.wait_for(lambda: not held.saving, within_s)

    def enter(self, held: Held, stage: Stage) -> None:
        with self._lock:
            made_room = held.needs_gpu
            held.enter(stage, self._clock())
            if made_room and not held.needs_gpu:
                self._changes.urgent()
            else:
                self._changes.progress()

    def moved(self, held: Held) -> None:
        with self._lock:
            held.moved_at = self._clock()
            self._changes.progress()

    def used(self, held: Held, seconds: float) -> None:
        """A move is over and held the GPU for this long, whether or not it went well."""
        with self._lock:
            held.gpu_seconds += seconds
            self._meter.busy_s += seconds

    def stepped(self, held: Held, seconds: float, *, batched: bool) -> None:
        """A denoise step is done; `seconds` is this render's share of it."""
        with self._lock:
            held.step += 1
            held.batched |= batched
            held.moved_at = self._clock()
            self._meter.stepped(held.assignment.spec, seconds)
            self._changes.progress()

    def decoded(self, held: Held, seconds: float) -> None:
        """The frames are in memory: a finisher has them from now on."""
        with self._lock:
            held.finishing = True
            self._meter.decoded(held.assignment.spec, seconds)
            self.enter(held, Stage.FINISHING)

    @contextmanager
    def changing(self, *, urgent: bool = False) -> Iterator[float]:
        """Hold the lock while a render is changed, and announce it afterwards; the time is now."""
        with self._lock:
            yield self._clock()
            self._lock.notify_all()
            if urgent:
                self._changes.urgent()
            else:
                self._changes.progress()

    def end(self, held: Held, end: End) -> None:
        """A render is over; it stays until the dispatcher forgets it."""
        with self._lock:
            held.enter(Stage.ENDED, self._clock())
            held.end = end
            held.material = None
            self._lock.notify_all()
            self._changes.urgent()
        _log.info("render_ended", end=type(end).__name__.lower(), step=held.step, **held.names)

    def abandon(self, failure: Failure) -> None:
        """The GPU renders no more: fail what needs it, and take nothing new."""
        with self._lock:
            self._open = self._taking = False
            for held in self._on_gpu():
                self.end(held, Broke(failure=failure, gpu_seconds=held.gpu_seconds))
            self._lock.notify_all()

    def close(self) -> None:
        """Let `next` return None. What needs the GPU stays as it is."""
        with self._lock:
            self._open = self._taking = False
            self._lock.notify_all()

    # ------------------------------------------------------------ under the lock

    def _on_gpu(self) -> list[Held]:
        return [held for held in self._held.values() if held.needs_gpu]

    def _candidates(self) -> list[Candidate]:
        return [held.candidate(self._checkpoint_every_s) for held in self._on_gpu()]

    def _finishers_free(self) -> int:
        return FINISHERS - sum(1 for held in self._held.values() if held.finishing and held.end is None)

    def _stop(self, held: Held) -> None:
        if held.end is None:
            self.end(held, Stopped(gpu_seconds=held.gpu_seconds))

    def _remaining_s(self, held: Held) -> float:
        idle_s = self._clock() - held.moved_at if held.begun and not held.waiting else 0.0
        return self._meter.remaining_s(held.assignment.spec, steps_left=held.steps_left, idle_s=idle_s)

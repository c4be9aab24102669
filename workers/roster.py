"""The renders that a worker holds: asked and told by the dispatcher's calls, worked through by the step loop."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from uuid import UUID

from orchestrator.domain.job import Artifact, Failure, RenderSpec
from orchestrator.domain.protocol import Assignment, Broke, RenderStatus, Stage, Stopped
from workers.changes import Changes
from workers.choice import Act, choose
from workers.held import End, Held
from workers.meter import Meter
from workers.parts import Material

# Renders that may need the GPU at a time: one that has begun, and one that waits so that no gap follows the first.
CAPACITY = 2

# Renders that may be encoded and uploaded at a time; also how many decoded videos can be in memory.
FINISHERS = 2

# How often a render that waits for a finisher counts as moving: the finishers have deadlines of their own.
_BLOCKED_S = 1.0


class Roster:
    """Every method may be called from any thread and returns at once, but for `next` and `next_to_fetch`, which wait.

    One lock guards the renders and the meter; `changes` hears of everything that a status shows. A preview is taken
    after `preview_at` of a render's steps; 0 is never.
    """

    def __init__(
        self, meter: Meter, changes: Changes, *, preview_at: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._meter = meter
        self._changes = changes
        self._preview_at = preview_at
        self._clock = clock
        self._lock = threading.Condition()
        self._held: dict[UUID, Held] = {}
        self._open = True

    # ------------------------------------------------------------ what a dispatcher asks and tells

    def holds(self, token: UUID) -> bool:
        with self._lock:
            return token in self._held

    def assign(self, assignment: Assignment) -> bool:
        """Hold a render; False when there is no room."""
        with self._lock:
            if self.room == 0:
                return False
            now = self._clock()
            preview_step = self._preview_step(assignment.spec)
            self._held[assignment.token] = Held(assignment, entered_at=now, moved_at=now, preview_step=preview_step)
            self._lock.notify_all()
            self._changes.urgent()
            return True

    def release(self, token: UUID) -> bool:
        """Take back a render that has not begun; False when it has, or is not held. True again when asked again."""
        with self._lock:
            held = self._held.get(token)
            if held is None or held.begun:
                return False
            if held.end is None:
                self.end(held, Stopped())
            return True

    def cancel(self, token: UUID) -> None:
        """Stop a render at the next step, or before its upload; when it is too late for that, it ends as it would."""
        with self._lock:
            held = self._held.get(token)
            if held is None or held.end is not None:
                return
            held.cancelled = True
            if not held.begun:
                self.end(held, Stopped())
            self._lock.notify_all()

    def forget(self, token: UUID) -> None:
        """Drop a render that has ended."""
        with self._lock:
            held = self._held.get(token)
            if held is not None and held.end is not None:
                del self._held[token]
                self._changes.urgent()

    def statuses(self) -> tuple[RenderStatus, ...]:
        with self._lock:
            now = self._clock()
            return tuple(held.status(now) for held in self._held.values())

    @property
    def room(self) -> int:
        """How many more renders `assign` would take now."""
        with self._lock:
            return CAPACITY - len(self._on_gpu()) if self._open else 0

    @property
    def free_in_s(self) -> float:
        """Seconds until the GPU has done all that is held.

        A render whose picture is still on its way counts in full: it will be there in a moment, and a second render
        claimed meanwhile would wait behind it for as long as it takes.
        """
        with self._lock:
            return sum(self._remaining_s(held) for held in self._on_gpu())

    @property
    def step_s(self) -> float:
        with self._lock:
            return self._meter.step_s

    @property
    def gpu_busy_s(self) -> float:
        with self._lock:
            return self._meter.busy_s

    # ------------------------------------------------------------ what the fetchers of pictures ask and tell

    def next_to_fetch(self) -> Held | None:
        """Wait for a render whose picture nobody fetches yet; None after `close`."""
        with self._lock:
            while self._open:
                for held in self._on_gpu():
                    if not held.ready and not held.fetching:
                        held.fetching = True
                        return held
                self._lock.wait()
            return None

    def wants_picture(self, held: Held) -> bool:
        """False when the render has ended, or the roster is closed."""
        with self._lock:
            return self._open and held.end is None

    def fetched(self, held: Held, material: Material) -> None:
        """The render can begin, unless nobody wants it any more."""
        with self._lock:
            if self.wants_picture(held):
                held.material = material
                held.moved_at = self._clock()
                self._lock.notify_all()

    def unfetched(self, held: Held, failure: Failure) -> None:
        """The render can never begin, and has cost nothing; unless nobody wants it any more."""
        with self._lock:
            if self.wants_picture(held):
                self.end(held, Broke(failure=failure))

    # ------------------------------------------------------------ what the step loop and the finishers ask and tell

    def next(self) -> tuple[Act, Held] | None:
        """Wait for the next move; None after `close`. A render that it says to begin cannot be released any more."""
        with self._lock:
            while self._open:
                on_gpu = self._on_gpu()
                choice = choose([held.candidate() for held in on_gpu], finishers_free=self._finishers_free())
                if choice is not None:
                    held = self._held[choice.token]
                    held.begun = True
                    if choice.act is Act.PREVIEW:
                        held.preview_step = None  # taken once, whatever becomes of it
                    return choice.act, held
                blocked = [held for held in on_gpu if held.begun]
                for held in blocked:
                    held.moved_at = self._clock()
                self._lock.wait(_BLOCKED_S if blocked else None)
            return None

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

    def stepped(self, held: Held, seconds: float) -> None:
        """A denoise step is done."""
        with self._lock:
            held.step += 1
            held.moved_at = self._clock()
            self._meter.stepped(held.assignment.spec, seconds)
            self._changes.progress()

    def decoded(self, held: Held, seconds: float) -> None:
        with self._lock:
            self._meter.decoded(held.assignment.spec, seconds)

    def previewed(self, held: Held, preview: Artifact) -> None:
        """A frame of what is coming is in the bucket."""
        with self._lock:
            held.preview = preview
            self._changes.progress()

    def end(self, held: Held, end: End) -> None:
        """A render is over; it stays until the dispatcher forgets it."""
        with self._lock:
            held.enter(Stage.ENDED, self._clock())
            held.end = end
            held.material = None
            self._lock.notify_all()
            self._changes.urgent()

    def abandon(self, failure: Failure) -> None:
        """The GPU renders no more: fail what needs it, and take nothing new."""
        with self._lock:
            self._open = False
            for held in self._on_gpu():
                self.end(held, Broke(failure=failure, gpu_seconds=held.gpu_seconds))
            self._lock.notify_all()

    def close(self) -> None:
        """Let `next` return None. What needs the GPU stays as it is."""
        with self._lock:
            self._open = False
            self._lock.notify_all()

    # ------------------------------------------------------------ under the lock

    def _on_gpu(self) -> list[Held]:
        return [held for held in self._held.values() if held.needs_gpu]

    def _finishers_free(self) -> int:
        return FINISHERS - sum(1 for held in self._held.values() if held.end is None and not held.needs_gpu)

    def _preview_step(self, spec: RenderSpec) -> int | None:
        """The step to take a preview after; None when that is no step, or the last one."""
        step = math.ceil(self._preview_at * spec.num_inference_steps)
        return step if 0 < step < spec.num_inference_steps else None

    def _remaining_s(self, held: Held) -> float:
        idle_s = self._clock() - held.moved_at if held.begun else 0.0
        return self._meter.remaining_s(held.assignment.spec, steps_left=held.steps_left, idle_s=idle_s)

"""The renders that a worker holds, the one lock over them, and what its threads tell of them.

Who holds which lock:

- `Renders.lock` guards every `Held`, the meter, `open` and `taking`. Every public method of `Renders`, `Schedule` and
  `Roster` takes it on entry, from whatever thread, and has given it back on return; `changing` keeps it for its body.
  It is re-entrant, so they call each other.
- Whoever waits does so on this lock as a condition, and so without holding it. There are four who do: the step loop
  (`Schedule.next`), the fetchers (`Schedule.next_to_fetch`), a finisher (`wait_saved`, `await_finisher`) and the last
  wait of a worker that has to go (`Roster.wait_over`). Each change that one of them may wait for notifies all.
- Under it, only the lock of `Changes` is taken, and that of the log where a render ends; neither calls anything that
  takes this one. No model and no bucket is touched under it: every call of a dispatcher is answered at once.
- Threads read single fields of a `Held` without it, and find what was true a moment ago. They write none without it,
  but for `too_large`, which only the step loop's thread touches.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from orchestrator.domain.job import Failure
from orchestrator.domain.protocol import Broke, End, Stage
from orchestrator.telemetry import logs
from workers.engine import finishers
from workers.engine.changes import Changes
from workers.engine.held import Held
from workers.engine.meter import Meter

_log = logs.get("engine")


class Renders:
    """What is held, in order of arrival. `changes` hears of everything that a status shows."""

    def __init__(self, meter: Meter, changes: Changes, clock: Callable[[], float] = time.monotonic) -> None:
        self.meter = meter
        self.changes = changes
        self.clock = clock
        self.lock = threading.Condition()
        self.by_token: dict[UUID, Held] = {}
        # False once the roster is closed or the model broke: the step loop and the fetchers stop.
        self.open = True
        # False once no more renders are taken.
        self.taking = True

    def on_gpu(self) -> list[Held]:
        """Those that need the GPU, now or later."""
        with self.lock:
            return [held for held in self.by_token.values() if held.needs_gpu]

    def being_finished(self) -> list[Held]:
        """Those whose frames are in memory."""
        with self.lock:
            return [held for held in self.by_token.values() if held.finishing and held.end is None]

    def await_finisher(self, held: Held) -> None:
        """Wait while the finishers are others', whose turn it is; nothing is waited for once it is cancelled."""
        with self.lock:
            if self._has_finisher(held):
                return
            held.rest(self.clock())
            self.lock.notify_all()  # whoever waited for it
            self.lock.wait_for(lambda: held.cancelled or self._has_finisher(held))
            held.resume(self.clock())

    def _has_finisher(self, held: Held) -> bool:
        now = self.clock()
        return held.assignment.token in finishers.at_work(
            finishers.Finishing(
                token=one.assignment.token,
                tenant=one.assignment.tenant,
                priority=one.assignment.priority,
                had_s=one.had_finisher_s(now),
            )
            for one in self.being_finished()
            if one.stage is Stage.FINISHING
        )

    def wants(self, held: Held) -> bool:
        """False when the render has ended, or the roster is closed."""
        with self.lock:
            return self.open and held.end is None

    def wait_saved(self, held: Held, within_s: float) -> None:
        """Wait until none of a render's checkpoints is on its way to the bucket."""
        with self.lock:
            self.lock.wait_for(lambda: not held.saving, within_s)

    def enter(self, held: Held, stage: Stage) -> None:
        """A render is in another stage."""
        with self.lock:
            made_room, gives_finisher = held.needs_gpu, held.stage is Stage.FINISHING
            held.enter(stage, self.clock())
            if gives_finisher:
                self.lock.notify_all()
            if made_room and not held.needs_gpu:
                self.changes.urgent()
            else:
                self.changes.progress()

    def moved(self, held: Held) -> None:
        """A render has come further within its stage."""
        with self.lock:
            held.moved_at = self.clock()
            self.changes.progress()

    def used(self, held: Held, seconds: float) -> None:
        """A move is over and held the GPU for this long, whether or not it went well."""
        with self.lock:
            held.gpu_seconds += seconds
            self.meter.busy_s += seconds

    def stepped(self, held: Held, seconds: float, *, batched: bool) -> None:
        """A denoise step is done; `seconds` is this render's share of it."""
        with self.lock:
            held.step += 1
            held.batched |= batched
            held.moved_at = self.clock()
            self.meter.stepped(held.assignment.spec, seconds)
            self.changes.progress()

    def decoded(self, held: Held, seconds: float) -> None:
        """The frames are in memory: a finisher has them from now on."""
        with self.lock:
            held.finishing = True
            self.meter.decoded(held.assignment.spec, seconds)
            self.enter(held, Stage.FINISHING)

    @contextmanager
    def changing(self, *, urgent: bool = False) -> Iterator[float]:
        """Hold the lock while a render is changed, and announce it afterwards; the time is now."""
        with self.lock:
            yield self.clock()
            self.lock.notify_all()
            if urgent:
                self.changes.urgent()
            else:
                self.changes.progress()

    def end(self, held: Held, end: End) -> None:
        """A render is over; it stays until the dispatcher forgets it."""
        with self.lock:
            held.enter(Stage.ENDED, self.clock())
            held.end = end
            held.material = None
            self.lock.notify_all()
            self.changes.urgent()
        _log.info("render_ended", end=type(end).__name__.lower(), step=held.step, **held.names)

    def abandon(self, failure: Failure) -> None:
        """The GPU renders no more: fail what needs it, and take nothing new."""
        with self.lock:
            self.open = self.taking = False
            for held in self.on_gpu():
                self.end(held, Broke(failure=failure, gpu_seconds=held.gpu_seconds))
            self.lock.notify_all()

"""Checkpoints on their way to the bucket, on threads beside the step loop: now and then, and when a render leaves."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

from structlog.stdlib import BoundLogger

from orchestrator.domain.job import Incident
from orchestrator.domain.protocol import HandedBack
from orchestrator.domain.retry import BELOW, Backoff
from workers.engine.held import Held
from workers.engine.parts import Save, Snapshot
from workers.engine.renders import Renders

# Two: a render that has to leave does not wait until another one's upload is through.
_SAVERS = 2
_BACKOFF = Backoff(base_s=0.25, cap_s=5.0, spread=BELOW)


class Saving:
    """Stores snapshots. A context; on leaving it, what is under way is waited for, and nothing tried again."""

    def __init__(self, renders: Renders, save: Save, log: BoundLogger, clock: Callable[[], float]) -> None:
        self._renders = renders
        self._save = save
        self._log = log
        self._clock = clock
        self._closing = threading.Event()
        self._threads = ThreadPoolExecutor(_SAVERS, "save")

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._threads.shutdown()

    def keep(self, held: Held, snapshot: Snapshot) -> None:
        """Store a checkpoint of a render that goes on; a failure is only remembered. One at a time of each."""
        with self._renders.changing():
            held.saving = True
            held.saved_at_s = held.gpu_seconds
        self._threads.submit(self._keep, held, held.lives, snapshot)

    def hand_back(self, held: Held, snapshot: Snapshot | None) -> None:
        """Store the last checkpoint of a render that has left the GPU, trying until its time is over, and end it.

        Without a snapshot, or when that cannot be stored, it goes on from the newest that was.
        """
        self._threads.submit(self._hand_back, held, snapshot)

    def _keep(self, held: Held, life: int, snapshot: Snapshot) -> None:
        if held.end is not None:
            return  # nobody goes on from here
        stored = self._try(held, life, snapshot)
        with self._renders.changing(urgent=True):
            if held.lives == life:
                held.saving = False
                if not stored:
                    held.befall(Incident.CHECKPOINT_FAILED)

    def _hand_back(self, held: Held, snapshot: Snapshot | None) -> None:
        failures = 0
        while snapshot is not None and not self._try(held, held.lives, snapshot):
            failures += 1
            pause_s = _BACKOFF.delay_s(failures, random.random())
            if self._clock() + pause_s > held.leave_by or self._closing.wait(pause_s):
                with self._renders.changing(urgent=True):
                    held.befall(Incident.CHECKPOINT_FAILED)
                break
        reason = held.evicted or "evicted"
        self._renders.end(held, HandedBack(reason=reason, checkpoint=held.checkpoint, gpu_seconds=held.gpu_seconds))

    def _try(self, held: Held, life: int, snapshot: Snapshot) -> bool:
        started = time.monotonic()
        try:
            checkpoint = self._save(held.assignment, snapshot)
        except Exception:
            self._log.exception("checkpoint_broke", step=snapshot.step, **held.names)
            return False
        with self._renders.changing(urgent=True):
            if held.lives == life:  # a render that began again forgets what it was before
                held.store(checkpoint)
        self._log.info("checkpoint_stored", step=snapshot.step, seconds=time.monotonic() - started, **held.names)
        return True

"""The step loop: one render steps on the GPU; pictures come in, and videos go out, on other threads meanwhile.

Nothing here knows torch or S3: the parts that do are given.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar
from uuid import UUID

from structlog.stdlib import BoundLogger

from orchestrator.domain.job import Continuity, Failure, Incident
from orchestrator.domain.protocol import Broke, Rendered, Stage, Stopped
from workers.choice import Act
from workers.failures import failure_of
from workers.held import End, Held
from workers.parts import Decoding, Parts
from workers.roster import CAPACITY, FINISHERS, Roster

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

R = TypeVar("R")


class HeldWatch:
    """How whoever finishes a render's frames says how far it is."""

    def __init__(self, roster: Roster, held: Held) -> None:
        self._roster = roster
        self._held = held

    @property
    def gpu_seconds(self) -> float:
        """What the render has cost."""
        return self._held.gpu_seconds

    @property
    def stages(self) -> dict[str, float]:
        """Seconds of every stage that is over."""
        return dict(self._held.stages)

    @property
    def numerics(self) -> str:
        return ""

    @property
    def continuity(self) -> Continuity:
        return Continuity.WHOLE

    @property
    def resumed_at(self) -> int:
        return 0

    @property
    def incidents(self) -> tuple[Incident, ...]:
        return ()

    def enter(self, stage: Stage) -> None:
        """A stage begins. Raises when the render was cancelled meanwhile; let that pass through."""
        if self._held.cancelled:
            raise _Cancelled
        self._roster.enter(self._held, stage)

    def proceed(self) -> None:
        """The present stage goes on, unless the render was cancelled meanwhile: raises then, as `enter` does."""
        if self._held.cancelled:
            raise _Cancelled
        self.moved()

    def moved(self) -> None:
        """The present stage goes on. Raises nothing, for callers that must not stop halfway."""
        self._roster.moved(self._held)


class _Cancelled(Exception):
    """A render was cancelled while its frames were being finished."""


class Engine(Generic[R]):
    """Works through a roster with one model, in the thread that calls `run`."""

    def __init__(
        self, roster: Roster, parts: Parts[R], log: BoundLogger, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._roster = roster
        self._model = parts.model
        self._parts = parts
        self._log = log
        self._clock = clock
        self._renders: dict[UUID, R] = {}
        self._fetchers = ThreadPoolExecutor(CAPACITY, "fetch")
        self._finishers = ThreadPoolExecutor(FINISHERS, "finish")
        self._shower = ThreadPoolExecutor(1, "show")  # its own: a preview must not hold up a video

    def run(self) -> None:
        """Render until the roster is closed, and then until the threads beside are done.

        Raises what broke the model for good, after every render that needed it has ended.
        """
        with self._fetchers, self._finishers, self._shower:
            for _ in range(CAPACITY):
                self._fetchers.submit(self._fetch_pictures)
            try:
                while (move := self._roster.next()) is not None:
                    self._carry_out(*move)
            except Exception as error:
                message = f"the worker's model broke down: {error}"
                self._roster.abandon(Failure(code="worker_failed", message=message[:300]))
                raise

    def _carry_out(self, act: Act, held: Held) -> None:
        started = self._clock()
        outcome = self._attempt(act, held)
        seconds = self._clock() - started
        self._roster.used(held, seconds)
        if isinstance(outcome, Failure):
            # Only now: the exception behind it kept alive the tensors of the call that failed.
            self._renders.pop(held.assignment.token, None)
            self._end(held, Broke(failure=outcome, gpu_seconds=held.gpu_seconds))
            self._model.recover()
        elif outcome is not None:
            self._roster.enter(held, Stage.FINISHING)
            self._finishers.submit(self._finish_frames, held, outcome)
        elif act is Act.DROP:
            self._end(held, Stopped(gpu_seconds=held.gpu_seconds))

    def _attempt(self, act: Act, held: Held) -> NDArray[np.uint8] | Failure | None:
        """One move on the GPU; frames when it was the decode."""
        try:
            match act:
                case Act.BEGIN:
                    self._begin(held)
                case Act.STEP:
                    self._step(held)
                case Act.PREVIEW:
                    self._preview(held)
                case Act.DECODE:
                    return self._decode(held)
                case Act.DROP:
                    self._renders.pop(held.assignment.token, None)
        except Exception as error:  # whatever it is, it must not reach the next render
            self._log.exception("render_broke", **_fields(held))
            return failure_of(error)
        return None

    def _begin(self, held: Held) -> None:
        self._roster.enter(held, Stage.ENCODING)
        self._renders[held.assignment.token] = self._model.begin(
            held.assignment.spec, held.material.picture if held.material else None
        )
        held.material = None
        self._roster.enter(held, Stage.DENOISING)

    def _step(self, held: Held) -> None:
        started = self._clock()
        [failure] = self._model.step([self._renders[held.assignment.token]])
        if failure is not None:
            raise failure
        self._roster.stepped(held, self._clock() - started)

    def _preview(self, held: Held) -> None:
        """Whatever befalls a preview, its render goes on as long as the model can."""
        frame = None
        try:
            frame = self._model.preview(self._renders[held.assignment.token])
        except Exception:
            self._log.exception("preview_broke", **_fields(held))
        if frame is None:
            self._model.recover()
        else:
            self._shower.submit(self._show, held, frame)

    def _decode(self, held: Held) -> NDArray[np.uint8]:
        self._roster.enter(held, Stage.DECODING)
        started = self._clock()
        frames = self._model.decode(self._renders.pop(held.assignment.token), Decoding.WHOLE)
        self._roster.decoded(held, self._clock() - started)
        return frames

    def _fetch_pictures(self) -> None:
        while (held := self._roster.next_to_fetch()) is not None:
            try:
                material = self._parts.fetch(held.assignment, partial(self._roster.wants_picture, held))
            except Exception as error:
                self._log.exception("picture_broke", **_fields(held))
                self._roster.unfetched(held, failure_of(error))
            else:
                if material is not None:
                    self._roster.fetched(held, material)

    def _show(self, held: Held, frame: NDArray[np.uint8]) -> None:
        if held.end is not None:
            return  # it took so long to get here that there is nothing left to announce
        try:
            self._roster.previewed(held, self._parts.show(held.assignment, frame))
        except Exception:
            self._log.exception("preview_broke", **_fields(held))

    def _finish_frames(self, held: Held, frames: NDArray[np.uint8]) -> None:
        watch = HeldWatch(self._roster, held)
        end: End
        try:
            watch.enter(Stage.FINISHING)
            end = Rendered(result=self._parts.finish(held.assignment, frames, watch))
        except _Cancelled:
            end = Stopped(gpu_seconds=held.gpu_seconds)
        except Exception as error:
            self._log.exception("render_broke", **_fields(held))
            end = Broke(failure=failure_of(error), gpu_seconds=held.gpu_seconds)
        self._end(held, end)

    def _end(self, held: Held, end: End) -> None:
        self._roster.end(held, end)
        self._log.info("render_ended", end=type(end).__name__.lower(), step=held.step, **_fields(held))


def _fields(held: Held) -> dict[str, object]:
    return {"job": held.assignment.job_id.hex, "attempt": held.assignment.claim}

"""The step loop: what `choice` says moves on the GPU; everything else goes on beside it, on threads of its own.

Five pieces: `fetching.py` gets what renders begin with, `choice.py` says what moves next, this file makes the move,
`saving.py` stores checkpoints, `finishing.py` makes frames into videos. Nothing here knows torch or S3: the parts that
do are given (`parts.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Generic, TypeVar
from uuid import UUID

from structlog.stdlib import BoundLogger

from orchestrator.domain.failure import FailureCode
from orchestrator.domain.job import Failure, Incident
from orchestrator.domain.protocol import Broke, Stage, Stopped
from workers.engine import ladder
from workers.engine.choice import Act
from workers.engine.failures import failure_of
from workers.engine.fetching import Fetching
from workers.engine.finishing import Finishing
from workers.engine.held import Held
from workers.engine.ladder import DecodeAgain, StartOver
from workers.engine.parts import Decoding, Material, Parts, Reading, Snapshot
from workers.engine.reading import require_whole
from workers.engine.roster import Roster
from workers.engine.saving import Saving

R = TypeVar("R")
T = TypeVar("T")


class Engine(Generic[R]):
    """Works through a roster with one model, in the thread that calls `run`.

    Every render that the model has begun is dropped once, however it ends.
    """

    def __init__(
        self, roster: Roster, parts: Parts[R], log: BoundLogger, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._renders = roster.renders
        self._schedule = roster.schedule
        self._model = parts.model
        self._log = log
        self._clock = clock
        # Every render that the model has begun and not dropped yet.
        self._begun: dict[UUID, R] = {}
        # Shapes (width, height, frames) that did not fit as a whole though nothing else was begun, but did in tiles.
        self._decodings: dict[tuple[int, int, int], DecodeAgain] = {}
        self._fetching = Fetching(roster.renders, roster.schedule, parts.fetch, log)
        self._finishing = Finishing(roster.renders, parts.finish, parts.show, log)
        self._saving = Saving(roster.renders, parts.save, log, clock)

    def run(self) -> None:
        """Render until the roster is closed, and then until the threads beside are done.

        Raises what broke the model for good, after every render that needed it has ended.
        """
        with self._fetching, self._finishing, self._saving:
            try:
                while (move := self._schedule.next()) is not None:
                    self._carry_out(*move)
                while self._begun:
                    self._model.drop(self._begun.popitem()[1])
            except Exception as error:
                message = f"the worker's model broke down: {error}"
                self._renders.abandon(Failure(code=FailureCode.WORKER_FAILED, message=message[:300]))
                raise

    def _carry_out(self, act: Act, moving: list[Held]) -> None:
        held = moving[0]
        match act:
            case Act.BEGIN:
                self._begin(held)
            case Act.STEP:
                self._step(moving)
            case Act.PREVIEW:
                self._preview(held)
            case Act.CHECKPOINT:
                self._checkpoint(held)
            case Act.DECODE:
                self._decode(held)
            case Act.DROP:
                self._drop(held)
                self._renders.end(held, Stopped(gpu_seconds=held.gpu_seconds))
            case Act.EVICT:
                self._evict(held)

    def _begin(self, held: Held) -> None:
        self._renders.enter(held, Stage.ENCODING)
        begun, _ = self._on_gpu([held], lambda: self._start(held))
        if isinstance(begun, Failure):
            self._broke(Act.BEGIN, held, begun)
        else:
            with self._renders.changing() as now:
                held.began(*begun, now)

    def _start(self, held: Held) -> tuple[str, Reading]:
        """Begin or restore; the render's fingerprint, and how its prompts were read."""
        spec, material = held.assignment.spec, held.material or Material()
        reading = self._model.read(spec)
        require_whole(reading, spec)
        numerics = self._model.numerics(spec)
        if material.snapshot is None:
            render = self._model.begin(spec, material.picture)
        else:
            render = self._model.restore(spec, material.snapshot)
        self._begun[held.assignment.token] = render
        return numerics, reading

    def _step(self, batch: Sequence[Held]) -> None:
        failures, seconds = self._on_gpu(batch, lambda: self._step_together(batch))
        if isinstance(failures, Failure):
            self._broke_together(batch, failures)
            return
        for held, failure in zip(batch, failures, strict=True):
            if failure is None:
                self._renders.stepped(held, seconds, batched=len(batch) > 1)
            else:
                self._broke(Act.STEP, held, failure)

    def _step_together(self, batch: Sequence[Held]) -> list[Failure | None]:
        errors = self._model.step([self._render(held) for held in batch])
        return [None if error is None else failure_of(error) for error in errors]

    def _broke_together(self, batch: Sequence[Held], failure: Failure) -> None:
        """A step raised. Whose fault it was shows when each steps alone, from now on."""
        if len(batch) == 1:
            self._broke(Act.STEP, batch[0], failure)
            return
        for held in batch:
            with self._renders.changing(urgent=True):
                held.group = None
                held.befall(Incident.BATCH_SPLIT)
        self._model.recover()

    def _preview(self, held: Held) -> None:
        frame, _ = self._on_gpu([held], lambda: self._model.preview(self._render(held)))
        if isinstance(frame, Failure):
            self._model.recover()  # whatever befalls a preview, its render goes on as long as the model can
        else:
            self._finishing.show(held, frame)

    def _checkpoint(self, held: Held) -> None:
        snapshot = self._snapshot(held)
        if snapshot is not None:
            self._saving.keep(held, snapshot)

    def _evict(self, held: Held) -> None:
        snapshot = None if held.stored else self._snapshot(held)
        self._drop(held)
        self._renders.enter(held, Stage.UPLOADING)
        self._saving.hand_back(held, snapshot)

    def _snapshot(self, held: Held) -> Snapshot | None:
        """A copy of a render as it is now; None when there can be none."""
        snapshot, _ = self._on_gpu([held], lambda: self._model.snapshot(self._render(held)))
        if not isinstance(snapshot, Failure):
            return replace(snapshot, numerics=held.rendered_under)
        with self._renders.changing(urgent=True):
            held.saved_at_s = held.gpu_seconds  # not again at once
            held.befall(Incident.CHECKPOINT_FAILED)
        self._model.recover()
        return None

    def _decode(self, held: Held) -> None:
        self._renders.enter(held, Stage.DECODING)
        if held.rung is None and (known := self._decodings.get(_shape(held))):
            self._decode_as(known, held)
        frames, seconds = self._on_gpu([held], lambda: self._model.decode(self._render(held), held.decoding))
        if isinstance(frames, Failure):
            self._broke(Act.DECODE, held, frames)
        else:
            if held.rung is not None and held.rung.how is Decoding.TILED and held.too_large:
                self._decodings[_shape(held)] = held.rung
            self._drop(held)
            self._renders.decoded(held, seconds)
            self._finishing.finish(held, frames)

    def _broke(self, act: Act, held: Held, failure: Failure) -> None:
        """A move of one render failed: take the next rung of the ladder."""
        spec = held.assignment.spec
        match ladder.below(act, failure, spec, decoding=held.decoding, incidents=held.incidents):
            case DecodeAgain() as rung:
                held.too_large = len(self._begun) == 1
                self._decode_as(rung, held)
            case StartOver(again, incident):
                self._drop(held)
                with self._renders.changing(urgent=True) as now:
                    held.befall(incident)
                    held.begin_again(again, now)
                    if held.cancelled or held.evicted:  # what has not begun need not begin to stop or to leave
                        self._renders.end(held, Stopped(gpu_seconds=held.gpu_seconds))
            case None:
                self._drop(held)
                self._renders.end(held, Broke(failure=failure, gpu_seconds=held.gpu_seconds))
        self._model.recover()

    def _decode_as(self, rung: DecodeAgain, held: Held) -> None:
        with self._renders.changing(urgent=True):
            held.rung = rung
            held.befall(rung.incident)

    def _render(self, held: Held) -> R:
        return self._begun[held.assignment.token]

    def _drop(self, held: Held) -> None:
        """Nobody steps this render any more; one that failed to begin is none."""
        token = held.assignment.token
        if token in self._begun:
            self._model.drop(self._begun.pop(token))

    def _on_gpu(self, moving: Sequence[Held], move: Callable[[], T]) -> tuple[T | Failure, float]:
        """Make a move for these renders; what came of it, or its failure, and the seconds of each one's share.

        As a value: an exception would keep alive the tensors of the call that failed.
        """
        started = self._clock()
        outcome: T | Failure
        try:
            outcome = move()
        except Exception as error:  # whatever it is, it must not reach another render
            self._log.exception("render_broke", **moving[0].names)
            outcome = failure_of(error)
        seconds = (self._clock() - started) / len(moving)
        for held in moving:
            self._renders.used(held, seconds)
        return outcome, seconds


def _shape(held: Held) -> tuple[int, int, int]:
    spec = held.assignment.spec
    return spec.width, spec.height, spec.num_frames

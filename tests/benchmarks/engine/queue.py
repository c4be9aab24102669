"""A real engine with a queue of renders, and nobody beside it: no actor, no bucket, frames finished as told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.catalog import ModelFamily
from orchestrator.domain.job import Artifact, Incident, RenderSpec, VideoResult
from orchestrator.domain.protocol import Assignment, Rendered
from orchestrator.telemetry import logs
from tests.support.bare import picture_of
from workers.engine.changes import Changes
from workers.engine.loop import Engine
from workers.engine.meter import Meter
from workers.engine.parts import Material, Parts, Watch
from workers.engine.roster import Roster

_OBJECT = Artifact(key="nowhere", size=1, sha256="0" * 64, content_type="video/mp4")
_PATIENCE_S = 900.0


class Timed:
    """A model that notes, in `gaps`, the seconds from each decode's end to whatever it is asked to do next."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._decoded_at: float | None = None
        self.gaps: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def begin(self, spec: RenderSpec, picture: NDArray[np.uint8] | None) -> Any:
        self._note()
        return self._model.begin(spec, picture)

    def step(self, renders: Any) -> Any:
        self._note()
        return self._model.step(renders)

    def decode(self, render: Any, how: Any) -> NDArray[np.uint8]:
        self._note()
        frames = self._model.decode(render, how)
        self._decoded_at = time.perf_counter()
        return frames

    def _note(self) -> None:
        if self._decoded_at is not None:
            self.gaps.append(time.perf_counter() - self._decoded_at)
            self._decoded_at = None


class Queue:
    """Gives an engine renders, one behind the other; its frames go to `finish_frames`, on the engine's own threads."""

    def __init__(self, family: ModelFamily, model: Any, finish_frames: Callable[[NDArray[np.uint8]], object]) -> None:
        self._finish_frames = finish_frames
        self._moved = threading.Condition()
        self._roster = Roster(Meter(family), Changes())
        parts = Parts(model=model, fetch=_fetch, finish=self._finish, show=_nowhere, save=_nowhere)
        self._engine = Engine(self._roster, parts, logs.get("benchmark"))
        self._thread = threading.Thread(target=self._engine.run, name="engine")

    def __enter__(self) -> Queue:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._roster.close()
        self._thread.join(_PATIENCE_S)

    def render(self, *specs: RenderSpec) -> list[tuple[Incident, ...]]:
        """Render all of them, each assigned as soon as there is room; what befell each.

        Raises `RuntimeError` when one has failed.
        """
        for spec in specs:
            token = uuid4()
            assignment = Assignment(job_id=token, claim=1, token=token, spec=spec, priority=10, incarnation="")
            self._until(lambda assignment=assignment: self._roster.assign(assignment))
        self._until(lambda: all(render.end for render in self._roster.statuses()))
        ended = self._roster.statuses()
        for render in ended:
            self._roster.forget(render.token)
        if failed := [render.end for render in ended if not isinstance(render.end, Rendered)]:
            raise RuntimeError(f"not every render was finished: {failed}")
        return [render.incidents for render in ended]

    def _until(self, come: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        with self._moved:
            while not come():
                if not self._thread.is_alive() or time.monotonic() > deadline:
                    raise RuntimeError(f"the queue stands still: {self._roster.statuses()}")
                self._moved.wait(0.05)

    def _finish(self, assignment: Assignment, frames: NDArray[np.uint8], watch: Watch) -> VideoResult:
        self._tell()
        self._finish_frames(frames)
        return VideoResult(
            video=_OBJECT,
            cover=_OBJECT,
            width=frames.shape[2],
            height=frames.shape[1],
            num_frames=frames.shape[0],
            fps=assignment.spec.fps,
            gpu_seconds=watch.gpu_seconds,
        )

    def _tell(self) -> None:
        with self._moved:
            self._moved.notify_all()


def _fetch(assignment: Assignment, wanted: Callable[[], bool]) -> Material:
    return Material(picture=picture_of(assignment.spec))


def _nowhere(*_: object) -> Any:
    raise AssertionError("the queue shows no previews and stores no checkpoints")

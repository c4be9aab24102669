"""Real models in an actor: one that stops where a test says, and a finisher that keeps what came out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.domain.errors import RenderFailed
from orchestrator.domain.job import VideoResult
from orchestrator.domain.protocol import Assignment
from tests.support.builders import a_result
from tests.support.workers import Gate, parts
from workers.actor import Assemble
from workers.engine.parts import Finish, Watch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from workers.cogvideox.model import CogVideoX
    from workers.cogvideox.render import Render


class Gated:
    """A real model that stops once, before the step `at` of the render with the seed `seed`."""

    def __init__(self, model: CogVideoX, gate: Gate, at: int, seed: int = 7) -> None:
        self._model = model
        self._gate = gate
        self._before = (seed, at)

    def step(self, renders: Sequence[Render]) -> list[RenderFailed | None]:
        if self._before in [(render.spec.seed, render.step) for render in renders]:
            self._gate.stop_here()
        return self._model.step(renders)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


class Frames:
    """Finishes by keeping the frames, and what is told of how they came about, by seed."""

    def __init__(self) -> None:
        self.by_seed: dict[int, NDArray[np.uint8]] = {}
        self.told: dict[int, VideoResult] = {}

    def __call__(self, assignment: Assignment, frames: NDArray[np.uint8], watch: Watch) -> VideoResult:
        seed = assignment.spec.seed
        self.by_seed[seed] = frames
        self.told[seed] = a_result(
            numerics=watch.numerics,
            continuity=watch.continuity,
            resumed_at=watch.resumed_at,
            incidents=watch.incidents,
            prompt_tokens=watch.prompt_tokens,
        )
        return self.told[seed]


def given(model: Any, finish: Finish, **others: Any) -> Assemble:
    """An actor's parts: this model, this way to finish, and whatever else."""
    return lambda plan, scratch: parts(model, finish, **others)

"""Workers without a GPU: a scripted model for the engine, and how to talk to an actor."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from orchestrator.config import S3Settings
from orchestrator.domain.job import Artifact, RenderSpec, VideoResult, claim_prefix
from orchestrator.domain.protocol import Assignment, Caller, RenderStatus, WorkerState, WorkerStatus
from orchestrator.ports import WorkerPlan
from tests.support.builders import a_result, a_spec
from workers.actor import Assemble, RenderActor
from workers.choice import Act
from workers.engine import Fetch, Finish, Parts, Show, Watch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CALLER = Caller(epoch=1)

# Long enough for a busy machine; nothing waits this long unless it fails.
PATIENCE_S = 30.0


class Gate:
    """A point that a thread stops at until a test lets it through."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def stop_here(self) -> None:
        self.reached.set()
        assert self.opened.wait(PATIENCE_S), "the test never opened the gate"

    def wait_reached(self) -> None:
        assert self.reached.wait(PATIENCE_S), "nothing reached the gate"


@dataclass
class ScriptedModel:
    """A model whose moves are recorded, and stop or fail where `before(act, spec, step)` says so."""

    before: Callable[[Act, RenderSpec, int], None] = lambda act, spec, step: None
    moves: list[tuple[Act, int]] = field(default_factory=list)
    recoveries: int = 0
    broken: Exception | None = None

    def begin(self, spec: RenderSpec, picture: NDArray[np.uint8] | None) -> list[Any]:
        assert (picture is None) is (spec.image is None)
        self._move(Act.BEGIN, spec, 0)
        return [spec, 0]

    def step(self, render: list[Any]) -> None:
        spec, step = render
        self._move(Act.STEP, spec, step)
        render[1] += 1

    def preview(self, render: list[Any]) -> NDArray[np.uint8]:
        import numpy as np

        spec, step = render
        self._move(Act.PREVIEW, spec, step)
        return np.full((spec.height, spec.width, 3), spec.seed, np.uint8)

    def decode(self, render: list[Any]) -> NDArray[np.uint8]:
        import numpy as np

        spec, step = render
        assert step == spec.num_inference_steps
        self._move(Act.DECODE, spec, step)
        return np.full((spec.num_frames, spec.height, spec.width, 3), spec.seed, np.uint8)

    def recover(self) -> None:
        self.recoveries += 1
        if self.broken:
            raise self.broken

    def _move(self, act: Act, spec: RenderSpec, step: int) -> None:
        self.moves.append((act, spec.seed))
        self.before(act, spec, step)


def finish_at_once(assignment: Assignment, frames: NDArray[np.uint8], watch: Watch) -> VideoResult:
    return a_result(gpu_seconds=watch.gpu_seconds, stages=watch.stages)


def no_picture(assignment: Assignment, wanted: Callable[[], bool]) -> NDArray[np.uint8]:
    raise AssertionError("a picture was asked for")


def show_nowhere(assignment: Assignment, frame: NDArray[np.uint8]) -> Artifact:
    key = f"{claim_prefix(assignment.job_id, assignment.claim)}preview.webp"
    return Artifact(key=key, size=1, sha256="2" * 64, content_type="image/webp")


def parts(
    model: Any, finish: Finish = finish_at_once, *, fetch: Fetch = no_picture, show: Show = show_nowhere
) -> Parts[Any]:
    """A worker's parts, of which only the model does anything unless more are given."""
    return Parts(model=model, fetch=fetch, finish=finish, show=show)


def an_assignment(incarnation: str = "", **changes: Any) -> Assignment:
    """One render of a tiny spec with `changes`."""
    return Assignment(
        job_id=uuid4(), claim=1, token=uuid4(), spec=a_spec(**changes), priority=10, incarnation=incarnation
    )


def a_plan(family: str = "tiny-2b", path: Path = Path("nowhere"), s3: S3Settings | None = None) -> WorkerPlan:
    return WorkerPlan(name="small-0", pool="small", model=family, family=family, path=path, s3=s3 or S3Settings())


@contextmanager
def an_actor(plan: WorkerPlan, assemble: Assemble | None = None) -> Iterator[RenderActor]:
    actor = RenderActor(plan, assemble=assemble) if assemble else RenderActor(plan)
    try:
        yield actor
    finally:
        actor.close()


async def until(actor: RenderActor, wanted: Callable[[WorkerStatus], bool]) -> WorkerStatus:
    """Long-poll an actor until its status is as wanted."""
    status = await actor.poll(CALLER, 0, 0)
    async with asyncio.timeout(PATIENCE_S):
        while not wanted(status):
            status = await actor.poll(CALLER, status.version, PATIENCE_S)
    return status


async def ready(actor: RenderActor) -> WorkerStatus:
    return await until(actor, lambda status: status.state is not WorkerState.LOADING)


async def assigned(actor: RenderActor, **changes: Any) -> Assignment:
    """Wait until the actor is ready, and assign it a render."""
    status = await ready(actor)
    assignment = an_assignment(status.worker.incarnation, **{"model": status.model, **changes})
    answer = await actor.assign(CALLER, assignment)
    assert answer == "accepted", answer
    return assignment


def render_of(status: WorkerStatus, token: UUID) -> RenderStatus:
    return next(render for render in status.renders if render.token == token)


async def ended(actor: RenderActor, token: UUID) -> RenderStatus:
    """Wait for a render's end."""
    return render_of(await until(actor, lambda status: render_of(status, token).end is not None), token)

"""Workers without a GPU: a scripted model for the engine, and how to talk to an actor."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from orchestrator.config import PoolSettings, S3Settings
from orchestrator.domain.errors import RenderFailed
from orchestrator.domain.job import Artifact, Checkpoint, RenderSpec, VideoResult
from orchestrator.domain.objects import checkpoint_prefix, claim_prefix
from orchestrator.domain.protocol import Assignment, Caller, RenderStatus, WorkerState, WorkerStatus
from orchestrator.ports import WorkerPlan
from tests.support.builders import a_result, a_spec
from workers.actor import Assemble, RenderActor
from workers.engine.choice import Act
from workers.engine.parts import Decoding, Fetch, Finish, Material, Parts, Reading, Save, Show, Snapshot, Watch

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


@dataclass(eq=False)
class ScriptedRender:
    """What a `ScriptedModel` has begun."""

    spec: RenderSpec
    step: int = 0


@dataclass
class ScriptedModel:
    """A model whose moves are recorded, and stop or fail where `before(act, spec, step)` says so.

    `batches` are the seeds that stepped together, `begun` counts renders begun or restored, `dropped` those dropped.
    `before` raises for one render of a batch alone; what `poison(specs)` raises befalls the batch.
    """

    before: Callable[[Act, RenderSpec, int], None] = lambda act, spec, step: None
    poison: Callable[[Sequence[RenderSpec]], None] = lambda specs: None
    prefix: str = "here"
    grey: int = 128
    frozen: bool = False
    adapters: tuple[str, ...] = ()
    moves: list[tuple[Act, int]] = field(default_factory=list)
    steps: list[tuple[int, int]] = field(default_factory=list)
    batches: list[tuple[int, ...]] = field(default_factory=list)
    decodings: list[Decoding] = field(default_factory=list)
    begun: list[ScriptedRender] = field(default_factory=list)
    dropped: list[ScriptedRender] = field(default_factory=list)
    recoveries: int = 0
    reads: int = 226
    broken: Exception | None = None

    def numerics(self, spec: RenderSpec) -> str:
        return f"{self.prefix}-{spec.profile}"

    def read(self, spec: RenderSpec) -> Reading:
        return Reading(prompt=len(spec.prompt.split()), negative=len(spec.negative_prompt.split()), limit=self.reads)

    def begin(self, spec: RenderSpec, picture: NDArray[np.uint8] | None) -> ScriptedRender:
        assert (picture is None) is (spec.image is None)
        self._move(Act.BEGIN, spec, 0)
        return self._begun(ScriptedRender(spec))

    def restore(self, spec: RenderSpec, snapshot: Snapshot) -> ScriptedRender:
        self._move(Act.BEGIN, spec, snapshot.step)
        return self._begun(ScriptedRender(spec, snapshot.step))

    def snapshot(self, render: ScriptedRender) -> Snapshot:
        assert render not in self.dropped
        self._move(Act.CHECKPOINT, render.spec, render.step)
        return Snapshot(step=render.step, numerics=self.numerics(render.spec), tensors={})

    def step(self, renders: Sequence[ScriptedRender]) -> list[RenderFailed | None]:
        assert not any(render in self.dropped for render in renders)
        self.batches.append(tuple(render.spec.seed for render in renders))
        self.poison([render.spec for render in renders])
        return [self._step(render, alone=len(renders) == 1) for render in renders]

    def preview(self, render: ScriptedRender) -> NDArray[np.uint8]:
        import numpy as np

        self._move(Act.PREVIEW, render.spec, render.step)
        return np.full((render.spec.height, render.spec.width, 3), render.spec.seed, np.uint8)

    def decode(self, render: ScriptedRender, how: Decoding) -> NDArray[np.uint8]:
        import numpy as np

        spec = render.spec
        assert render.step == spec.num_inference_steps
        assert render not in self.dropped
        self.decodings.append(how)
        self._move(Act.DECODE, spec, render.step)
        frames = np.full((spec.num_frames, spec.height, spec.width, 3), self.grey, np.uint8)
        if not self.frozen:
            frames[1::2] ^= 1
        return frames

    def drop(self, render: ScriptedRender) -> None:
        self.dropped.append(render)

    def recover(self) -> None:
        self.recoveries += 1
        if self.broken:
            raise self.broken

    def _begun(self, render: ScriptedRender) -> ScriptedRender:
        self.begun.append(render)
        return render

    def _step(self, render: ScriptedRender, *, alone: bool) -> RenderFailed | None:
        try:
            self._move(Act.STEP, render.spec, render.step)
        except RenderFailed as error:
            if alone:
                raise
            return error
        self.steps.append((render.spec.seed, render.step))
        render.step += 1
        return None

    def _move(self, act: Act, spec: RenderSpec, step: int) -> None:
        self.moves.append((act, spec.seed))
        self.before(act, spec, step)


def finish_at_once(assignment: Assignment, frames: NDArray[np.uint8], watch: Watch) -> VideoResult:
    return a_result(gpu_seconds=watch.gpu_seconds, stages=watch.stages)


def no_material(assignment: Assignment, wanted: Callable[[], bool]) -> Material:
    raise AssertionError("something was to be fetched")


def show_nowhere(assignment: Assignment, frame: NDArray[np.uint8]) -> Artifact:
    key = f"{claim_prefix(assignment.job_id, assignment.claim)}preview.webp"
    return Artifact(key=key, size=1, sha256="2" * 64, content_type="image/webp")


def save_nowhere(assignment: Assignment, snapshot: Snapshot) -> Checkpoint:
    key = f"{checkpoint_prefix(assignment.job_id, assignment.claim)}{snapshot.step}.safetensors"
    artifact = Artifact(key=key, size=1, sha256="4" * 64, content_type="application/octet-stream")
    return Checkpoint(artifact=artifact, step=snapshot.step, numerics=snapshot.numerics)


def parts(
    model: Any,
    finish: Finish = finish_at_once,
    *,
    fetch: Fetch = no_material,
    show: Show = show_nowhere,
    save: Save = save_nowhere,
) -> Parts[Any]:
    """A worker's parts, of which only the model does anything unless more are given."""
    return Parts(model=model, fetch=fetch, finish=finish, show=show, save=save)


def an_assignment(
    incarnation: str = "",
    *,
    priority: int = 10,
    checkpoint: Checkpoint | None = None,
    tenant: str = "acme",
    **changes: Any,
) -> Assignment:
    """One render of a tiny spec with `changes`."""
    return Assignment(
        job_id=uuid4(),
        claim=1,
        token=uuid4(),
        spec=a_spec(**changes),
        priority=priority,
        incarnation=incarnation,
        checkpoint=checkpoint,
        tenant=tenant,
    )


def a_plan(
    family: str = "tiny-2b", source: Path | str = "nowhere", s3: S3Settings | None = None, **settings: Any
) -> WorkerPlan:
    """A worker of the pool `small`, whose cache is beside its files; `settings` are the pool's."""
    return WorkerPlan(
        name="small-0",
        pool="small",
        model=family,
        family=family,
        source=str(source),
        cache=Path(source).parent if Path(source).is_absolute() else Path("nowhere"),
        settings=PoolSettings(model=family, **settings),
        s3=s3 or S3Settings(),
    )


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

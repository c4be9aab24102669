"""A `WorkerPool` in memory whose workers render on command, crash, hang and lose replies, all by the caller's choice.

The contract suite of the port (tests/contract/test_worker_pool.py) holds it to the same promises as the one on Ray.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar
from uuid import UUID, uuid4

from orchestrator.domain.errors import ProtocolMismatch, StaleEpoch, WorkerLost, WorkerUnreachable
from orchestrator.domain.job import Artifact, VideoResult, WorkerRef, claim_prefix
from orchestrator.domain.protocol import (
    PROTOCOL_VERSION,
    Answer,
    Assignment,
    Broke,
    Caller,
    Rendered,
    RenderStatus,
    Stage,
    Stopped,
    WorkerState,
    WorkerStatus,
)
from orchestrator.ports import Clock, WorkerPlan

T = TypeVar("T")

Publish = Callable[[Assignment], VideoResult]


class VirtualClock:
    """A `Clock` on which sleeping takes no time at all, and time passes by sleeping."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


@dataclass(slots=True)
class SimulatedWorker:
    """One worker. Renders move only when `advance` is called."""

    plan: WorkerPlan
    clock: Clock
    incarnation: str = field(default_factory=lambda: uuid4().hex)
    epoch: int = 0
    version: int = 1
    draining: bool = False
    reachable: bool = True
    hung: bool = False
    released: set[UUID] = field(default_factory=set)
    renders: dict[UUID, tuple[Assignment, RenderStatus]] = field(default_factory=dict)
    moved_at: dict[UUID, float] = field(default_factory=dict)

    @property
    def live(self) -> list[UUID]:
        return [token for token, (_, status) in self.renders.items() if status.end is None]

    def update(self, token: UUID, **changes: object) -> None:
        assignment, status = self.renders[token]
        self.renders[token] = (assignment, replace(status, **changes))  # type: ignore[arg-type]
        self.moved_at[token] = self.clock.monotonic()
        self.version += 1

    def status(self) -> WorkerStatus:
        now = self.clock.monotonic()
        return WorkerStatus(
            worker=WorkerRef(name=self.plan.name, incarnation=self.incarnation),
            pool=self.plan.pool,
            plan=self.plan.fingerprint,
            model=self.plan.model,
            state=WorkerState.DRAINING if self.draining else WorkerState.READY,
            version=self.version,
            free_in_s=0.1 * len(self.live),
            room=max(0, 2 - len(self.live)),
            step_s=0.1,
            gpu_busy_s=0.0,
            renders=tuple(
                replace(status, progress_age_s=now - self.moved_at[token])
                for token, (_, status) in self.renders.items()
            ),
        )


class SimulatedPool:
    """Workers by name. `publish` is called when a render finishes, as the real worker uploads before it reports."""

    def __init__(self, clock: Clock, publish: Publish) -> None:
        self.clock = clock
        self.publish = publish
        self.workers: dict[str, SimulatedWorker] = {}
        self.lose_replies: set[str] = set()

    # ------------------------------------------------------------ the port
    async def list_workers(self) -> list[str]:
        return sorted(self.workers)

    async def start(self, plan: WorkerPlan) -> None:
        self.workers.setdefault(plan.name, SimulatedWorker(plan, self.clock))

    async def kill(self, name: str, *, restart: bool) -> None:
        worker = self.workers.pop(name, None)
        if worker is not None and restart:
            self.workers[name] = SimulatedWorker(worker.plan, self.clock)

    async def poll(self, name: str, caller: Caller, *, version: int, timeout_s: float) -> WorkerStatus:
        worker = self._reach(name, caller)
        if worker.version == version:
            await self.clock.sleep(timeout_s)
        return self._reply(name, worker.status())

    async def assign(self, name: str, caller: Caller, assignment: Assignment) -> Answer:
        worker = self._reach(name, caller)
        answer = self._judge(worker, assignment)
        if answer is Answer.ACCEPTED and assignment.token not in worker.renders:
            steps = assignment.spec.num_inference_steps
            worker.renders[assignment.token] = (
                assignment,
                RenderStatus(
                    token=assignment.token,
                    job_id=assignment.job_id,
                    claim=assignment.claim,
                    stage=Stage.ASSIGNED,
                    step=0,
                    steps=steps,
                    progress_age_s=0.0,
                ),
            )
            worker.update(assignment.token)
        return self._reply(name, answer)

    async def release(self, name: str, caller: Caller, token: UUID) -> bool:
        worker = self._reach(name, caller)
        held = worker.renders.get(token)
        if held is not None and held[1].stage is Stage.ASSIGNED:
            worker.released.add(token)
            worker.update(token, stage=Stage.ENDED, end=Stopped())
        return self._reply(name, token in worker.released)

    async def cancel(self, name: str, caller: Caller, token: UUID) -> None:
        worker = self._reach(name, caller)
        if token in worker.live:
            worker.update(token, stage=Stage.ENDED, end=Stopped())
        self._reply(name, None)

    async def forget(self, name: str, caller: Caller, token: UUID) -> None:
        worker = self._reach(name, caller)
        if token in worker.renders and token not in worker.live:
            del worker.renders[token]
            worker.version += 1
        self._reply(name, None)

    async def drain(self, name: str, caller: Caller) -> None:
        worker = self._reach(name, caller)
        worker.draining = True
        worker.version += 1

    # ------------------------------------------------------------ the faults
    def advance(self, name: str) -> None:
        """Move the worker's first live render along: a step, and at the last one the upload and the end."""
        worker = self.workers[name]
        if worker.hung or not worker.live:
            return
        token = worker.live[0]
        assignment, status = worker.renders[token]
        if status.step < status.steps:
            preview = _preview(assignment) if status.step * 2 >= status.steps else None
            worker.update(token, stage=Stage.DENOISING, step=status.step + 1, preview=preview)
        elif status.stage is Stage.DENOISING:
            worker.update(token, stage=Stage.UPLOADING)
        else:
            worker.update(token, stage=Stage.ENDED, end=Rendered(result=self.publish(assignment)))

    def upload_unseen(self, name: str) -> None:
        """Finish the upload of the first live render and crash before anyone hears of it."""
        worker = self.workers[name]
        if worker.live:
            self.publish(worker.renders[worker.live[0]][0])
        self.crash(name)

    def crash(self, name: str) -> None:
        """Kill the process; it comes back empty, as a new incarnation."""
        self.workers[name] = SimulatedWorker(self.workers[name].plan, self.clock)

    def vanish(self, name: str) -> None:
        """The node is gone, and the worker with it."""
        del self.workers[name]

    def break_render(self, name: str, end: Broke) -> None:
        """End the first live render with an error."""
        worker = self.workers[name]
        if worker.live:
            worker.update(worker.live[0], stage=Stage.ENDED, end=end)

    # ------------------------------------------------------------ inside
    def _reach(self, name: str, caller: Caller) -> SimulatedWorker:
        worker = self.workers.get(name)
        if worker is None:
            raise WorkerLost(f"no actor is named {name}")
        if not worker.reachable:
            raise WorkerUnreachable(f"{name} does not answer")
        if caller.protocol != PROTOCOL_VERSION:
            raise ProtocolMismatch(f"{name} speaks protocol {PROTOCOL_VERSION}, its caller {caller.protocol}")
        if caller.epoch < worker.epoch:
            raise StaleEpoch(f"epoch {caller.epoch} is older than {worker.epoch}")
        worker.epoch = caller.epoch
        return worker

    def _reply(self, name: str, value: T) -> T:
        if name in self.lose_replies:
            self.lose_replies.discard(name)
            raise WorkerUnreachable(f"the reply of {name} was lost")
        return value

    def _judge(self, worker: SimulatedWorker, assignment: Assignment) -> Answer:
        if assignment.incarnation != worker.incarnation:
            return Answer.WRONG_INCARNATION
        if assignment.token in worker.renders:
            return Answer.ACCEPTED
        if worker.draining:
            return Answer.DRAINING
        if assignment.spec.model != worker.plan.model:
            return Answer.WRONG_MODEL
        return Answer.FULL if len(worker.live) >= 2 else Answer.ACCEPTED


def _preview(assignment: Assignment) -> Artifact:
    key = f"{claim_prefix(assignment.job_id, assignment.claim)}preview.webp"
    return Artifact(key=key, size=1, sha256="2" * 64, content_type="image/webp")

"""A `Workers` in memory whose workers render on command, crash, hang and lose replies, all by the caller's choice.

The contract suite of the port (tests/contract/workers/test_workers.py) holds it to the same promises as the one on Ray.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar
from uuid import UUID, uuid4

from orchestrator.domain.errors import ProtocolMismatch, StaleEpoch, WorkerLost, WorkerUnreachable
from orchestrator.domain.job import Artifact, Checkpoint, Continuity, Failure, Incident, VideoResult, WorkerRef
from orchestrator.domain.objects import checkpoint_prefix, claim_prefix
from orchestrator.domain.protocol import (
    PROTOCOL_VERSION,
    Answer,
    Assignment,
    Broke,
    Caller,
    HandedBack,
    Rendered,
    RenderStatus,
    Stage,
    Stopped,
    WorkerState,
    WorkerStatus,
)
from orchestrator.domain.timeline import extended
from orchestrator.ports import Clock, WorkerPlan

T = TypeVar("T")

Publish = Callable[[Assignment], VideoResult]
Save = Callable[[Assignment, int, str], Checkpoint]

CHECKPOINT_EVERY = 2


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
    """One worker. Renders move only when `advance` is called.

    The most urgent render steps, and one that it displaced can wait in memory. Every `CHECKPOINT_EVERY` steps, and when
    it is handed back, a render stores a checkpoint.
    """

    plan: WorkerPlan
    clock: Clock
    save: Save
    incarnation: str = field(default_factory=lambda: uuid4().hex)
    epoch: int = 0
    version: int = 1
    step_s: float = 0.1
    numerics: str = "a" * 16
    draining: bool = False
    evict_at: float = math.inf
    reachable: bool = True
    hung: bool = False
    sick: bool = False
    loading: bool = False
    error: str | None = None
    # Tenants that its room is not for.
    crowded: tuple[str, ...] = ()
    renders: dict[UUID, tuple[Assignment, RenderStatus]] = field(default_factory=dict)
    moved_at: dict[UUID, float] = field(default_factory=dict)
    # When each render was assigned, and when it entered its stage.
    times: dict[UUID, tuple[float, float]] = field(default_factory=dict)

    @property
    def live(self) -> list[UUID]:
        return [token for token, (_, status) in self.renders.items() if status.end is None]

    @property
    def on_gpu(self) -> list[UUID]:
        """Renders that have steps to do, the one that steps next first: the most urgent, and of those the first."""
        found = [token for token in self.live if self.renders[token][1].stage is not Stage.UPLOADING]
        return sorted(found, key=lambda token: self.renders[token][0].priority)

    @property
    def preempted(self) -> list[UUID]:
        return [token for token in self.live if self.renders[token][1].stage is Stage.PREEMPTED]

    @property
    def room(self) -> int:
        return max(0, 2 + len(self.preempted) - len(self.on_gpu))

    @property
    def interrupts(self) -> int | None:
        """What steps now, while nothing waits: there is memory for one."""
        begun = [token for token in self.on_gpu if self.renders[token][1].stage is Stage.DENOISING]
        return self.renders[begun[0]][0].priority if len(begun) == len(self.on_gpu) == 1 else None

    def update(self, token: UUID, **changes: object) -> None:
        assignment, status = self.renders[token]
        now = self.clock.monotonic()
        assigned, entered = self.times.setdefault(token, (now, now))
        if changes.get("stage", status.stage) is not status.stage:
            changes["periods"] = extended(status.periods, status.stage.value, entered - assigned, now - entered)
            self.times[token] = assigned, now
        self.renders[token] = (assignment, replace(status, **changes))  # type: ignore[arg-type]
        self.moved_at[token] = now
        self.version += 1

    def step(self, token: UUID) -> None:
        """Denoise one step; what stepped before waits."""
        for other in self.on_gpu[1:]:
            waits = self.renders[other][1]
            if waits.stage is Stage.DENOISING:
                self.update(other, stage=Stage.PREEMPTED, incidents=(*waits.incidents, Incident.PREEMPTED))
        assignment, status = self.renders[token]
        step = (self.resumes_at(assignment) if status.stage is Stage.ASSIGNED else status.step) + 1
        if step > status.steps:
            self.update(token, stage=Stage.DENOISING, step=status.steps)
            return
        if assignment.checkpoint is not None and assignment.checkpoint.numerics == self.numerics:
            assert step > assignment.checkpoint.step, "a step was rendered twice that a checkpoint had"
        self.update(token, stage=Stage.DENOISING, step=step)
        if step * 2 >= status.steps:
            self.update(token, preview=_preview(assignment))
        if step % CHECKPOINT_EVERY == 0:
            self.update(token, checkpoint=self.save(assignment, step, self.numerics))

    def resumes_at(self, assignment: Assignment) -> int:
        """The steps that its checkpoint saves it here."""
        checkpoint, anywhere = assignment.checkpoint, assignment.spec.resume_anywhere
        return checkpoint.step if checkpoint is not None and (anywhere or checkpoint.numerics == self.numerics) else 0

    def hand_back(self, token: UUID) -> None:
        """Give a render back before its end, if that is still possible."""
        assignment, status = self.renders[token]
        if status.stage is Stage.ASSIGNED:
            self.update(token, stage=Stage.ENDED, end=Stopped())
        elif status.stage in (Stage.DENOISING, Stage.PREEMPTED):
            checkpoint = self.save(assignment, status.step, self.numerics)
            end = HandedBack(reason="evicted", checkpoint=checkpoint, gpu_seconds=0.1)
            self.update(token, stage=Stage.ENDED, checkpoint=checkpoint, end=end)

    def status(self) -> WorkerStatus:
        now = self.clock.monotonic()
        if now >= self.evict_at and not self.hung:
            for token in self.live:
                self.hand_back(token)
        return WorkerStatus(
            worker=WorkerRef(name=self.plan.name, incarnation=self.incarnation),
            pool=self.plan.pool,
            plan=self.plan.fingerprint,
            model=self.plan.model,
            state=self._state,
            version=self.version,
            free_in_s=self.step_s * sum(status.steps - status.step for status in map(self._status, self.on_gpu)),
            room=self.room,
            step_s=self.step_s,
            gpu_busy_s=0.0,
            interrupts=self.interrupts,
            numerics=self.numerics,
            error=self.error,
            crowded=self.crowded,
            renders=tuple(self._told(token, now) for token in self.renders),
        )

    def _told(self, token: UUID, now: float) -> RenderStatus:
        status, (assigned, entered) = self.renders[token][1], self.times[token]
        since_s, went_on_s = entered - assigned, now - entered
        live = status.end is None
        periods = extended(status.periods, status.stage.value, since_s, went_on_s) if live else status.periods
        age_s = now - assigned
        return replace(status, progress_age_s=now - self.moved_at[token], age_s=age_s, periods=periods)

    @property
    def _state(self) -> WorkerState:
        if self.error is not None:
            return WorkerState.BROKEN
        if self.loading:
            return WorkerState.LOADING
        return WorkerState.DRAINING if self.draining else WorkerState.READY

    def _status(self, token: UUID) -> RenderStatus:
        return self.renders[token][1]


def _unsaved(assignment: Assignment, step: int, numerics: str) -> Checkpoint:
    key = f"{checkpoint_prefix(assignment.job_id, assignment.claim)}{step}.safetensors"
    artifact = Artifact(key=key, size=1, sha256="3" * 64, content_type="application/octet-stream")
    return Checkpoint(artifact=artifact, step=step, numerics=numerics)


class SimulatedWorkers:
    """Workers by name. `publish` is called when a render finishes, as the real worker uploads before it reports.

    So is `save` at every checkpoint. `born` is called with every new life, and may keep it from loading; `starts` are
    the times of `start`.
    """

    def __init__(self, clock: Clock, publish: Publish, save: Save = _unsaved) -> None:
        self.clock = clock
        self.publish = publish
        self.save = save
        self.workers: dict[str, SimulatedWorker] = {}
        self.lose_replies: set[str] = set()
        self.born: Callable[[SimulatedWorker], None] = lambda _: None
        self.starts: list[float] = []
        # Where workers of kinds are, as the caller says.
        self.on_node: dict[str, str] = {}
        # Hosts that have GPUs, beside those on which workers are.
        self.vacant: set[str] = set()

    # ------------------------------------------------------------ the port
    async def list_workers(self) -> list[str]:
        return sorted(self.workers)

    async def nodes(self) -> dict[str, str]:
        return dict(self.on_node)

    async def hosts(self) -> dict[str, list[str]]:
        placed = {host: list[str]() for host in self.vacant} | {host: [] for host in self.on_node.values()}
        for worker in sorted(self.workers):
            if worker in self.on_node:
                placed[self.on_node[worker]].append(worker)
        return placed

    async def leftovers(self) -> list[str]:
        return []

    async def start(self, plan: WorkerPlan) -> None:
        self.starts.append(self.clock.monotonic())
        self.workers.setdefault(plan.name, self._born(plan))

    async def kill(self, name: str, *, restart: bool) -> None:
        worker = self.workers.pop(name, None)
        if worker is not None and restart:
            self.workers[name] = self._born(worker.plan, worker)

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

    async def evict(self, name: str, caller: Caller, token: UUID) -> None:
        worker = self._reach(name, caller)
        if token in worker.live and not worker.hung:
            worker.hand_back(token)
        self._reply(name, None)

    async def drain(self, name: str, caller: Caller, *, within_s: float | None = None) -> None:
        worker = self._reach(name, caller)
        worker.draining = True
        if within_s is not None:
            worker.evict_at = min(worker.evict_at, self.clock.monotonic() + within_s)
        worker.version += 1

    # ------------------------------------------------------------ the faults
    def advance(self, name: str) -> None:
        """Move one of the worker's renders along: end an upload, or else step; after the last step begin the upload."""
        worker = self.workers[name]
        if worker.hung or not worker.live:
            return
        uploading = [token for token in worker.live if token not in worker.on_gpu]
        if uploading:
            self._finish(worker, uploading[0])
            return
        token = worker.on_gpu[0]
        status = worker.renders[token][1]
        if worker.sick:
            failure = Failure(code="nan_frames", message="the model produced frames that are not finite numbers")
            worker.update(token, stage=Stage.ENDED, end=Broke(failure=failure, gpu_seconds=0.1))
        elif status.step < status.steps:
            worker.step(token)
        else:
            worker.update(token, stage=Stage.UPLOADING)

    def _finish(self, worker: SimulatedWorker, token: UUID) -> None:
        assignment = worker.renders[token][0]
        result, resumed_at = self.publish(assignment), worker.resumes_at(assignment)
        if assignment.checkpoint is not None:
            continuity = Continuity.RESUMED if resumed_at else Continuity.STARTED_OVER
            result = replace(result, continuity=continuity, resumed_at=resumed_at)
        worker.update(token, stage=Stage.ENDED, end=Rendered(result=result))

    def upload_unseen(self, name: str) -> None:
        """Finish the upload of the first live render and crash before anyone hears of it."""
        worker = self.workers[name]
        if worker.live:
            self.publish(worker.renders[worker.live[0]][0])
        self.crash(name)

    def crash(self, name: str) -> None:
        """Kill the process; it comes back empty, as a new incarnation."""
        self.workers[name] = self._born(self.workers[name].plan, self.workers[name])

    def vanish(self, name: str) -> None:
        """The node is gone, and the worker with it."""
        del self.workers[name]

    def break_render(self, name: str, end: Broke) -> None:
        """End the first live render with an error."""
        worker = self.workers[name]
        if worker.live:
            worker.update(worker.live[0], stage=Stage.ENDED, end=end)

    # ------------------------------------------------------------ inside
    def _born(self, plan: WorkerPlan, before: SimulatedWorker | None = None) -> SimulatedWorker:
        """A new life, on the same device as the one before."""
        worker = SimulatedWorker(plan, self.clock, self.save)
        if before is not None:
            worker.step_s, worker.numerics = before.step_s, before.numerics
        self.born(worker)
        return worker

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
        if assignment.renews:
            return Answer.FULL
        if worker.loading or worker.error is not None:
            return Answer.NOT_READY
        if worker.draining:
            return Answer.DRAINING
        if assignment.spec.model != worker.plan.model:
            return Answer.WRONG_MODEL
        return Answer.FULL if worker.room < 1 else Answer.ACCEPTED


def _preview(assignment: Assignment) -> Artifact:
    key = f"{claim_prefix(assignment.job_id, assignment.claim)}preview.webp"
    return Artifact(key=key, size=1, sha256="2" * 64, content_type="image/webp")

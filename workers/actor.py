"""The worker as a dispatcher sees it: the protocol on top of one engine. Knows neither Ray nor torch.

Held by the Ray actor of `workers/hosting.py`, whose event loop runs the methods; the model is loaded and stepped in a
thread, so that every call is answered at once, also while a model loads or a GPU hangs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from orchestrator.domain.delivery import Delivery
from orchestrator.domain.errors import ProtocolMismatch, StaleEpoch
from orchestrator.domain.job import RenderSpec, WorkerRef
from orchestrator.domain.protocol import PROTOCOL_VERSION, Answer, Assignment, Caller, WorkerState, WorkerStatus
from orchestrator.kit.importing import quickly
from orchestrator.ports import WorkerPlan
from orchestrator.telemetry import logs
from workers.engine.changes import Changes
from workers.engine.choice import Capacity
from workers.engine.loop import Engine
from workers.engine.meter import Meter
from workers.engine.parts import Model, Parts
from workers.engine.roster import Roster
from workers.scratch import Scratch

if TYPE_CHECKING:
    from orchestrator.adapters.s3_urls import Wallet

Assemble = Callable[[WorkerPlan, Path], Parts[Any]]


def _assemble(plan: WorkerPlan, scratch: Path) -> Parts[Any]:
    with quickly():
        from workers.assembly import assemble  # imports torch, which takes seconds

    return assemble(plan, scratch)


def _exact(plan: WorkerPlan) -> RenderSpec:
    """A render of the plan's model as it comes, which nothing is approximated in."""
    family = plan.promised
    width, height = family.default_size
    frames = family.default_frames
    return RenderSpec(
        model=plan.model,
        prompt="",
        width=width,
        height=height,
        num_frames=frames,
        fps=family.fps,
        num_inference_steps=family.default_steps,
        guidance_scale=family.default_guidance,
        seed=0,
        delivery=Delivery(width=width, height=height, num_frames=frames, fps=family.fps),
    )


class RenderActor:
    """One worker: one model, one life. `assemble` loads the model and puts it together with what goes on beside it.

    Every call raises `StaleEpoch` when a newer dispatcher has called before, and `ProtocolMismatch` when the caller
    speaks another protocol.
    """

    def __init__(self, plan: WorkerPlan, *, assemble: Assemble = _assemble) -> None:
        self._plan = plan
        self._assemble = assemble
        self._ref = WorkerRef(name=plan.name, incarnation=uuid4().hex)
        self._log = logs.get("worker").bind(worker=plan.name, incarnation=self._ref.incarnation)
        self._scratch = Scratch()
        self._changes = Changes()
        # Moderation that looks at videos must see them before anyone does.
        moderated = plan.moderation.enabled and plan.moderation.video
        preview_at = 0.0 if moderated else plan.finish.preview_at
        self._roster = Roster(
            Meter(plan.promised),
            self._changes,
            capacity=Capacity(batch_size=plan.settings.batch_size, park_bytes=plan.engine.park_mib << 20),
            preview_at=preview_at,
            checkpoint_every_s=plan.engine.checkpoint_every_s,
        )
        self._model: Model[Any] | None = None
        # The URLs of what it holds, where it has no keys of S3.
        self._wallet: Wallet | None = None
        self._numerics = ""
        self._epoch = 0
        self._draining = False
        self._error: str | None = None
        self._thread = threading.Thread(target=self._live, name="engine", daemon=True)
        self._thread.start()

    async def poll(self, caller: Caller, version: int, timeout_s: float) -> WorkerStatus:
        """The worker's state as soon as its version is not `version`, or after `timeout_s`.

        A render that ended, room and the worker's state are announced at once; steps, a few times a second.
        """
        self._admit(caller)
        await self._changes.wait(version, timeout_s)
        self._admit(caller)  # a newer dispatcher may have called meanwhile
        return self._status()

    async def assign(self, caller: Caller, assignment: Assignment) -> Answer:
        """Hold a render, or say why not. A token that is held, also one that has ended, is accepted again."""
        self._admit(caller)
        if self._roster.holds(assignment.token):
            self._take(assignment)
            return Answer.ACCEPTED
        if assignment.renews:
            return Answer.FULL  # it has ended here: newer URLs are no reason to begin again
        if assignment.incarnation != self._ref.incarnation:
            return Answer.WRONG_INCARNATION
        if assignment.spec.model != self._plan.model:
            return Answer.WRONG_MODEL
        match self._state():
            case WorkerState.LOADING | WorkerState.BROKEN:
                return Answer.NOT_READY
            case WorkerState.DRAINING:
                return Answer.DRAINING
            case WorkerState.READY:
                self._take(assignment)  # first: fetching begins at once
                if self._roster.assign(assignment):
                    return Answer.ACCEPTED
                self._drop(assignment.token)
                return Answer.FULL

    async def release(self, caller: Caller, token: UUID) -> bool:
        """Called by nobody: workers of the release before have it (`HostedRenderActor` says why that counts).

        It goes when the recorded tree of the previous release has it no longer.
        """
        raise NotImplementedError

    async def cancel(self, caller: Caller, token: UUID) -> None:
        """Stop a render within one denoise step; one that is being uploaded is finished. Ignores unknown tokens."""
        self._admit(caller)
        self._roster.cancel(token)

    async def forget(self, caller: Caller, token: UUID) -> None:
        """Drop a render that has ended. Ignores unknown tokens, and renders that go on."""
        self._admit(caller)
        self._roster.forget(token)
        if not self._roster.holds(token):
            self._drop(token)

    async def evict(self, caller: Caller, token: UUID) -> None:
        """Hand a render back at the next step, with a checkpoint; it ends as `HandedBack`. Ignores unknown tokens.

        One that has not begun ends as `Stopped`; one whose frames are being finished ends as it would.
        """
        self._admit(caller)
        self._roster.evict(token, "evicted")

    async def drain(self, caller: Caller, within_s: float | None = None) -> None:
        """Take no more renders; those held go on to their end, or are evicted when `within_s` is over. No way back."""
        self._admit(caller)
        self._drain()
        if within_s is not None:
            timer = threading.Timer(within_s, self._roster.evict_all, ("the worker was drained",))
            timer.daemon = True
            timer.start()

    def leave(self, within_s: float) -> bool:
        """Take no more renders and hand back those that are held: the process must go. There is no way back.

        Blocks for up to `within_s`, until each has ended, its checkpoint stored if it could be, and the dispatcher has
        heard of it; whether they all have ended. For a thread of its own: polls are to be answered meanwhile.
        """
        self._drain()
        self._roster.evict_all("the worker has to go", within_s=within_s)
        return self._roster.wait_over(within_s)

    def close(self) -> None:
        """Stop at the next step, wait for the uploads, and remove what is on the disk. For whoever is not killed."""
        self._roster.close()
        self._thread.join()
        self._scratch.close()

    def _live(self) -> None:
        """The engine's thread: load the model, then render until the end."""
        started = time.monotonic()
        try:
            parts = self._assemble(self._plan, self._scratch.path)
            self._log.info("worker_ready", model=self._plan.model, seconds=round(time.monotonic() - started, 3))
            self._numerics = parts.model.numerics(_exact(self._plan))
            self._wallet = parts.wallet
            self._model = parts.model
            self._changes.urgent()
            Engine(self._roster, parts, self._log).run()
        except Exception as error:  # whatever it is, polls must be able to say it
            self._log.exception("worker_broken")
            self._error = f"{type(error).__name__}: {error}"
            self._changes.urgent()

    def _take(self, assignment: Assignment) -> None:
        if self._wallet is not None:
            self._wallet.take(assignment.token, assignment.reads, assignment.writes)

    def _drop(self, token: UUID) -> None:
        if self._wallet is not None:
            self._wallet.drop(token)

    def _drain(self) -> None:
        if not self._draining:
            self._draining = True
            self._roster.drain()

    def _admit(self, caller: Caller) -> None:
        if caller.protocol != PROTOCOL_VERSION:
            raise ProtocolMismatch(f"{self._ref.name} speaks protocol {PROTOCOL_VERSION}, its caller {caller.protocol}")
        if caller.epoch < self._epoch:
            raise StaleEpoch(f"{self._ref.name} was called by epoch {self._epoch}; this is epoch {caller.epoch}")
        self._epoch = caller.epoch

    def _state(self) -> WorkerState:
        if self._error is not None:
            return WorkerState.BROKEN
        if self._model is None:
            return WorkerState.LOADING
        return WorkerState.DRAINING if self._draining else WorkerState.READY

    def _status(self) -> WorkerStatus:
        # The version first: whatever changes after it is read is announced by the next one.
        version = self._changes.version
        state = self._state()
        ready = state is WorkerState.READY
        return WorkerStatus(
            worker=self._ref,
            pool=self._plan.pool,
            plan=self._plan.fingerprint,
            model=self._plan.model,
            state=state,
            version=version,
            free_in_s=self._roster.schedule.free_in_s if ready else float("inf"),
            room=self._roster.schedule.room if ready else 0,
            crowded=self._roster.schedule.crowded if ready else (),
            step_s=self._roster.step_s,
            gpu_busy_s=self._roster.gpu_busy_s,
            interrupts=self._roster.schedule.interrupts if ready else None,
            adapters=self._model.adapters if self._model else (),
            numerics=self._numerics,
            renders=self._roster.statuses(),
            error=self._error,
        )

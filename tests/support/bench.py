"""One worker of some pool, and a dispatcher's view of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import pytest

from orchestrator.dispatch.urls import Sign, keys_of
from orchestrator.domain.errors import WorkerUnreachable
from orchestrator.domain.protocol import Answer, Assignment, Caller, RenderStatus, WorkerState, WorkerStatus
from orchestrator.ports import WorkerPlan, Workers
from tests.support.builders import a_spec
from tests.support.simulated_workers import SimulatedWorkers


class Bench:
    """One worker of some pool, and a dispatcher's view of it."""

    def __init__(self, pool: Workers, plan: WorkerPlan, sign: Sign | None = None) -> None:
        self.pool = pool
        self.plan = plan
        self.name = plan.name
        self.caller = Caller(epoch=1)
        self._sign = sign

    async def status(self) -> WorkerStatus:
        return await self.pool.poll(self.name, self.caller, version=0, timeout_s=5)

    async def fresh(self) -> WorkerStatus:
        """A worker that is ready and holds nothing, started again if the last test has drained or ended it."""
        self.caller = Caller(epoch=self.caller.epoch + 1)
        await self.pool.start(self.plan)
        status = await self.until(lambda status: status.state is not WorkerState.LOADING)
        if status.state is not WorkerState.READY:
            await self.pool.kill(self.name, restart=True)
            return await self.until(lambda status: status.state is WorkerState.READY)
        for render in status.renders:
            await self.pool.cancel(self.name, self.caller, render.token)
        await self.until(lambda status: all(render.end for render in status.renders))
        for render in status.renders:
            await self.pool.forget(self.name, self.caller, render.token)
        return await self.until(lambda status: not status.renders)

    async def until(self, wanted: Callable[[WorkerStatus], object], *, within_s: float = 90) -> WorkerStatus:
        """Poll until `wanted(status)`, also across a restart; a simulated worker moves a little with each look."""
        deadline = time.monotonic() + within_s
        version = 0
        while time.monotonic() < deadline:
            try:
                status = await self.pool.poll(self.name, self.caller, version=version, timeout_s=0.2)
            except WorkerUnreachable:
                continue
            if wanted(status):
                return status
            version = status.version
            if isinstance(self.pool, SimulatedWorkers):
                self.pool.advance(self.name)
        pytest.fail("it never came")

    async def assign(self, *, steps: int = 4) -> Assignment:
        """Assign a new render to the present incarnation."""
        status = await self.status()
        assignment = Assignment(
            job_id=uuid4(),
            claim=1,
            token=uuid4(),
            spec=a_spec(model=self.plan.model, num_inference_steps=steps),
            priority=10,
            incarnation=status.worker.incarnation,
        )
        assignment = self.signed(assignment)
        assert await self.pool.assign(self.name, self.caller, assignment) is Answer.ACCEPTED
        return assignment

    def signed(self, assignment: Assignment) -> Assignment:
        """With the URLs that a worker without keys needs."""
        if self._sign is None:
            return assignment
        signed = self._sign(*keys_of(assignment))
        return replace(assignment, reads=signed.reads, writes=signed.writes)

    async def started(self, *, steps: int = 200) -> Assignment:
        """A render that is denoising."""
        assignment = await self.assign(steps=steps)
        await self.until(lambda status: (render := held(status, assignment)) and render.step > 0)
        return assignment

    async def ended(self, assignment: Assignment) -> RenderStatus:
        """The render, once it is over."""
        status = await self.until(lambda status: (render := held(status, assignment)) and render.end)
        render = held(status, assignment)
        assert render is not None
        return render


def held(status: WorkerStatus, assignment: Assignment) -> RenderStatus | None:
    return next((render for render in status.renders if render.token == assignment.token), None)

"""Ray actors whose steps sleep and are written down, for the benchmark of interactive jobs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import ray

from orchestrator.domain.job import RenderSpec
from orchestrator.ports import WorkerPlan
from orchestrator.telemetry import logs
from tests.support.workers import ScriptedModel, parts
from workers import placement
from workers.actor import RenderActor
from workers.cluster import RayWorkers
from workers.engine.choice import Act
from workers.hosting import HostedRenderActor


class TimedActor(HostedRenderActor):
    """The product's actor, whose steps sleep and are written down: when each began, and of which seed."""

    def __init__(self, plan: WorkerPlan, step_s: float, directory: str) -> None:
        logs.configure(plan.log, worker=plan.name)
        self._plan = plan
        told = (Path(directory) / plan.name).open("a", buffering=1)

        def move(act: Act, spec: RenderSpec, step: int) -> None:
            if act is Act.STEP:
                told.write(f"{time.time():.6f} {spec.seed} {step}\n")
                time.sleep(step_s)

        self._actor = RenderActor(plan, assemble=lambda plan, scratch: parts(ScriptedModel(before=move)))


class TimedWorkers(RayWorkers):
    """Ray's workers, each a `TimedActor`."""

    step_s = 0.0
    directory = ""

    def _start(self, plan: WorkerPlan) -> Any:
        actor = ray.remote(TimedActor).options(
            name=plan.name, namespace=self._namespace, lifetime="detached", get_if_exists=True, max_restarts=-1,
            max_task_retries=0, **placement.options(plan),
        )  # fmt: skip
        return actor.remote(plan, self.step_s, self.directory)

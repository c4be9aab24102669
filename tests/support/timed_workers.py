"""The product's Ray actors around a model whose steps sleep and are written down, with checkpoints in the real bucket.

They import no torch, so one starts in two seconds. Ray must have its environment before this is imported.
"""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from orchestrator.adapters.s3 import S3Objects
from orchestrator.domain.job import Checkpoint, RenderSpec
from orchestrator.domain.objects import checkpoint_key
from orchestrator.domain.protocol import Assignment
from orchestrator.ports import WorkerPlan
from orchestrator.telemetry import logs
from tests.support.workers import ScriptedModel, parts
from workers.actor import RenderActor
from workers.engine.choice import Act
from workers.engine.parts import Material, Parts, Snapshot
from workers.engine.resume import continuity
from workers.hosting import HostedRenderActor

STEP_S = 0.1
# With this file in the plan's `cache` steps take no time any more, so that renders end when the test has seen enough.
HURRY = "hurry"
# With this one there no model gets loaded.
STUCK = "stuck"


@dataclass(frozen=True)
class Life:
    """What one life of a worker has rendered, by seed: the steps in their order."""

    worker: str
    steps: dict[int, list[int]]


def lives(directory: Path) -> list[Life]:
    """Every life that has stepped so far, the first first."""
    found = []
    for path in sorted(directory.glob("*.steps"), key=lambda path: path.stat().st_ctime_ns):
        steps = defaultdict[int, list[int]](list)
        for line in path.read_text().splitlines():
            seed, step = line.split()
            steps[int(seed)].append(int(step))
        found.append(Life(path.name.rpartition(".")[0].rpartition(".")[0], dict(steps)))
    return found


class TimedActor(HostedRenderActor):
    """The product's, but for the model. Each life writes its steps to a file of its own in the plan's `cache`."""

    def __init__(self, plan: WorkerPlan) -> None:
        logs.configure(plan.log, worker=plan.name)
        self._plan = plan
        self._actor = RenderActor(plan, assemble=assemble)
        threading.Thread(target=self._leave_in_time, name="leave", daemon=True).start()


def assemble(plan: WorkerPlan, scratch: Path) -> Parts[Any]:
    while (plan.cache / STUCK).exists():
        time.sleep(STEP_S)
    told = (plan.cache / f"{plan.name}.{uuid4().hex}.steps").open("x", buffering=1)

    def before(act: Act, spec: RenderSpec, step: int) -> None:
        if act is Act.STEP:
            told.write(f"{spec.seed} {step}\n")
            time.sleep(0.0 if (plan.cache / HURRY).exists() else STEP_S)

    objects, model = S3Objects(plan.s3), ScriptedModel(before=before)

    def save(assignment: Assignment, snapshot: Snapshot) -> Checkpoint:
        key = checkpoint_key(assignment.job_id, assignment.claim, snapshot.step)
        document = json.dumps({"step": snapshot.step, "numerics": snapshot.numerics})
        artifact = objects.put(key, document.encode(), "application/octet-stream")
        return Checkpoint(artifact=artifact, step=snapshot.step, numerics=snapshot.numerics)

    def fetch(assignment: Assignment, wanted: Callable[[], bool]) -> Material:
        checkpoint = assignment.checkpoint
        if checkpoint is None:
            return Material()
        document = json.loads(objects.get(checkpoint.artifact.key))
        went_on = continuity(checkpoint, assignment.spec, model.numerics(assignment.spec))
        return Material(snapshot=Snapshot(**document, tensors={}), continuity=went_on)

    return parts(model, fetch=fetch, save=save)

"""Puts a real worker's parts together: the checkpoint on its device, and what goes from and to the bucket."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from orchestrator.adapters.moderation import Moderation
from orchestrator.adapters.s3 import S3Objects
from orchestrator.adapters.s3_urls import UrlObjects, Wallet
from orchestrator.domain.job import Incident, VideoResult
from orchestrator.domain.protocol import Assignment, Stage
from orchestrator.ports import WorkerPlan
from orchestrator.ports.objects import ClaimObjects
from workers.architectures import ARCHITECTURES, Meet
from workers.bucket import artifacts, checkpoints, inputs, previews
from workers.cogvideox import loading
from workers.engine.parts import Finish, Model, Parts, Watch
from workers.finish import Finisher

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def assemble(plan: WorkerPlan, scratch: Path, meet: Meet | None = None) -> Parts[Any]:
    """Load the plan's model and connect to its bucket; videos pass through `scratch`. Takes seconds to minutes.

    For a plan of several GPUs `meet` makes this process the leader of the ranks that share the model's work.
    """
    device = loading.device_here()
    if device.type == "cpu":
        # The actors of one machine share its cores; more than one thread each only makes them wait for each other.
        torch.set_num_threads(1)
    wallet = Wallet() if plan.s3.worker_access == "presigned" else None
    objects = S3Objects(plan.s3) if wallet is None else UrlObjects(plan.s3, wallet)
    # Before the model: a setting that cannot work is said at once, not after minutes.
    finish = publisher(objects, Finisher.load(plan.finish, device), Moderation(plan.moderation), scratch)
    model = model_of(plan, device, meet)
    return Parts(
        model=model,
        fetch=partial(inputs.fetch, objects, model.numerics),
        finish=finish,
        show=partial(previews.show, objects),
        save=partial(checkpoints.save, objects),
        wallet=wallet,
    )


def model_of(plan: WorkerPlan, device: torch.device, meet: Meet | None = None) -> Model[Any]:
    """The plan's model on `device`, built by its architecture. Raises `ConfigError`."""
    return ARCHITECTURES[plan.promised.architecture](plan, device, meet)


def publisher(objects: ClaimObjects, finisher: Finisher, moderation: Moderation, scratch: Path) -> Finish:
    """What turns a render's frames into objects of its claim."""

    def publish(assignment: Assignment, frames: NDArray[np.uint8], watch: Watch) -> VideoResult:
        directory = scratch / assignment.token.hex
        directory.mkdir()
        try:
            bad = partial(watch.befall, Incident.NON_FINITE)
            finished = finisher.finish(assignment, frames, directory, on_progress=watch.proceed, on_bad=bad)
            moderation.review_video(finished.video, assignment.job_id, assignment.spec)
            watch.enter(Stage.UPLOADING)
            return artifacts.publish(objects, assignment, finished, watch)
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    return publish

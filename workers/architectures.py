"""The registry of architectures: of each, the function that loads a worker's model and makes it ready to render."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch

from orchestrator.ports import WorkerPlan
from orchestrator.telemetry import logs
from workers import modelfiles
from workers.cogvideox import loading
from workers.cogvideox.acceleration import Acceleration
from workers.cogvideox.adapters import Adapters
from workers.cogvideox.model import CogVideoX
from workers.engine.parts import Model
from workers.parallel.group import Group
from workers.parallel.leader import Leader

Meet = Callable[[torch.device], Group]
Build = Callable[[WorkerPlan, torch.device, Meet | None], Model[Any]]


def cogvideox(plan: WorkerPlan, device: torch.device, meet: Meet | None = None) -> CogVideoX:
    """A CogVideoX on `device`, its files fetched first if this node has not got them. Raises `ConfigError`.

    With `meet` it is led by this process, and its ranks follow (`workers/parallel/follower.py`).
    """
    family = plan.promised
    log = modelfiles.to_log(logs.get("model"))
    resolve = partial(modelfiles.locate, cache=plan.cache, s3=plan.s3, on_progress=log)
    group = None if meet is None else meet(device)
    with nullcontext() if group is None else group.together():
        path = resolve(plan.source)
        modelfiles.require_whole(path)
        dtype = loading.dtype_for(path, family, device, plan.settings.dtype, ranks=plan.gpus)
        pipeline = loading.load(path, family, device, dtype)
    if group is None:
        acceleration = Acceleration.prepare(pipeline.transformer, family, device, plan.settings)
        transform, ranks = None, "1"
    else:
        transform = Leader(group, pipeline.transformer, family, device, plan.settings)
        acceleration, ranks = transform.acceleration, str(transform.mesh)
    return CogVideoX(
        pipeline,
        family,
        device,
        acceleration=acceleration,
        adapters=Adapters(pipeline, plan.adapters, resolve, plan.settings.adapters_cached),
        transform=transform,
        ranks=ranks,
        revision=modelfiles.revision(path, plan.cache, on_progress=log),
    )


# By the `architecture` of the catalogue's families.
ARCHITECTURES: dict[str, Build] = {"cogvideox": cogvideox}

"""A rank that follows: it holds the transformer and nothing else, and takes its share of each forward."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from orchestrator.config import PoolSettings
from orchestrator.domain.catalog import ModelFamily
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.job import RenderSpec
from orchestrator.ports import WorkerPlan
from orchestrator.telemetry import logs
from workers import modelfiles
from workers.cogvideox import loading
from workers.cogvideox.acceleration import Acceleration
from workers.cogvideox.adapters import Adapters
from workers.parallel.group import Group
from workers.parallel.meeting import Meeting
from workers.parallel.mesh import Mesh
from workers.parallel.share import Share
from workers.parallel.words import Step

if TYPE_CHECKING:
    from diffusers import CogVideoXTransformer3DModel


def follow(plan: WorkerPlan, rank: int, address: str) -> None:
    """Follow the leader whose meeting is at `address`, for ever. Raises when the group is lost.

    Returns when the group cannot render, which the leader says as well.
    """
    family = plan.promised
    device = loading.device_here()
    if device.type == "cpu":
        torch.set_num_threads(1)  # as the leader does
    group = Group(Meeting.at(address), rank, plan.gpus, device)
    try:
        with group.together():
            log = modelfiles.to_log(logs.get("model"))
            resolve = partial(modelfiles.locate, cache=plan.cache, s3=plan.s3, on_progress=log)
            path = resolve(plan.source)
            modelfiles.require_whole(path)
            dtype = loading.dtype_for(path, family, device, plan.settings.dtype, ranks=plan.gpus, transformer_only=True)
            pipeline = loading.load(path, family, device, dtype, transformer_only=True)
            adapters = Adapters(pipeline, plan.adapters, resolve, plan.settings.adapters_cached)
        follower = Follower(group, pipeline.transformer, family, device, plan.settings, adapters)
    except ConfigError as error:
        logs.get("follower").error("group_unfit", rank=rank, error=str(error))
        return
    follower.run()


@dataclass(slots=True, eq=False)
class Followed:
    """A render of the leader's, of which `step` steps are done."""

    spec: RenderSpec
    step: int


class Follower:
    """One follower's part of every forward."""

    def __init__(
        self,
        group: Group,
        transformer: CogVideoXTransformer3DModel,
        family: ModelFamily,
        device: torch.device,
        settings: PoolSettings,
        adapters: Adapters,
    ) -> None:
        """Prepare `transformer` together with the leader. Raises `ConfigError` when a rank cannot."""
        mesh = Mesh.of(group.size, transformer.config.num_attention_heads)
        self._group = group
        self._adapters = adapters
        self._renders: dict[int, Followed] = {}
        with group.together():
            pass  # the leader chooses
        chosen = settings.model_copy(update={"attention": group.hear()})
        with group.together():
            self._acceleration = Acceleration.prepare(transformer, family, device, chosen, total=group.total)
            self._share = Share(transformer, *group.seats(mesh))

    @torch.inference_mode()
    def run(self) -> None:
        """Follow for ever. Raises when the group is lost."""
        while True:
            word = self._group.hear()
            if not isinstance(word, Step):
                raise RuntimeError(f"the leader says {word!r} between two steps")
            self._take(word)

    def _take(self, step: Step) -> None:
        for number in step.dropped:
            self._acceleration.forget(self._renders.pop(number))
        render = self._renders.setdefault(step.render, Followed(step.spec, step.done))
        render.step = step.done
        tensors = self._group.receive(step.layouts)
        self._adapters.use(render.spec)
        with self._acceleration.around(render):
            self._share(
                hidden_states=tensors["hidden_states"],
                encoder_hidden_states=tensors["encoder_hidden_states"],
                timestep=tensors["timestep"],
                image_rotary_emb=(tensors["cosines"], tensors["sines"]) if "cosines" in tensors else None,
                ofs=tensors.get("ofs"),
            )

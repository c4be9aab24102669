"""A render's state as named tensors on the CPU, and what of it can be trusted when it comes back."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from orchestrator.domain.errors import RenderFailed
from orchestrator.domain.failure import FailureCode
from workers.cogvideox.render import Render
from workers.engine.parts import Snapshot


def tensors(render: Render) -> dict[str, torch.Tensor]:
    """A render's state by name, on the CPU. What the spec tells (positions, timesteps) is made again instead."""
    state = {
        "embeddings": render.embeddings,
        "latents": render.latents,
        "image_latents": render.image_latents,
        "predicted": render.predicted,
        "generator": render.generator.get_state(),
    }
    return {name: tensor.cpu() for name, tensor in state.items() if tensor is not None}


def require(snapshot: Snapshot, steps: int, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise `RenderFailed` (`checkpoint_unusable`) unless it holds these finite tensors, at one of `steps` steps."""
    if not 0 <= snapshot.step <= steps:
        raise unusable(f"it is at step {snapshot.step} of {steps}")
    for name, shape in shapes.items():
        tensor = snapshot.tensors.get(name)
        if tensor is None or tensor.shape != shape:
            held = "nothing" if tensor is None else list(tensor.shape)
            raise unusable(f"{name} should be {list(shape)} and is {held}")
        if not torch.isfinite(tensor).all():
            raise unusable(f"{name} has numbers that are not finite")


def generator(snapshot: Snapshot) -> torch.Generator:
    """The random numbers' generator where the snapshot left it. Raises `RenderFailed` (`checkpoint_unusable`)."""
    generator = torch.Generator()
    try:
        generator.set_state(snapshot.tensors["generator"])
    except (KeyError, RuntimeError, TypeError) as error:
        raise unusable(f"its generator has no such state: {error}") from error
    return generator


def unusable(why: str) -> RenderFailed:
    """The failure of a checkpoint that no render can go on from."""
    return RenderFailed(FailureCode.CHECKPOINT_UNUSABLE, f"the checkpoint cannot be used: {why}")

"""From what the transformer predicted to the render's next latents: guidance and the scheduler's step."""

from __future__ import annotations

import math

import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXDPMScheduler

from orchestrator.domain.catalog import ModelFamily
from workers.cogvideox.loading import Pipeline
from workers.cogvideox.render import Render, Scheduler

_SCHEDULERS = {"ddim": CogVideoXDDIMScheduler, "dpm": CogVideoXDPMScheduler}


def scheduler_of(pipeline: Pipeline, family: ModelFamily, steps: int) -> Scheduler:
    """A new scheduler for `steps`: class and spacing are the family's, the noise schedule is the checkpoint's."""
    scheduler: Scheduler = _SCHEDULERS[family.scheduler].from_config(
        pipeline.scheduler.config, timestep_spacing="trailing"
    )
    scheduler.set_timesteps(steps)
    return scheduler


def advance(render: Render, prediction: torch.Tensor, *, dynamic_cfg: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The next latents, and the clean ones that the scheduler predicts; of `render` only the generator moves.

    `prediction` is float32, [2, ...] without the prompt and with it, or [1, ...] when there is no guidance.
    """
    noise = _guided(render, prediction, dynamic_cfg)
    timestep = render.timestep
    if isinstance(render.scheduler, CogVideoXDPMScheduler):
        latents, predicted = render.scheduler.step(
            noise,
            render.predicted,
            timestep,
            render.timesteps[render.step - 1] if render.step > 0 else None,
            render.latents,
            generator=render.generator,
            return_dict=False,
        )
    else:
        latents, predicted = render.scheduler.step(noise, timestep, render.latents, return_dict=False)
    return latents.to(render.embeddings.dtype), predicted


def _guided(render: Render, prediction: torch.Tensor, dynamic_cfg: bool) -> torch.Tensor:
    """Classifier-free guidance (arXiv 2207.12598)."""
    if not render.guided:
        return prediction
    scale = render.spec.guidance_scale
    if dynamic_cfg:
        steps = render.spec.num_inference_steps
        # Written for timesteps that end at the step count, which they do not; kept as upstream trained and tuned.
        scale = 1 + scale * ((1 - math.cos(math.pi * ((steps - render.timestep.item()) / steps) ** 5.0)) / 2)
    without, with_prompt = prediction.chunk(2)
    return without + scale * (with_prompt - without)

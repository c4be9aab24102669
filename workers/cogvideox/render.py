"""One render's state between two denoise steps: everything that the next step needs and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXDPMScheduler

from orchestrator.domain.job import RenderSpec

Scheduler: TypeAlias = CogVideoXDDIMScheduler | CogVideoXDPMScheduler


@dataclass(slots=True, kw_only=True, eq=False)
class Render:
    """A render under way; `CogVideoX.step` moves it on in place.

    Shapes: `embeddings` [2, tokens, dim], negative prompt first, or [1, tokens, dim] when the guidance scale switches
    guidance off; `latents` [1, latent frames, channels, height / 8, width / 8], of which the first `padding` frames are
    no part of the video; `image_latents` the same, the picture's in the first frame and zeros after it, or None without
    a picture; `rotary` cosines and sines [patches, head dim] or None; `ofs` [1] or None; `timesteps` [steps] on the
    CPU, descending. `predicted` is the clean latents that the scheduler predicted in the step before, shaped like
    `latents`. The scheduler belongs to this render alone, since it keeps state.
    """

    spec: RenderSpec
    embeddings: torch.Tensor
    latents: torch.Tensor
    padding: int
    image_latents: torch.Tensor | None
    rotary: tuple[torch.Tensor, torch.Tensor] | None
    ofs: torch.Tensor | None
    scheduler: Scheduler
    timesteps: torch.Tensor
    generator: torch.Generator
    step: int = 0
    predicted: torch.Tensor | None = None

    @property
    def guided(self) -> bool:
        """True when each step predicts twice, with the prompt and without, and extrapolates."""
        return self.spec.guidance_scale > 1.0

    @property
    def done(self) -> bool:
        """True when every step is done and the latents are ready to be decoded."""
        return self.step == self.spec.num_inference_steps

    @property
    def timestep(self) -> torch.Tensor:
        """Of the step to come."""
        return self.timesteps[self.step]

    @property
    def seen(self) -> torch.Tensor:
        """What the transformer sees of it: the latents, and beside each frame the picture's."""
        if self.image_latents is None:
            return self.latents
        return torch.cat([self.latents, self.image_latents], dim=2)

"""What a render's steps begin with and are given beside the prompt: noise, the picture's latents, positions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from PIL import Image

from orchestrator.domain.catalog import ModelFamily
from orchestrator.domain.errors import RenderFailed
from orchestrator.domain.failure import FailureCode
from orchestrator.domain.job import RenderSpec
from workers.cogvideox.loading import Pipeline

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# What CogVideoX 1.5's image-to-video model was told in training, always the same.
_OFS = 2.0


class Conditioning:
    """Draws and encodes for one loaded model, with the pipeline's own methods, which keep no state."""

    def __init__(self, pipeline: Pipeline, family: ModelFamily, device: torch.device) -> None:
        self._pipeline = pipeline
        self._family = family
        self._device = device

    def padding(self, spec: RenderSpec) -> int:
        """Latent frames before the video's own that only fill up the last temporal patch."""
        return self._family.latent_frames(spec.num_frames) - ((spec.num_frames - 1) // 4 + 1)

    def shape(self, spec: RenderSpec) -> tuple[int, int, int, int, int]:
        """Of a render's latents: [1, latent frames, channels, height / 8, width / 8]."""
        channels = self._pipeline.transformer.config.out_channels
        return (1, self._family.latent_frames(spec.num_frames), channels, spec.height // 8, spec.width // 8)

    def latents(
        self, spec: RenderSpec, picture: NDArray[np.uint8] | None, dtype: torch.dtype, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Initial latents and the picture's; encoding the picture draws from the generator first.

        Raises `RenderFailed` (`wrong_image`) when the model needs a picture and there is none, the other way round, or
        of another size.
        """
        if (picture is not None) is not self._family.image_to_video:
            problem = "needs a picture to begin at" if picture is None else "takes no picture"
            raise RenderFailed(FailureCode.WRONG_IMAGE, f"{self._family.name} {problem}", retryable=False)
        if picture is not None and picture.shape != (spec.height, spec.width, 3):
            problem = f"the picture is {list(picture.shape)}, where {[spec.height, spec.width, 3]} is rendered"
            raise RenderFailed(FailureCode.WRONG_IMAGE, problem, retryable=False)
        _, _, channels, _, _ = self.shape(spec)
        frames = spec.num_frames + 4 * self.padding(spec)
        common = (1, channels, frames, spec.height, spec.width, dtype, self._device, generator)
        if picture is None:
            return self._pipeline.prepare_latents(*common), None
        image = Image.fromarray(picture)
        pixels = self._pipeline.video_processor.preprocess(image, height=spec.height, width=spec.width)
        latents, image_latents = self._pipeline.prepare_latents(pixels.to(self._device, dtype=dtype), *common)
        return latents, image_latents

    def rotary(self, spec: RenderSpec) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Cosines and sines of the positions, each [patches, head dim]; None for a model that adds its positions."""
        if not self._pipeline.transformer.config.use_rotary_positional_embeddings:
            return None
        rotary: tuple[torch.Tensor, torch.Tensor] = self._pipeline._prepare_rotary_positional_embeddings(
            spec.height, spec.width, self._family.latent_frames(spec.num_frames), self._device
        )
        return rotary

    def ofs(self, dtype: torch.dtype) -> torch.Tensor | None:
        """The constant that 1.5's image-to-video model is told beside the timestep, [1]; None for all others."""
        if self._pipeline.transformer.config.ofs_embed_dim is None:
            return None
        return torch.full((1,), _OFS, device=self._device, dtype=dtype)

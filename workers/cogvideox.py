"""The components of a CogVideoX checkpoint: load them, begin a render, denoise one step, decode.

The steps and their order are those of `__call__` of `diffusers.CogVideoXPipeline` and `CogVideoXImageToVideoPipeline`
(0.42); for the same seed the frames are the same, bit for bit on the CPU, and `tests/contract/test_engine_equality.py`
holds them to that. Whatever a pipeline does without keeping state (`prepare_latents`, `decode_latents`, rotary
embeddings) is called as it is.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import diffusers
import torch
import transformers
from diffusers import (
    CogVideoXDDIMScheduler,
    CogVideoXDPMScheduler,
    CogVideoXImageToVideoPipeline,
    CogVideoXPipeline,
)
from PIL import Image

from orchestrator.domain.catalog import ModelFamily
from orchestrator.domain.errors import ConfigError, RenderFailed
from orchestrator.domain.job import RenderSpec
from workers.render import Render

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Pipeline: TypeAlias = CogVideoXPipeline | CogVideoXImageToVideoPipeline

_SCHEDULERS = {"ddim": CogVideoXDDIMScheduler, "dpm": CogVideoXDPMScheduler}

# Prompts whose embeddings are kept: 1.9 MB each in 16 bits. The empty negative prompt is in nearly every render.
_CACHED_PROMPTS = 32

# Latent frames that a preview decodes, to show the last frame of what they become. One is the video's first frame,
# which tells little when the render begins at a known picture; three are the VAE's own first batch, nine frames.
_PREVIEWED = 1
_PREVIEWED_AFTER_PICTURE = 3


def numerics(family: ModelFamily) -> tuple[torch.device, torch.dtype]:
    """Where and in what precision this process renders: the family's own dtype on a GPU, float32 on the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda"), getattr(torch, family.dtype)
    return torch.device("cpu"), torch.float32


def load(path: Path, family: ModelFamily, device: torch.device, dtype: torch.dtype) -> CogVideoX:
    """Load the diffusers checkpoint in the directory `path`, resident on `device`.

    Raises `ConfigError` when `path` holds no checkpoint, or one that is not of this family's kind.
    """
    # Without this check diffusers takes a missing directory for a repository's name and blames the network.
    if not (path / "model_index.json").is_file():
        raise ConfigError(f"no diffusers checkpoint at {path}: model_index.json is missing")
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    kind = CogVideoXImageToVideoPipeline if family.image_to_video else CogVideoXPipeline
    pipeline = kind.from_pretrained(path, torch_dtype=dtype, local_files_only=True).to(device)
    _check(pipeline, family, path)
    return CogVideoX(pipeline, family, device)


def _check(pipeline: Pipeline, family: ModelFamily, path: Path) -> None:
    transformer = pipeline.transformer.config
    takes_picture = transformer.in_channels == 2 * transformer.out_channels
    width, height = family.default_size
    positions = (8 * transformer.sample_width, 8 * transformer.sample_height, transformer.sample_frames)
    wrong = None
    if takes_picture is not family.image_to_video:
        wrong = "is an image-to-video model" if takes_picture else "is a text-to-video model"
    elif transformer.patch_size_t is not None:
        wrong = "is a CogVideoX 1.5 model"
    elif transformer.max_text_seq_length != family.max_prompt_tokens:
        wrong = f"takes {transformer.max_text_seq_length} prompt tokens"
    elif transformer.use_learned_positional_embeddings and positions != (width, height, family.max_frames):
        # diffusers would replace learned positions that do not fit the frames, without a word.
        wrong = f"has learned the positions of {positions[0]}x{positions[1]} and {positions[2]} frames"
    if wrong:
        raise ConfigError(f"the checkpoint at {path} {wrong}, which {family.name} is not")


class CogVideoX:
    """One loaded model. Renders share its weights and nothing else. For one thread at a time.

    Every method may raise `RenderFailed` with the code `out_of_memory`.
    """

    def __init__(self, pipeline: Pipeline, family: ModelFamily, device: torch.device) -> None:
        self._pipeline = pipeline
        self._family = family
        self._device = device
        self._embed = lru_cache(maxsize=_CACHED_PROMPTS)(self._embed_uncached)

    @torch.inference_mode()
    def begin(self, spec: RenderSpec, picture: NDArray[np.uint8] | None) -> Render:
        """Encode the prompts, and the picture that an image-to-video model begins at; draw the initial latents.

        `picture` is RGB of the spec's size, [height, width, 3] (diffusers would stretch another). Raises `RenderFailed`
        (`wrong_image`) when the model needs one and there is none, or the other way round.
        """
        if (picture is not None) is not self._family.image_to_video:
            problem = "needs a picture to begin at" if picture is None else "takes no picture"
            raise RenderFailed("wrong_image", f"{self._family.name} {problem}", retryable=False)
        with _memory_errors():
            scheduler = self._scheduler()
            scheduler.set_timesteps(spec.num_inference_steps)
            # Drawn on the CPU, so that a seed means the same noise on every kind of GPU.
            generator = torch.Generator().manual_seed(spec.seed)
            embeddings = self._embeddings(spec)
            latents, image_latents = self._latents(spec, picture, embeddings.dtype, generator)
            return Render(
                spec=spec,
                embeddings=embeddings,
                latents=latents,
                image_latents=image_latents,
                rotary=self._rotary(spec, latents.size(1)),
                scheduler=scheduler,
                # For some counts (61, 103, ...) rounding in diffusers appends a timestep of -1, which is no timestep.
                timesteps=scheduler.timesteps[: spec.num_inference_steps],
                generator=generator,
            )

    @torch.inference_mode()
    def step(self, render: Render) -> None:
        """Denoise by one step, in place; returns when the device has finished it."""
        with _memory_errors():
            timestep = render.timesteps[render.step]
            noise = self._guide(render, timestep, self._predict(render, timestep))
            if isinstance(render.scheduler, CogVideoXDPMScheduler):
                latents, render.predicted = render.scheduler.step(
                    noise,
                    render.predicted,
                    timestep,
                    render.timesteps[render.step - 1] if render.step > 0 else None,
                    render.latents,
                    generator=render.generator,
                    return_dict=False,
                )
            else:
                latents, render.predicted = render.scheduler.step(noise, timestep, render.latents, return_dict=False)
            render.latents = latents.to(render.embeddings.dtype)
            render.step += 1
            self._synchronize()

    def decode(self, render: Render) -> NDArray[np.uint8]:
        """The finished frames, [frames, height, width, 3] RGB. Raises `RenderFailed` (`nan_frames`)."""
        return _bytes(self.pixels(render.latents))

    def preview(self, render: Render) -> NDArray[np.uint8]:
        """One frame of the video that the last step predicted, [height, width, 3] RGB; `render` stays as it is.

        For a render that has stepped. Costs the decode of one frame, of nine after a picture. Raises `RenderFailed`.
        """
        assert render.predicted is not None
        count = _PREVIEWED if render.image_latents is None else _PREVIEWED_AFTER_PICTURE
        return _bytes(self.pixels(render.predicted[:, :count].to(render.embeddings.dtype))[-1])

    @torch.inference_mode()
    def pixels(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents decoded to float32 in [0, 1], [frames, height, width, 3], on the device."""
        with _memory_errors():
            _require_finite(latents, "latents")
            video = self._pipeline.decode_latents(latents)[0]
            _require_finite(video, "frames")
            pixels: torch.Tensor = (video * 0.5 + 0.5).clamp(0, 1).permute(1, 2, 3, 0).float()
            return pixels

    def recover(self) -> None:
        """Give back the memory of a failed render. Raises when the device is lost, as CUDA errors are for good."""
        gc.collect()
        self._synchronize()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _scheduler(self) -> CogVideoXDDIMScheduler | CogVideoXDPMScheduler:
        """A new scheduler: class and spacing are the family's, the noise schedule is the checkpoint's."""
        return _SCHEDULERS[self._family.scheduler].from_config(
            self._pipeline.scheduler.config, timestep_spacing="trailing"
        )

    def _embeddings(self, spec: RenderSpec) -> torch.Tensor:
        prompt = self._embed(spec.prompt)
        if spec.guidance_scale <= 1.0:
            return prompt
        return torch.cat([self._embed(spec.negative_prompt), prompt])

    def _embed_uncached(self, prompt: str) -> torch.Tensor:
        tokens = self._pipeline.tokenizer(
            prompt,
            padding="max_length",
            max_length=self._family.max_prompt_tokens,
            truncation=True,
            add_special_tokens=True,
            return_tensors="pt",
        )
        encoder = self._pipeline.text_encoder
        # The padding is attended to: the models were trained that way, so there is no attention mask.
        embeddings: torch.Tensor = encoder(tokens.input_ids.to(self._device))[0].to(encoder.dtype)
        return embeddings

    def _latents(
        self, spec: RenderSpec, picture: NDArray[np.uint8] | None, dtype: torch.dtype, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Initial latents and the picture's; encoding the picture draws from the generator first."""
        channels = self._pipeline.transformer.config.out_channels
        common = (1, channels, spec.num_frames, spec.height, spec.width, dtype, self._device, generator)
        if picture is None:
            return self._pipeline.prepare_latents(*common), None
        image = Image.fromarray(picture)
        pixels = self._pipeline.video_processor.preprocess(image, height=spec.height, width=spec.width)
        latents, image_latents = self._pipeline.prepare_latents(pixels.to(self._device, dtype=dtype), *common)
        return latents, image_latents

    def _rotary(self, spec: RenderSpec, latent_frames: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        if not self._pipeline.transformer.config.use_rotary_positional_embeddings:
            return None
        rotary: tuple[torch.Tensor, torch.Tensor] = self._pipeline._prepare_rotary_positional_embeddings(
            spec.height, spec.width, latent_frames, self._device
        )
        return rotary

    def _predict(self, render: Render, timestep: torch.Tensor) -> torch.Tensor:
        seen = render.latents
        if render.image_latents is not None:
            seen = torch.cat([seen, render.image_latents], dim=2)
        batch = torch.cat([seen] * 2) if render.guided else seen
        prediction: torch.Tensor = self._pipeline.transformer(
            hidden_states=batch,
            encoder_hidden_states=render.embeddings,
            timestep=timestep.expand(batch.shape[0]).to(self._device),
            image_rotary_emb=render.rotary,
            return_dict=False,
        )[0]
        return prediction.float()

    def _guide(self, render: Render, timestep: torch.Tensor, prediction: torch.Tensor) -> torch.Tensor:
        if not render.guided:
            return prediction
        scale = render.spec.guidance_scale
        if self._family.dynamic_cfg:
            steps = render.spec.num_inference_steps
            # Written for timesteps that end at the step count, which they do not; kept as upstream trained and tuned.
            scale = 1 + scale * ((1 - math.cos(math.pi * ((steps - timestep.item()) / steps) ** 5.0)) / 2)
        without, with_prompt = prediction.chunk(2)
        return without + scale * (with_prompt - without)

    def _synchronize(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


@torch.inference_mode()
def _bytes(pixels: torch.Tensor) -> NDArray[np.uint8]:
    with _memory_errors():
        rounded: NDArray[np.uint8] = (pixels * 255).round().to(torch.uint8).cpu().numpy()
        return rounded


@contextmanager
def _memory_errors() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise RenderFailed("out_of_memory", str(error).partition(". ")[0]) from None


def _require_finite(tensor: torch.Tensor, what: str) -> None:
    if not torch.isfinite(tensor).all():
        raise RenderFailed("nan_frames", f"the model produced {what} that are not finite numbers")

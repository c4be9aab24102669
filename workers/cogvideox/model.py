"""One loaded CogVideoX: begin a render, denoise it step by step, alone or with others, decode it.

The steps and their order are those of `__call__` of `diffusers.CogVideoXPipeline` and `CogVideoXImageToVideoPipeline`
(0.42); for the same seed the frames are the same, bit for bit on the CPU, and
`tests/contract/workers/test_engine_equality.py` holds them to that.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch

from orchestrator.domain.catalog import ModelFamily
from orchestrator.domain.errors import RenderFailed
from orchestrator.domain.failure import FailureCode
from orchestrator.domain.job import RenderSpec
from workers.cogvideox import numerics, possible, snapshots
from workers.cogvideox.acceleration import Acceleration
from workers.cogvideox.adapters import Adapters
from workers.cogvideox.conditioning import Conditioning
from workers.cogvideox.decoding import Decoder
from workers.cogvideox.denoising import advance, scheduler_of
from workers.cogvideox.loading import Pipeline
from workers.cogvideox.memory import memory_errors
from workers.cogvideox.positions import Positions
from workers.cogvideox.prompts import Prompts
from workers.cogvideox.render import Render
from workers.engine.parts import Decoding, Reading, Snapshot

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Latent frames that a preview decodes, to show the last frame of what they become. One is the video's first frame,
# which tells little when the render begins at a known picture; three are the VAE's own first batch, nine frames.
_PREVIEWED = 1
_PREVIEWED_AFTER_PICTURE = 3


class Transform(Protocol):
    """The transformer's forward, on this GPU or over several.

    Shapes: `hidden_states` [batch, latent frames, channels, height / 8, width / 8], `encoder_hidden_states` [batch,
    tokens, dim], `timestep` [batch]; the first half of the batch is without the prompts when there is guidance.
    Returns the prediction, shaped like `hidden_states` with the channels of the noisy latents alone.
    """

    def __call__(
        self,
        *,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        timestep: torch.Tensor,
        image_rotary_emb: tuple[torch.Tensor, torch.Tensor] | None,
        ofs: torch.Tensor | None,
    ) -> torch.Tensor: ...


class CogVideoX:
    """One loaded model (`workers.engine.parts.Model`), for one thread at a time.

    Renders share its weights and nothing else. `transform` stands in for the transformer's own forward, and `ranks`
    says how it divides the work; `revision` is the checkpoint's (`modelfiles.revision`). Every method may raise
    `RenderFailed` with the code `out_of_memory`.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        family: ModelFamily,
        device: torch.device,
        *,
        acceleration: Acceleration,
        adapters: Adapters,
        transform: Transform | None = None,
        ranks: str = "1",
        revision: str = "",
    ) -> None:
        self._pipeline = pipeline
        self._family = family
        self._device = device
        self._acceleration = acceleration
        self._adapters = adapters
        self._transform = transform or self._forward
        self._prompts = Prompts(pipeline, family, device)
        self._conditioning = Conditioning(pipeline, family, device)
        self._decoder = Decoder(pipeline, device)
        self._positions = Positions.of(pipeline.transformer.config)
        self._facts = {
            "revision": revision,
            "family": family.name,
            "dtype": str(pipeline.transformer.dtype),
            "ranks": ranks,
            **numerics.device_facts(device),
        }

    @property
    def adapters(self) -> tuple[str, ...]:
        return self._adapters.loaded

    def facts(self, spec: RenderSpec) -> dict[str, str]:
        """What decides the bits of this spec's frames here, in words."""
        facts = {**self._facts, "profile": spec.profile.value, **self._acceleration.facts(spec)}
        if spec.adapter is not None:
            facts["adapter"] = f"{self._adapters.revision(spec.adapter)} at {spec.adapter_scale}"
            facts["peft"] = numerics.version("peft")
        return facts

    def numerics(self, spec: RenderSpec) -> str:
        """The fingerprint of `facts`. Raises `RenderFailed` for a spec that cannot be rendered here."""
        self._require_possible(spec)
        return numerics.fingerprint(self.facts(spec))

    def read(self, spec: RenderSpec) -> Reading:
        self._require_possible(spec)  # what is no text cannot be counted
        return self._prompts.read(spec)

    @torch.inference_mode()
    def begin(self, spec: RenderSpec, picture: NDArray[np.uint8] | None) -> Render:
        """Encode the prompts, and the picture that an image-to-video model begins at; draw the initial latents.

        `picture` is RGB of the spec's size, [height, width, 3]. Raises `RenderFailed`: `wrong_image` when the model
        needs one and there is none, the other way round, or of another size (diffusers would stretch it);
        `impossible_request` for a spec that this model cannot render.
        """
        self._require_possible(spec)
        with memory_errors():
            # Drawn on the CPU, so that a seed means the same noise on every kind of GPU.
            generator = torch.Generator().manual_seed(spec.seed)
            embeddings = self._prompts.embeddings(spec)
            latents, image_latents = self._conditioning.latents(spec, picture, embeddings.dtype, generator)
            return self._render(spec, embeddings, latents, image_latents, generator)

    @torch.inference_mode()
    def restore(self, spec: RenderSpec, snapshot: Snapshot) -> Render:
        """Go on where `snapshot` left a render of this spec.

        Raises `RenderFailed` (`checkpoint_unusable`, `impossible_request`).
        """
        self._require_possible(spec)
        latents_shape = self._conditioning.shape(spec)
        text_dim = self._pipeline.transformer.config.text_embed_dim
        shapes: dict[str, tuple[int, ...]] = {
            "embeddings": (2 if spec.guidance_scale > 1.0 else 1, self._family.max_prompt_tokens, text_dim),
            "latents": latents_shape,
        }
        if self._family.image_to_video:
            shapes["image_latents"] = latents_shape
        if snapshot.step > 0:
            shapes["predicted"] = latents_shape
        snapshots.require(snapshot, spec.num_inference_steps, shapes)
        with memory_errors():
            dtype = self._pipeline.transformer.dtype
            # The scheduler keeps its prediction in 32 bits, whatever the latents have.
            dtypes = {name: torch.float32 if name == "predicted" else dtype for name in shapes}
            held = {name: snapshot.tensors[name].to(self._device, dtypes[name]) for name in shapes}
            render = self._render(
                spec, held["embeddings"], held["latents"], held.get("image_latents"), snapshots.generator(snapshot)
            )
            render.predicted = held.get("predicted")
        render.step = snapshot.step
        return render

    def snapshot(self, render: Render) -> Snapshot:
        """All that the next step needs and that the spec does not say, copied; `render` goes on as it is."""
        with memory_errors():
            tensors = snapshots.tensors(render)
        return Snapshot(step=render.step, numerics=self.numerics(render.spec), tensors=tensors)

    @torch.inference_mode()
    def step(self, renders: Sequence[Render]) -> list[RenderFailed | None]:
        """Denoise these by one step each, in one forward; returns when the device has finished it.

        They agree in shape, in whether there is guidance, and in their adapter; steps and schedulers are each one's
        own. For each what befell it alone (`nan_frames`), or None; one that failed has not moved. What it raises befell
        all of them, and none has moved.
        """
        drawn = [render.generator.get_state() for render in renders]
        try:
            with memory_errors():
                moves = [
                    advance(render, prediction, dynamic_cfg=self._family.dynamic_cfg)
                    for render, prediction in zip(renders, self._predict(renders), strict=True)
                ]
                finite = torch.stack([torch.isfinite(latents).all() for latents, _ in moves]).tolist()
        except BaseException:
            for render, state in zip(renders, drawn, strict=True):
                render.generator.set_state(state)
            raise
        failures: list[RenderFailed | None] = []
        for render, state, (latents, predicted), is_finite in zip(renders, drawn, moves, finite, strict=True):
            if is_finite:
                render.latents, render.predicted = latents, predicted
                render.step += 1
                failures.append(None)
            else:
                render.generator.set_state(state)
                failures.append(
                    RenderFailed(FailureCode.NAN_FRAMES, "the model produced latents that are not finite numbers")
                )
        return failures

    def preview(self, render: Render) -> NDArray[np.uint8]:
        """One frame of the video that the last step predicted, [height, width, 3] RGB; `render` stays as it is.

        For a render that has stepped. Costs the decode of one frame, of nine after a picture. Raises `RenderFailed`.
        """
        assert render.predicted is not None
        count = _PREVIEWED if render.image_latents is None else _PREVIEWED_AFTER_PICTURE
        previewed = render.predicted[:, render.padding : render.padding + count]
        frame: NDArray[np.uint8] = self._decoder.frames(previewed.to(render.embeddings.dtype))[-1]
        return frame

    def pixels(self, render: Render, how: Decoding = Decoding.WHOLE) -> torch.Tensor:
        """The video before rounding: float32 in [0, 1], [frames, height, width, 3], on the device."""
        return self._decoder.pixels(render.latents[:, render.padding :], how)

    def decode(self, render: Render, how: Decoding = Decoding.WHOLE) -> NDArray[np.uint8]:
        """The finished frames, [frames, height, width, 3] RGB. Raises `RenderFailed` (`nan_frames`)."""
        return self._decoder.frames(render.latents[:, render.padding :], how)

    def drop(self, render: Render) -> None:
        self._acceleration.forget(render)

    def recover(self) -> None:
        """Give back the memory of a failed render. Raises when the device is lost, as CUDA errors are for good."""
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            torch.cuda.empty_cache()
        self._decoder.bring_back()

    def _require_possible(self, spec: RenderSpec) -> None:
        possible.require(spec, self._positions, most_steps=self._pipeline.scheduler.config.num_train_timesteps)

    def _render(
        self,
        spec: RenderSpec,
        embeddings: torch.Tensor,
        latents: torch.Tensor,
        image_latents: torch.Tensor | None,
        generator: torch.Generator,
    ) -> Render:
        scheduler = scheduler_of(self._pipeline, self._family, spec.num_inference_steps)
        return Render(
            spec=spec,
            embeddings=embeddings,
            latents=latents,
            padding=self._conditioning.padding(spec),
            image_latents=image_latents,
            rotary=self._conditioning.rotary(spec),
            ofs=self._conditioning.ofs(latents.dtype),
            scheduler=scheduler,
            # For some counts (61, 103, ...) rounding in diffusers appends a timestep of -1, which is no timestep.
            timesteps=scheduler.timesteps[: spec.num_inference_steps],
            generator=generator,
        )

    def _predict(self, renders: Sequence[Render]) -> list[torch.Tensor]:
        """For each render what the transformer predicts, float32: [2, ...] without the prompt and with it, or [1, ...].

        All are in one batch: first each render's pass without its prompt, when there is guidance, then each one's with.
        """
        first, count = renders[0], len(renders)
        passes = 2 if first.guided else 1
        batch = {
            "hidden_states": torch.cat([render.seen for render in renders] * passes),
            "encoder_hidden_states": torch.cat(
                [render.embeddings[which : which + 1] for which in range(passes) for render in renders]
            ),
            "timestep": torch.stack([render.timestep for render in renders] * passes).to(self._device),
        }
        self._adapters.use(first.spec)
        if count > 1:
            prediction = self._transform(**batch, image_rotary_emb=first.rotary, ofs=first.ofs)
        else:
            with self._acceleration.around(first):
                prediction = self._transform(**batch, image_rotary_emb=first.rotary, ofs=first.ofs)
        prediction = prediction.float()
        return [prediction[number::count] for number in range(count)]

    def _forward(
        self,
        *,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        timestep: torch.Tensor,
        image_rotary_emb: tuple[torch.Tensor, torch.Tensor] | None,
        ofs: torch.Tensor | None,
    ) -> torch.Tensor:
        prediction: torch.Tensor = self._pipeline.transformer(
            hidden_states=hidden_states,
            encoder_hidden_states=encoder_hidden_states,
            timestep=timestep,
            image_rotary_emb=image_rotary_emb,
            ofs=ofs,
            return_dict=False,
        )[0]
        return prediction

"""The published CogVideoX architectures with random weights, made on the device, for machines without checkpoints.

Speed and memory do not depend on what the weights are; equality with diffusers must not. Configurations are those of
the checkpoints zai-org publishes (`transformer/config.json` and its siblings).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDDIMScheduler,
    CogVideoXDPMScheduler,
    CogVideoXImageToVideoPipeline,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
)
from transformers import T5Config, T5EncoderModel

from orchestrator.domain.catalog import ModelFamily
from workers.cogvideox import tiny
from workers.cogvideox.loading import Pipeline

KINDS = {False: CogVideoXPipeline, True: CogVideoXImageToVideoPipeline}
SCHEDULERS = {"ddim": CogVideoXDDIMScheduler, "dpm": CogVideoXDPMScheduler}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much of an architecture is built; by default all. None is the family's own. Heads are 64 wide throughout.

    `text` is T5's width, layers, heads and inner width; `vae` its channels and layers of a block.
    """

    layers: int | None = None
    heads: int | None = None
    text: tuple[int, int, int, int] = (4096, 24, 64, 10240)
    vae: tuple[tuple[int, ...], int] = ((128, 256, 256, 512), 3)


FULL = Scale()
SMALL = Scale(layers=2, heads=4, text=(64, 2, 4, 128), vae=((4, 4, 4, 4), 1))


def reduced(family: ModelFamily) -> ModelFamily:
    """The family with one native shape that renders in a moment: 96x64, 17 frames, 4 steps."""
    return replace(
        family,
        sizes=((96, 64),),
        default_frames=17,
        min_frames=17,
        max_frames=17,
        default_steps=4,
    )


def pipeline(
    family: ModelFamily, device: torch.device, dtype: torch.dtype, scale: Scale = FULL, *, seed: int = 0
) -> Pipeline:
    """A diffusers pipeline of one of the five published models, in evaluation mode; equal seeds give equal weights.

    Leaves torch's global generators as they are.
    """
    with torch.random.fork_rng(), _made_on(device, dtype):
        torch.manual_seed(seed)
        transformer, vae, text_encoder = transformer_of(family, scale), _vae(family, scale), _text_encoder(scale)
    for module in (transformer, vae, text_encoder):
        module.eval().requires_grad_(False)
    made = KINDS[family.image_to_video](
        tokenizer=tiny.tokenizer(family),
        text_encoder=text_encoder,
        vae=vae,
        transformer=transformer,
        scheduler=_scheduler(family),
    )
    made.set_progress_bar_config(disable=True)
    return made


@contextmanager
def _made_on(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            yield
    finally:
        torch.set_default_dtype(before)


def transformer_of(family: ModelFamily, scale: Scale = FULL) -> CogVideoXTransformer3DModel:
    """The family's transformer alone, on torch's default device and in its default dtype."""
    rotary = family.scheduler == "dpm"
    width, height = family.default_size
    # 1.5 joins two latent frames in a token, and has no use for a native size.
    newer = {"patch_size_t": family.temporal_patch, "patch_bias": False} if family.temporal_patch > 1 else {}
    return CogVideoXTransformer3DModel(
        num_attention_heads=scale.heads or (48 if rotary else 30),
        num_layers=scale.layers or (42 if rotary else 30),
        in_channels=32 if family.image_to_video else 16,
        text_embed_dim=scale.text[0],
        ofs_embed_dim=512 if newer and family.image_to_video else None,
        sample_width=300 if newer else width // 8,
        sample_height=300 if newer else height // 8,
        sample_frames=family.default_frames,
        use_rotary_positional_embeddings=rotary,
        use_learned_positional_embeddings=family.image_to_video and not newer,
        **newer,
    )


def _vae(family: ModelFamily, scale: Scale) -> AutoencoderKLCogVideoX:
    channels, layers = scale.vae
    return AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=channels,
        layers_per_block=layers,
        norm_num_groups=min(32, channels[0]),
        latent_channels=16,
        scaling_factor=1.15258426 if family.scheduler == "ddim" else 0.7,
        invert_scale_latents=family.temporal_patch > 1,
    )


def _text_encoder(scale: Scale) -> T5EncoderModel:
    width, layers, heads, inner = scale.text
    return T5EncoderModel(
        T5Config(
            vocab_size=32128,
            d_model=width,
            d_kv=64,
            d_ff=inner,
            num_layers=layers,
            num_heads=heads,
            feed_forward_proj="gated-gelu",
            is_encoder_decoder=False,
            use_cache=False,
        )
    )


def _scheduler(family: ModelFamily) -> CogVideoXDDIMScheduler | CogVideoXDPMScheduler:
    return SCHEDULERS[family.scheduler](
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        snr_shift_scale=3.0 if family.scheduler == "ddim" else 1.0,
        timestep_spacing="trailing",
    )

"""Makes the tiny checkpoints: the real CogVideoX classes with small random weights, saved like any real model.

They give a laptop and the tests the whole path, `from_pretrained` included, in a megabyte and a few milliseconds a
step. Their videos show moving colours and mean nothing.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.domain.catalog import TINY, ModelFamily
from orchestrator.domain.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from diffusers import (
        AutoencoderKLCogVideoX,
        CogVideoXImageToVideoPipeline,
        CogVideoXPipeline,
        CogVideoXTransformer3DModel,
    )
    from transformers import T5EncoderModel, T5Tokenizer

# Part of the directory's name, so that a changed recipe makes a new checkpoint beside the old one.
RECIPE = 2

_SEEDS = {"tiny-2b": 2, "tiny-5b": 5, "tiny-5b-i2v": 52, "tiny-1.5-5b": 15, "tiny-1.5-5b-i2v": 152}
_TEXT_DIM = 32
_LATENT_CHANNELS = 4
_TIME_DIM = 16
# The sample's side, in latent pixels, in 1.5's config: more than anyone renders, as the real one's 300 is.
_LATER_SAMPLE = 40


def path(family: ModelFamily, directory: Path) -> Path:
    """Where `make` puts the checkpoint of a tiny family: `<directory>/<family>-r<recipe>`."""
    return directory / f"{family.name}-r{RECIPE}"


def make(family: ModelFamily, directory: Path) -> Path:
    """Make the checkpoint of a tiny family under `directory` and return its path, `<family>-r<recipe>`.

    Returns at once, without importing torch, when it exists: it is built under another name and renamed, so what
    exists is whole. Several processes may make the same one. Raises `ConfigError` for a family that is not tiny, and
    when `directory` cannot be written.
    """
    if family not in TINY:
        raise ConfigError(f"only {', '.join(tiny.name for tiny in TINY)} can be made here, not {family.name}")
    target = path(family, directory)
    if target.is_dir():
        return target
    try:
        _write(family, target)
    except OSError as error:
        raise ConfigError(f"cannot make {target}: {error.strerror or error}") from None
    return target


def _write(family: ModelFamily, target: Path) -> None:
    directory = target.parent
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=directory) as scratch:
        whole = Path(scratch) / target.name
        _pipeline(family).save_pretrained(whole)
        try:
            whole.rename(target)
        except OSError:
            if not target.is_dir():  # otherwise another process was faster, and made the same
                raise


def _pipeline(family: ModelFamily) -> CogVideoXPipeline | CogVideoXImageToVideoPipeline:
    import torch
    import transformers
    from diffusers import (
        CogVideoXDDIMScheduler,
        CogVideoXDPMScheduler,
        CogVideoXImageToVideoPipeline,
        CogVideoXPipeline,
    )

    transformers.utils.logging.disable_progress_bar()
    # The global generator is forked, so that making a checkpoint changes nobody else's random numbers.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEEDS[family.name])
        transformer, vae, text_encoder = _transformer(family), _vae(family), _text_encoder()
    scheduler = {"ddim": CogVideoXDDIMScheduler, "dpm": CogVideoXDPMScheduler}[family.scheduler](
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        snr_shift_scale=1.0,
        timestep_spacing="trailing",
    )
    return (CogVideoXImageToVideoPipeline if family.image_to_video else CogVideoXPipeline)(
        tokenizer=tokenizer(family),
        text_encoder=text_encoder,
        vae=vae,
        transformer=transformer,
        scheduler=scheduler,
    )


def _transformer(family: ModelFamily) -> CogVideoXTransformer3DModel:
    from diffusers import CogVideoXTransformer3DModel

    width, height = family.default_size
    rotary = family.scheduler == "dpm"  # as in the real family: 5B turns its positions, 2B adds them
    later = family.temporal_patch > 1  # CogVideoX 1.5
    model: CogVideoXTransformer3DModel = CogVideoXTransformer3DModel(
        num_attention_heads=2 if rotary else 4,
        attention_head_dim=16 if rotary else 8,
        # An image-to-video model sees the picture's latents beside the noisy ones.
        in_channels=_LATENT_CHANNELS * (2 if family.image_to_video else 1),
        out_channels=_LATENT_CHANNELS,
        time_embed_dim=_TIME_DIM,
        ofs_embed_dim=_TIME_DIM if later and family.image_to_video else None,
        text_embed_dim=_TEXT_DIM,
        num_layers=2,
        sample_width=_LATER_SAMPLE if later else width // 8,
        sample_height=_LATER_SAMPLE if later else height // 8,
        sample_frames=family.max_frames,
        patch_size_t=family.temporal_patch if later else None,
        patch_bias=not later,
        max_text_seq_length=226,  # what every real config says, also where the model takes fewer
        use_rotary_positional_embeddings=rotary,
        use_learned_positional_embeddings=family.image_to_video and not later,
    )
    return model


def _vae(family: ModelFamily) -> AutoencoderKLCogVideoX:
    import torch
    from diffusers import AutoencoderKLCogVideoX

    vae: AutoencoderKLCogVideoX = AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(4, 4, 4, 4),
        latent_channels=_LATENT_CHANNELS,
        layers_per_block=1,
        norm_num_groups=2,
        invert_scale_latents=family.temporal_patch > 1,
    )
    for module in vae.decoder.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Conv3d):
            _soften(module)
    return vae


def _soften(convolution: torch.nn.Conv2d | torch.nn.Conv3d) -> None:
    """Pull each kernel towards its own spatial mean: random kernels then blend colours, where they would draw grids."""
    import torch

    with torch.no_grad():
        weight = convolution.weight
        mean = weight.mean(dim=(-2, -1), keepdim=True)
        weight.copy_(0.2 * weight + 1.3 * mean)


def _text_encoder() -> T5EncoderModel:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(
            vocab_size=200,
            d_model=_TEXT_DIM,
            d_kv=8,
            d_ff=37,
            num_layers=2,
            num_heads=4,
            relative_attention_num_buckets=8,
            feed_forward_proj="gated-gelu",
            is_encoder_decoder=False,
            use_cache=False,
        )
    )


def tokenizer(family: ModelFamily) -> T5Tokenizer:
    """One token for each printable ASCII character; everything else is `<unk>`."""
    from transformers import T5Tokenizer

    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    vocabulary += [(chr(code), -3.0) for code in range(ord("!"), ord("~") + 1)]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=family.max_prompt_tokens)

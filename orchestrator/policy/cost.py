"""The catalogue's word on seconds of a render on its GPU, and of its finishing on the CPU, before any was rendered."""

from __future__ import annotations

from orchestrator.domain.catalog import RECIPES, ModelFamily
from orchestrator.domain.job import RenderSpec

# Seconds of one CPU core: per video, per megapixel that minterpolate makes, and per delivered one, scaled and encoded.
# `tests/benchmarks/finish.py` compares; BENCHMARKS.md says on what machine. Models in finishing are not predicted.
_FINISH_S = 0.3
_INTERPOLATE_S = 0.13
_ENCODE_S = 0.05

# Width of T5-XXL's embeddings and of one attention head, in every model of the family.
_TEXT_DIM = 4096
_HEAD_DIM = 64


def tokens(family: ModelFamily, width: int, height: int, num_frames: int) -> int:
    """Length of the transformer's sequence: the image's tokens, plus the prompt's."""
    return family.image_tokens(width, height, num_frames) + family.max_prompt_tokens


def predict_step_s(family: ModelFamily, spec: RenderSpec) -> float:
    """Seconds of one denoise step on the family's reference device."""
    ratio = _ratio(family, spec)
    return family.reference_step_s * (family.linear_share * ratio + (1 - family.linear_share) * ratio * ratio)


def predict_decode_s(family: ModelFamily, spec: RenderSpec) -> float:
    """Seconds of the decode, from latents to frames, on the family's reference device."""
    return family.reference_decode_s * _ratio(family, spec)


def predict(family: ModelFamily, spec: RenderSpec) -> float:
    """GPU seconds of the whole render on the family's reference device: every step, then the decode."""
    steps = spec.num_inference_steps * RECIPES[spec.profile].compute_share
    return steps * predict_step_s(family, spec) + predict_decode_s(family, spec)


def predict_resident_bytes(family: ModelFamily, spec: RenderSpec) -> int:
    """Device memory that a begun render holds between two steps, at most: latents, embeddings, rotary tables, cache.

    In 32 bits, which no GPU needs, but for the step cache: that is most of it, and of the family's own precision.
    `tests/contract/workers/test_engine_model.py` holds it against the real thing.
    """
    latents = 16 * family.latent_frames(spec.num_frames) * (spec.height // 8) * (spec.width // 8)
    embeddings = 2 * family.max_prompt_tokens * _TEXT_DIM
    sequence = tokens(family, spec.width, spec.height, spec.num_frames)
    rotary = 2 * sequence * _HEAD_DIM
    pictures = 2 if family.image_to_video else 1
    held = 4 * ((1 + pictures) * latents + embeddings + rotary)
    if RECIPES[spec.profile].cache_threshold is not None:
        # Two tensors (`workers/cogvideox/stepcache.py`), each with and without the prompt.
        held += 2 * 2 * sequence * family.token_dim * (4 if family.dtype == "float32" else 2)
    return held


def predict_finish_s(spec: RenderSpec) -> float:
    """CPU seconds from rendered frames to the MP4: interpolating at the rendered size, then scaling and encoding."""
    wanted = spec.delivery
    made = 0 if wanted.fps == spec.fps else wanted.num_frames
    interpolated = made * spec.width * spec.height / 1e6
    delivered = wanted.num_frames * wanted.width * wanted.height / 1e6
    return _FINISH_S + interpolated * _INTERPOLATE_S + delivered * _ENCODE_S


def _ratio(family: ModelFamily, spec: RenderSpec) -> float:
    reference = tokens(family, *family.native_size, family.default_frames)
    return tokens(family, spec.width, spec.height, spec.num_frames) / reference

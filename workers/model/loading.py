"""A diffusers checkpoint of CogVideoX from its directory onto the device, and whether it is what it should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import diffusers
import torch
import transformers
from diffusers import CogVideoXImageToVideoPipeline, CogVideoXPipeline
from transformers import T5EncoderModel

from orchestrator.domain.catalog import ModelFamily
from orchestrator.domain.errors import ConfigError

Pipeline: TypeAlias = CogVideoXPipeline | CogVideoXImageToVideoPipeline


def placement(family: ModelFamily) -> tuple[torch.device, torch.dtype]:
    """Where and in what precision this process renders: the family's own dtype on a GPU, float32 on the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda"), getattr(torch, family.dtype)
    return torch.device("cpu"), torch.float32


def load(
    path: Path, family: ModelFamily, device: torch.device, dtype: torch.dtype, *, transformer_only: bool = False
) -> Pipeline:
    """Load the diffusers checkpoint in the directory `path`, resident on `device`.

    With `transformer_only` it has neither text encoder nor VAE. Raises `ConfigError` when `path` holds no checkpoint,
    or one that is not of this family's kind.
    """
    # Without this check diffusers takes a missing directory for a repository's name and blames the network.
    if not (path / "model_index.json").is_file():
        raise ConfigError(f"no diffusers checkpoint at {path}: model_index.json is missing")
    if family.temporal_patch > 1 and dtype is torch.float16:
        # Its activations overflow: black videos (zai-org/CogVideo #559, #593, #637).
        raise ConfigError(f"{family.name} cannot be rendered in float16, only in {family.dtype} or float32")
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    kind = CogVideoXImageToVideoPipeline if family.image_to_video else CogVideoXPipeline
    if transformer_only:
        given = dict.fromkeys(("tokenizer", "text_encoder", "vae"))
    else:
        given = {"text_encoder": _text_encoder(path / "text_encoder", dtype)}
    pipeline = kind.from_pretrained(path, torch_dtype=dtype, local_files_only=True, use_safetensors=True, **given)
    _check(pipeline, family, path)
    return pipeline.to(device)


def _text_encoder(path: Path, dtype: torch.dtype) -> T5EncoderModel:
    # Weights that a file lacks would be random ones, and only a warning told; diffusers' own classes refuse them.
    how: dict[str, Any] = {"dtype": dtype, "local_files_only": True, "use_safetensors": True}
    loaded: Any = T5EncoderModel.from_pretrained(path, output_loading_info=True, **how)
    encoder: T5EncoderModel = loaded[0]
    told: dict[str, set[str]] = loaded[1]
    if missing := sorted(told["missing_keys"]):
        raise ConfigError(f"the text encoder at {path} lacks {len(missing)} weights, {missing[0]} first")
    return encoder


def _check(pipeline: Pipeline, family: ModelFamily, path: Path) -> None:
    transformer = pipeline.transformer.config
    takes_picture = transformer.in_channels == 2 * transformer.out_channels
    width, height = family.default_size
    positions = (8 * transformer.sample_width, 8 * transformer.sample_height, transformer.sample_frames)
    generation = 1 if transformer.patch_size_t is None else transformer.patch_size_t
    wrong = None
    if takes_picture is not family.image_to_video:
        wrong = "is an image-to-video model" if takes_picture else "is a text-to-video model"
    elif generation != family.temporal_patch:
        wrong = "is a CogVideoX 1.0 model" if generation == 1 else "is a CogVideoX 1.5 model"
    elif transformer.use_rotary_positional_embeddings is not (family.scheduler == "dpm"):
        wrong = "is a 5B model" if transformer.use_rotary_positional_embeddings else "is a 2B model"
    elif generation == 1 and transformer.max_text_seq_length != family.max_prompt_tokens:
        # 1.5's config says 226, and nothing in the model depends on it; it was trained with 224.
        wrong = f"takes {transformer.max_text_seq_length} prompt tokens"
    elif transformer.use_learned_positional_embeddings and positions != (width, height, family.max_frames):
        # diffusers would replace learned positions that do not fit the frames, without a word.
        wrong = f"has learned the positions of {positions[0]}x{positions[1]} and {positions[2]} frames"
    if wrong:
        raise ConfigError(f"the checkpoint at {path} {wrong}, which {family.name} is not")

"""A diffusers checkpoint of CogVideoX from its directory onto the device, and whether it is what it should be."""

from __future__ import annotations

import inspect
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import diffusers
import torch
import transformers
from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXImageToVideoPipeline,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
)
from safetensors import safe_open
from transformers import T5Config, T5EncoderModel

from orchestrator.domain import jsontext
from orchestrator.domain.catalog import ModelFamily
from orchestrator.domain.errors import ConfigError
from orchestrator.telemetry import logs
from workers.cogvideox import hostmemory, positions, room, weights

Pipeline: TypeAlias = CogVideoXPipeline | CogVideoXImageToVideoPipeline


# What of a pipeline has weights, in the order of loading.
PARTS = ("text_encoder", "transformer", "vae")


def device_here() -> torch.device:
    """Where this process renders."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def free_on(device: torch.device) -> int | None:
    """Free bytes of the device's memory; None for a CPU, which has none of its own."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def dtype_for(
    path: Path,
    family: ModelFamily,
    device: torch.device,
    setting: room.Setting = "auto",
    *,
    ranks: int = 1,
    transformer_only: bool = False,
) -> torch.dtype:
    """The precision to load the checkpoint at `path` in: the setting's, or with `auto` what suits and fits the device.

    Takes no memory. `ranks` that share a render must all have the same, so there `auto` is float32 on a CPU and never
    less. Raises `ConfigError`, one line, when the checkpoint fits in none that is allowed.
    """
    if setting == "auto" and ranks > 1 and device.type == "cpu":
        setting = "float32"
    found = weights.read(path, PARTS[1:2] if transformer_only else PARTS)
    has = room.Room(host=hostmemory.read(), device=free_on(device))
    chosen = room.choose(setting, family, found, has, channels=_channels(path))
    if chosen.instead_of is not None:
        logs.get("model").warning("loaded_in", dtype=chosen.dtype, because=chosen.instead_of)
    dtype: torch.dtype = getattr(torch, chosen.dtype)
    return dtype


def load(
    path: Path, family: ModelFamily, device: torch.device, dtype: torch.dtype, *, transformer_only: bool = False
) -> Pipeline:
    """Load the diffusers checkpoint in the directory `path`, resident on `device`.

    Each part is on the device before the next one is read, and no weight is held twice beyond one file of its part.
    With `transformer_only` there is neither text encoder nor VAE. Raises `ConfigError` when `path` holds no checkpoint,
    or one that is not of this family's kind.
    """
    # Without this check diffusers takes a missing directory for a repository's name and blames the network.
    if not (path / "model_index.json").is_file():
        raise ConfigError(f"no diffusers checkpoint at {path}: model_index.json is missing")
    if family.temporal_patch > 1 and dtype is torch.float16:
        # Its activations overflow: black videos (zai-org/CogVideo #559, #593, #637).
        raise ConfigError(f"{family.name} cannot be rendered in float16, only in {family.dtype} or float32")
    _check(path, family)
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    how: dict[str, Any] = {"dtype": dtype, "local_files_only": True, "use_safetensors": True}
    given: dict[str, Any] = dict.fromkeys(("tokenizer", "text_encoder", "vae"))
    if not transformer_only:
        del given["tokenizer"]
        encoder: Any = _text_encoder(path / "text_encoder", dtype)
        given["text_encoder"] = encoder.to(device)
    given["transformer"] = CogVideoXTransformer3DModel.from_pretrained(path / "transformer", **how).to(device)
    if not transformer_only:
        given["vae"] = AutoencoderKLCogVideoX.from_pretrained(path / "vae", **how).to(device)
    kind = CogVideoXImageToVideoPipeline if family.image_to_video else CogVideoXPipeline
    return kind.from_pretrained(path, **how, **given)


def _text_encoder(path: Path, dtype: torch.dtype) -> T5EncoderModel:
    """As transformers loads it, but read and not mapped: its own way keeps every file mapped until the last is cast."""
    config = T5Config.from_pretrained(path, local_files_only=True)
    with ExitStack() as opened:
        files = [opened.enter_context(safe_open(file, framework="pt", backend="pread")) for file in weights.files(path)]
        loaded: Any = T5EncoderModel.from_pretrained(
            None,
            config=config,
            state_dict={name: file.get_slice(name) for file in files for name in file.keys()},  # noqa: SIM118
            dtype=dtype,
            output_loading_info=True,
        )
    encoder: T5EncoderModel = loaded[0]
    told: dict[str, set[str]] = loaded[1]
    # Weights that a file lacks would be random ones, and only a warning told; diffusers' own classes refuse them.
    if missing := sorted(told["missing_keys"]):
        raise ConfigError(f"the text encoder at {path} lacks {len(missing)} weights, {missing[0]} first")
    return encoder


def _channels(path: Path) -> int:
    """Of the VAE at full size, which decide what a decode takes."""
    file = path / "vae" / "config.json"
    try:
        return int(jsontext.parse(file.read_bytes())["block_out_channels"][0])
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise ConfigError(f"{file} cannot be read: {type(error).__name__}: {error}") from None


def _check(path: Path, family: ModelFamily) -> None:
    """Raise `ConfigError` when the checkpoint's transformer, by its config, is not what the family promises."""
    transformer = _transformer_config(path / "transformer")
    takes_picture = transformer.in_channels == 2 * transformer.out_channels
    generation = 1 if transformer.patch_size_t is None else transformer.patch_size_t
    has = positions.Positions.of(transformer)
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
    elif has.only is not None and has.only != (family.default_size, family.max_frames):
        # diffusers would replace learned positions that do not fit the frames, without a word.
        wrong = f"has learned the positions of {has.words}"
    if wrong:
        raise ConfigError(f"the checkpoint at {path} {wrong}, which {family.name} is not")
    if lacking := positions.missing(has, family):
        raise ConfigError(f"the checkpoint at {path} {lacking}")


def _transformer_config(path: Path) -> Any:
    """The transformer's config, with diffusers' own defaults for what older files do not say."""
    try:
        told = jsontext.parse((path / "config.json").read_bytes())
        known = inspect.signature(CogVideoXTransformer3DModel.__init__).parameters.values()
        defaults = {each.name: each.default for each in known if each.default is not each.empty}
        return SimpleNamespace(**defaults | told)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path / 'config.json'} cannot be read: {type(error).__name__}: {error}") from None

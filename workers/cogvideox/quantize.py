"""The linear layers of a transformer's blocks in 8 bits, by torchao."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from orchestrator.domain.errors import ConfigError

if TYPE_CHECKING:
    from diffusers import CogVideoXTransformer3DModel

# Compute capability of the first NVIDIA GPUs with fp8 tensor cores (Ada); Hopper is 9.0.
_FP8_CAPABILITY = (8, 9)


def quantize(transformer: CogVideoXTransformer3DModel, kind: Literal["fp8", "int8"], device: torch.device) -> None:
    """Quantize, in place: weights per output channel, activations per token as they come.

    Only the linear layers of attention and feed-forward, which are nearly all of the work. The modulation by the
    timestep (`norm1`, `norm2`) is one row per video, no work at all, and its error would move every token; embeddings
    and the output projection are small, and the first and the last to touch the latents. Raises `ConfigError` when
    torchao is missing or the device cannot.
    """
    if kind == "fp8":
        _require_fp8(transformer, device)
    torchao = _torchao()
    if kind == "fp8":
        config = torchao.Float8DynamicActivationFloat8WeightConfig(
            granularity=torchao.PerRow(), set_inductor_config=False
        )
    else:
        config = torchao.Int8DynamicActivationInt8WeightConfig(set_inductor_config=False)
    torchao.quantize_(transformer.transformer_blocks, config, filter_fn=_is_work)


def _is_work(module: nn.Module, name: str) -> bool:
    return isinstance(module, nn.Linear) and (".attn1." in name or ".ff." in name)


def _require_fp8(transformer: CogVideoXTransformer3DModel, device: torch.device) -> None:
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < _FP8_CAPABILITY:
        raise ConfigError("quantization fp8 needs an NVIDIA GPU of compute capability 8.9 or later; int8 runs anywhere")
    if transformer.dtype != torch.bfloat16:
        raise ConfigError(f"quantization fp8 needs a model in bfloat16, and this one is in {transformer.dtype}")


def _torchao() -> Any:
    # Imported here: it takes seconds, and most workers never quantize.
    try:
        import torchao.quantization
    except ImportError as error:
        raise ConfigError(f"quantization needs torchao, of cogmill[quantize]: {error}") from None
    return torchao.quantization

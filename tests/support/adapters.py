"""Small random LoRA adapters, saved as diffusers' own training scripts save them, and as peft does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import CogVideoXPipeline, CogVideoXTransformer3DModel
from peft import LoraConfig, get_peft_model

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")


def save_adapter(
    directory: Path,
    transformer: CogVideoXTransformer3DModel,
    *,
    seed: int,
    layers: tuple[str, ...] = ATTENTION,
    rank: int = 4,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """An adapter of layers whose name ends in one of `layers`, strong enough to show; `settings` are LoraConfig's."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, module in transformer.named_modules():
        if isinstance(module, torch.nn.Linear) and name.endswith(layers):
            weights[f"{name}.lora_A.weight"] = torch.randn(rank, module.in_features, generator=generator)
            weights[f"{name}.lora_B.weight"] = torch.randn(module.out_features, rank, generator=generator)
    directory.mkdir(parents=True)
    CogVideoXPipeline.save_lora_weights(
        directory,
        transformer_lora_layers=weights,
        transformer_lora_adapter_metadata=None
        if settings is None
        else {"r": rank, "lora_alpha": rank, "target_modules": list(layers), **settings},
    )
    return directory


def save_with_peft(directory: Path, checkpoint: Path) -> Path:
    """`save_pretrained` of peft, of an adapter of a checkpoint's transformer at half its strength."""
    config = CogVideoXTransformer3DModel.load_config(checkpoint / "transformer")
    transformer = CogVideoXTransformer3DModel.from_config(config)
    settings = LoraConfig(r=4, lora_alpha=2, target_modules=list(ATTENTION), init_lora_weights=False)
    get_peft_model(transformer, settings).save_pretrained(str(directory))
    return directory

"""A LoRA adapter as people publish it: which linear layers it changes, by what, and how strongly.

Names of tensors are those of whoever saved the file. Beside diffusers' own there are, for CogVideoX:
- none before the layer: `save_lora_adapter` of diffusers, and CogVideo's tools/export_sat_lora_weight.py
- `base_model.model.`: peft's `save_pretrained`; its trainers' checkpoints also have `.default` after `lora_A`
- `diffusion_model.`: ComfyUI, and trainers that save for it
- `lora_unet_`, and all dots of the layer as `_`: kohya's sd-scripts, and with `__` VideoX-Fun, formerly CogVideoX-Fun
  (videox_fun/utils/lora_utils.py); `lora_transformer_`: OneTrainer
- SAT's own, as the table of that export translates them
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.utils import convert_unet_state_dict_to_peft
from safetensors import SafetensorError, safe_open

from workers.cogvideox import strength

# The layer of a key, and which part of its change this is.
_PART = re.compile(r"(?P<stem>.+)\.(?:lora_(?P<side>A|B|down|up)(?:\.default)?\.weight|(?P<alpha>alpha))")
_SIDES = {"A": "down", "down": "down", "B": "up", "up": "up"}
# What may stand before a layer's name.
_PREFIX = re.compile(
    r"^(?:base_model\.model\.)?(?:transformer\.|(?:model\.)?diffusion_model\.|lora_(?:unet|transformer)__?)?"
)
_SAT = re.compile(r"(?:.+\.)?layers\.(?P<block>\d+)\.attention\.(?P<linear>\w+)\.matrix_(?P<side>[AB])\.(?P<which>\d)")
_SAT_LAYERS = {
    ("query_key_value", "0"): "to_q",
    ("query_key_value", "1"): "to_k",
    ("query_key_value", "2"): "to_v",
    ("dense", "0"): "to_out.0",
}
_OTHER_KINDS = (
    (re.compile(r"dora_scale|magnitude_vector"), "DoRA, which is not supported"),
    (re.compile(r"\.lokr_"), "LoKr, which is not supported"),
    (re.compile(r"\.hada_"), "LoHa, which is not supported"),
    (re.compile(r"\.oft_"), "OFT, which is not supported"),
    (re.compile(r"(?:base_model\.)?text_encoder|lora_te\d*_"), "a change of the text encoder, which is not supported"),
)

# Tensors of one layer by what they are: `down`, `up`, `alpha`.
Part = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Change:
    """What is added to one linear layer's weight: `scale * up @ down`. `down` is [rank, in], `up` [out, rank]."""

    down: torch.Tensor
    up: torch.Tensor
    scale: float

    @property
    def rank(self) -> int:
        return int(self.down.shape[0])


def read(file: Path, linears: Mapping[str, torch.nn.Linear]) -> dict[str, Change]:
    """The layers that an adapter's file changes, by their names in the model. Raises `ValueError` unless all fits.

    Whoever passes over what it does not know renders as if there were no adapter, or half of one. Nothing is
    computed: the tensors are the file's own, on the CPU.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            metadata: dict[str, str] = opened.metadata() or {}
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 (it is no mapping)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"is no safetensors file: {error}") from error
    parts = _parts(tensors, linears)
    if not parts:
        raise ValueError("changes nothing")
    said = strength.statements(metadata, file, has_alphas=any("alpha" in part for part in parts.values()))
    changes = {}
    for layer, part in parts.items():
        down, up = _fitting(layer, part, linears[layer])
        alpha = float(part["alpha"].item()) if "alpha" in part else None
        changes[layer] = Change(down, up, strength.scale(said, layer, len(down), alpha))
    return changes


def _parts(tensors: Mapping[str, torch.Tensor], linears: Iterable[str]) -> dict[str, Part]:
    """Of each layer what there is of it. Raises `ValueError` for what is no layer's."""
    # A flattened name is found among the model's own: underscores are parts of names, too.
    names = {spelled: name for name in linears for spelled in (name, name.replace(".", "_"))}
    parts: dict[str, Part] = {}
    for key, tensor in tensors.items():
        stem, part = _meaning(key)
        layer = names.get(_PREFIX.sub("", stem, count=1))
        if layer is None:
            raise ValueError(f"changes {stem}, and this model has no such linear layer")
        if part in parts.setdefault(layer, {}):
            raise ValueError(f"has {part} of {layer} twice, the second time as {key!r}")
        parts[layer][part] = tensor
    return parts


def _meaning(key: str) -> tuple[str, str]:
    """The layer, under whatever name, and the part of its change that a tensor's name means."""
    for pattern, what in _OTHER_KINDS:
        if pattern.search(key):
            raise ValueError(f"has {key!r}: {what}")
    (name,) = convert_unet_state_dict_to_peft({key: None})  # `.lora.down`, `.processor.`, `to_q_lora.down` and the like
    if sat := _SAT.fullmatch(name):
        linear = _SAT_LAYERS.get((sat["linear"], sat["which"]), sat["linear"])
        return f"transformer_blocks.{sat['block']}.attn1.{linear}", _SIDES[sat["side"]]
    if found := _PART.fullmatch(name):
        return found["stem"], found["alpha"] or _SIDES[found["side"]]
    raise ValueError(f"has {key!r}, which is nothing of a LoRA adapter that is understood")


def _fitting(layer: str, part: Part, linear: torch.nn.Linear) -> tuple[torch.Tensor, torch.Tensor]:
    """`down` and `up` of a layer, if both are there and fit."""
    shapes = {name: list(tensor.shape) for name, tensor in part.items() if name != "alpha"}
    rank = (shapes.get("down") or [0])[0]
    fitting = {"down": [rank, linear.in_features], "up": [linear.out_features, rank]}
    if rank == 0 or shapes != fitting:
        raise ValueError(f"has the shapes {shapes} for {layer}, where {fitting} would fit")
    if "alpha" in part and part["alpha"].numel() != 1:
        raise ValueError(f"has an alpha of {part['alpha'].numel()} numbers for {layer}")
    return part["down"], part["up"]

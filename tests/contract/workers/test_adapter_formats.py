"""LoRA adapters as other people's tools write them: each changes the layers that it means, as strongly as it means."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import CogVideoXPipeline, CogVideoXTransformer3DModel
from peft import LoHaConfig, LoKrConfig, LoraConfig, get_peft_model
from safetensors.torch import save_file

from orchestrator.config import AdapterSettings
from orchestrator.domain.catalog import FAMILIES
from orchestrator.domain.errors import RenderFailed
from tests.support.models import Checkpoint, a_tiny_spec
from workers.cogvideox import loading
from workers.cogvideox.adapters import Adapters

FILE = "pytorch_lora_weights.safetensors"
TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
RANK = 4
# Of each layer what a training made of it: (down, up).
Weights = dict[str, tuple[torch.Tensor, torch.Tensor]]
Used = Callable[..., dict[str, torch.Tensor]]
# Writes the weights into a directory, and says by what they are meant to be multiplied: for all layers, or for each.
Publisher = Callable[[Path, Weights], float | dict[str, float]]


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint: Checkpoint) -> loading.Pipeline:
    return loading.load(tiny_checkpoint("tiny-2b"), FAMILIES["tiny-2b"], torch.device("cpu"), torch.float32)


@pytest.fixture
def trained(pipeline: loading.Pipeline) -> Weights:
    return weights(pipeline.transformer)


def weights(transformer: torch.nn.Module, rank: Callable[[str], int] = lambda layer: RANK) -> Weights:
    generator = torch.Generator().manual_seed(0)
    return {
        name: (
            torch.randn(rank(name), module.in_features, generator=generator),
            torch.randn(module.out_features, rank(name), generator=generator),
        )
        for name, module in transformer.named_modules()
        if isinstance(module, torch.nn.Linear) and name.endswith(TARGETS)
    }


@pytest.fixture(scope="module")
def used(pipeline: loading.Pipeline) -> Used:
    """What an adapter adds to the weight of each linear layer of the model, [out, in], as the layers compute it."""
    linears = {name: it for name, it in pipeline.transformer.named_modules() if isinstance(it, torch.nn.Linear)}
    configured: dict[str, AdapterSettings] = {}
    switch = Adapters(pipeline, configured, Path, 1)

    def use(source: Path, strength: float = 1.0) -> dict[str, torch.Tensor]:
        name = f"adapter {len(configured)}"
        configured[name] = AdapterSettings(source=str(source), models=("tiny-2b",))
        switch.use(a_tiny_spec("tiny-2b", adapter=name, adapter_scale=strength))
        with torch.inference_mode():
            found = {name: _difference(pipeline.transformer.get_submodule(name), it) for name, it in linears.items()}
        switch.use(a_tiny_spec("tiny-2b"))
        return found

    return use


def _difference(module: torch.nn.Module, linear: torch.nn.Linear) -> torch.Tensor:
    if module is linear:
        return torch.zeros_like(linear.weight)
    unit = torch.eye(linear.in_features)
    difference: torch.Tensor = module(unit) - linear(unit)
    return difference.T


def require(found: Mapping[str, torch.Tensor], trained: Weights, scale: float | Mapping[str, float]) -> None:
    for layer, added in found.items():
        if layer not in trained:
            assert not added.any(), layer
            continue
        down, up = trained[layer]
        wanted = (scale if isinstance(scale, float) else scale[layer]) * up @ down
        assert torch.allclose(added, wanted, rtol=1e-3, atol=1e-3), layer


def written(
    directory: Path,
    trained: Weights,
    names: tuple[str, str],
    layer: Callable[[str], str],
    *,
    file: str = FILE,
    alpha: float | None = None,
    metadata: dict[str, str] | None = None,
) -> None:
    """Write each layer's two tensors under `names`, and its tensor `alpha`."""
    tensors = {}
    for name, (down, up) in trained.items():
        tensors[f"{layer(name)}.{names[0]}"], tensors[f"{layer(name)}.{names[1]}"] = down, up
        if alpha is not None:
            tensors[f"{layer(name)}.alpha"] = torch.tensor(alpha)
    save_file(tensors, directory / file, metadata)


A_B = ("lora_A.weight", "lora_B.weight")
DOWN_UP = ("lora_down.weight", "lora_up.weight")


def flat(prefix: str) -> Callable[[str], str]:
    return lambda layer: prefix + layer.replace(".", "_")


def dotted(prefix: str) -> Callable[[str], str]:
    return lambda layer: prefix + layer


# --- Who writes what ---


def diffusers(directory: Path, trained: Weights, **config: Any) -> float:
    """`save_lora_weights` of the pipeline, with what its training scripts hand over."""
    layers = {f"{layer}.lora_{'AB'[n]}.weight": pair[n] for layer, pair in trained.items() for n in (0, 1)}
    metadata = dataclasses.asdict(LoraConfig(r=RANK, target_modules=list(TARGETS), **config)) if config else None
    CogVideoXPipeline.save_lora_weights(
        directory, transformer_lora_layers=layers, transformer_lora_adapter_metadata=metadata
    )
    return 1.0


def diffusers_with_alpha(directory: Path, trained: Weights) -> float:
    diffusers(directory, trained, lora_alpha=2)
    return 2 / RANK


def diffusers_rank_stabilised(directory: Path, trained: Weights) -> float:
    diffusers(directory, trained, lora_alpha=3, use_rslora=True)
    return 3 / math.sqrt(RANK)


def diffusers_with_patterns(directory: Path, trained: Weights) -> dict[str, float]:
    diffusers(directory, trained, lora_alpha=8, alpha_pattern={"to_q": 1, "^transformer_blocks.1.attn1.to_v": 6})
    special = {"transformer_blocks.1.attn1.to_v": 6 / RANK}
    return {layer: special.get(layer, 1 / RANK if layer.endswith("to_q") else 8 / RANK) for layer in trained}


def diffusers_before_peft(directory: Path, trained: Weights) -> float:
    """The names of `CogVideoXPipeline.save_lora_weights` where layers were `LoRALinearLayer`s."""
    written(directory, trained, ("lora.down.weight", "lora.up.weight"), dotted("transformer."))
    return 1.0


def diffusers_attention_processors(directory: Path, trained: Weights) -> float:
    """diffusers' first format, of `AttnProcsLayers`: `attn1.processor.to_q_lora.down.weight`."""

    def layer(name: str) -> str:
        block, _, linear = name.partition(".attn1.")
        return f"{block}.attn1.processor.{linear.removesuffix('.0')}_lora"

    written(directory, trained, ("down.weight", "up.weight"), layer)
    return 1.0


def sat_export(directory: Path, trained: Weights) -> float:
    """CogVideo's tools/export_sat_lora_weight.py: no prefix, and no alpha anywhere."""
    written(directory, trained, A_B, dotted(""))
    return 1.0


SAT = {
    "to_q": ("query_key_value", 0),
    "to_k": ("query_key_value", 1),
    "to_v": ("query_key_value", 2),
    "to_out.0": ("dense", 0),
}


def sat_itself(directory: Path, trained: Weights) -> float:
    """What that export reads, by its table `LORA_KEYS_RENAME` and its `PREFIX_KEY`."""
    tensors = {}
    for layer, pair in trained.items():
        block, _, linear = layer.removeprefix("transformer_blocks.").partition(".attn1.")
        name, which = SAT[linear]
        for side, tensor in zip("AB", pair, strict=True):
            key = f"model.diffusion_model.transformer.layers.{block}.attention.{name}.matrix_{side}.{which}"
            tensors[key] = tensor
    save_file(tensors, directory / "sat.safetensors")
    return 1.0


def comfy(directory: Path, trained: Weights) -> float:
    """ComfyUI's own prefix, which trainers write that publish for it, and VideoX-Fun strips (lora_utils.py)."""
    written(directory, trained, A_B, dotted("diffusion_model."), file="style.safetensors")
    return 1.0


def comfy_with_alpha(directory: Path, trained: Weights) -> float:
    written(directory, trained, DOWN_UP, dotted("diffusion_model."), alpha=1.0)
    return 1 / RANK


def kohya(directory: Path, trained: Weights) -> float:
    """sd-scripts: networks/lora.py names modules, train_network.py writes the metadata."""
    told = {
        "ss_network_module": "networks.lora",
        "ss_network_dim": "4",
        "ss_network_alpha": "2",
        "ss_network_args": "null",
    }
    written(directory, trained, DOWN_UP, flat("lora_unet_"), alpha=2.0, metadata=told)
    return 2 / RANK


def kohya_resized(directory: Path, trained: Weights) -> float:
    """sd-scripts' resize_lora.py writes these words."""
    told = {"ss_network_dim": "Dynamic", "ss_network_alpha": "Dynamic"}
    written(directory, trained, DOWN_UP, flat("lora_unet_"), alpha=1.0, metadata=told)
    return 1 / RANK


def kohya_without_tensors(directory: Path, trained: Weights) -> float:
    told = {"ss_network_dim": "4", "ss_network_alpha": "2.0"}
    written(directory, trained, DOWN_UP, flat("lora_unet_"), metadata=told)
    return 2 / RANK


def videox_fun(directory: Path, trained: Weights) -> float:
    """VideoX-Fun's `LoRANetwork`: prefix + "." + "" + "." + name, dots replaced; it saves in bfloat16."""
    tensors: dict[str, torch.Tensor] = {}
    for layer, (down, up) in trained.items():
        name = f"lora_unet..{layer}".replace(".", "_")
        parts = {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.tensor(3.0)}
        tensors |= {f"{name}.{part}": tensor.to(torch.bfloat16) for part, tensor in parts.items()}
    save_file(tensors, directory / "checkpoint-100.safetensors", {"sshs_model_hash": "0", "sshs_legacy_hash": "0"})
    for layer, pair in trained.items():
        trained[layer] = (pair[0].to(torch.bfloat16).float(), pair[1].to(torch.bfloat16).float())
    return 3 / RANK


def one_trainer(directory: Path, trained: Weights) -> float:
    written(directory, trained, DOWN_UP, flat("lora_transformer_"), alpha=8.0)
    return 8 / RANK


def peft_trainer(directory: Path, trained: Weights) -> float:
    """A state dict of peft's as it is: with the adapter's name in it."""
    written(directory, trained, ("lora_A.default.weight", "lora_B.default.weight"), dotted("base_model.model."))
    return 1.0


def finetrainers(directory: Path, trained: Weights) -> float:
    """finetrainers/trainer/sft_trainer/trainer.py hands this to `_save_lora_weights`."""
    config = {"r": RANK, "lora_alpha": 2, "init_lora_weights": True, "target_modules": "(transformer_blocks).*(to_q)"}
    written(directory, trained, A_B, dotted("transformer."), metadata={"lora_config": json.dumps(config, indent=4)})
    return 2 / RANK


def plain_metadata(directory: Path, trained: Weights, **told: str) -> float:
    told = {"format": "pt", **(told or {"lora_alpha": "2", "r": "4"})}
    written(directory, trained, A_B, dotted("transformer."), metadata=told)
    return 2 / RANK


def plain_metadata_other_words(directory: Path, trained: Weights) -> float:
    return plain_metadata(directory, trained, lora_alpha="2.0", lora_rank="4")


def plain_alpha(directory: Path, trained: Weights) -> float:
    return plain_metadata(directory, trained, alpha="2")


def network_alpha(directory: Path, trained: Weights) -> float:
    return plain_metadata(directory, trained, network_alpha="2", network_dim="4")


def config_beside(directory: Path, trained: Weights) -> float:
    """diffusers' file, and peft's settings of it beside it."""
    diffusers(directory, trained)
    LoraConfig(r=RANK, lora_alpha=2, target_modules=list(TARGETS)).save_pretrained(str(directory))
    return 2 / RANK


def all_say_the_same(directory: Path, trained: Weights) -> float:
    config = json.dumps({"r": RANK, "lora_alpha": 2})
    written(directory, trained, A_B, dotted(""), alpha=2.0, metadata={"lora_config": config, "lora_alpha": "2"})
    (directory / "adapter_config.json").write_text(config)
    return 2 / RANK


PUBLISHERS: tuple[Publisher, ...] = (
    diffusers, diffusers_with_alpha, diffusers_rank_stabilised, diffusers_with_patterns, diffusers_before_peft,
    diffusers_attention_processors, sat_export, sat_itself, comfy, comfy_with_alpha, kohya, kohya_resized,
    kohya_without_tensors, videox_fun, one_trainer, peft_trainer, finetrainers, plain_metadata,
    plain_metadata_other_words, plain_alpha, network_alpha, config_beside, all_say_the_same,
)  # fmt: skip


@pytest.mark.parametrize("publish", PUBLISHERS, ids=lambda publish: publish.__name__)
def test_a_published_adapter_changes_what_it_means_as_strongly_as_it_means(
    tmp_path: Path, used: Used, trained: Weights, publish: Publisher
) -> None:
    scale = publish(tmp_path, trained)
    require(used(tmp_path), trained, scale)


def test_a_render_s_own_strength_comes_on_top(tmp_path: Path, used: Used, trained: Weights) -> None:
    scale = diffusers_rank_stabilised(tmp_path, trained)
    require(used(tmp_path, -0.5), trained, -0.5 * scale)


@pytest.mark.parametrize("saved_by", ["peft", "diffusers"])
@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({}, 2.0),  # LoraConfig's own default of alpha is 8
        ({"lora_alpha": 1}, 0.25),
        ({"lora_alpha": 6, "use_rslora": True}, 3.0),
        ({"rank_pattern": {"to_q": 2, "transformer_blocks.0.attn1.to_k": 3}, "lora_alpha": 6}, None),
    ],
)
def test_what_peft_and_diffusers_save_comes_back_as_they_computed_it(
    tmp_path: Path, used: Used, pipeline: loading.Pipeline, saved_by: str, config: dict[str, Any], scale: float | None
) -> None:
    """`save_pretrained` of peft, `save_lora_adapter` of a diffusers model; ranks may differ between layers."""
    settings = LoraConfig(r=RANK, target_modules=list(TARGETS), **config)
    source = CogVideoXTransformer3DModel.from_config(pipeline.transformer.config)
    if saved_by == "peft":
        source = get_peft_model(source, settings)
    else:
        source.add_adapter(settings, "style")
    generator, computed, trained = torch.Generator().manual_seed(1), {}, {}
    for name, module in source.named_modules():
        if not hasattr(module, "lora_A") or not len(module.lora_A):
            continue
        (slot,) = module.lora_A
        with torch.no_grad():
            for side in (module.lora_A[slot].weight, module.lora_B[slot].weight):
                side.copy_(torch.randn(side.shape, generator=generator))
        layer = name.removeprefix("base_model.model.")
        computed[layer] = module.get_delta_weight(slot).detach()
        trained[layer] = (module.lora_A[slot].weight.detach(), module.lora_B[slot].weight.detach())
    if saved_by == "peft":
        source.save_pretrained(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} >= {"adapter_config.json", "adapter_model.safetensors"}
    else:
        source.save_lora_adapter(tmp_path, "style")
    found = used(tmp_path)
    assert {layer for layer, added in found.items() if added.any()} == set(computed)
    for layer, delta in computed.items():
        torch.testing.assert_close(found[layer], delta, rtol=1e-4, atol=1e-4)
    require(found, trained, scale or {layer: 6 / len(down) for layer, (down, _) in trained.items()})


@pytest.mark.parametrize("alphas", [False, True])
def test_layers_may_differ_in_rank(tmp_path: Path, used: Used, pipeline: loading.Pipeline, alphas: bool) -> None:
    """And nothing says which: a file of a resize, or of several trainings."""
    ranks = {"to_q": 1, "to_k": 8, "to_v": 4, "to_out.0": 4}
    trained = weights(pipeline.transformer, lambda layer: ranks[layer.partition(".attn1.")[2]])
    written(tmp_path, trained, DOWN_UP, flat("lora_unet_"), alpha=2.0 if alphas else None)
    scale = {layer: 2 / len(down) if alphas else 1.0 for layer, (down, _) in trained.items()}
    require(used(tmp_path), trained, scale)


# --- What is refused ---


def _peft(directory: Path, pipeline: loading.Pipeline, config: Any) -> None:
    transformer = CogVideoXTransformer3DModel.from_config(pipeline.transformer.config)
    get_peft_model(transformer, config).save_pretrained(str(directory))


KINDS: dict[str, Any] = {
    "DoRA": LoraConfig(r=RANK, target_modules=["to_q"], use_dora=True),
    "LoKr": LoKrConfig(r=RANK, target_modules=["to_q"]),
    "LoHa": LoHaConfig(r=RANK, target_modules=["to_q"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_other_kinds_are_refused_by_name(tmp_path: Path, used: Used, pipeline: loading.Pipeline, kind: str) -> None:
    _peft(tmp_path, pipeline, KINDS[kind])
    with pytest.raises(RenderFailed, match=kind) as refused:
        used(tmp_path)
    assert refused.value.code == "adapter_unusable"
    (tmp_path / "adapter_config.json").unlink()  # the names of the tensors say it, too
    with pytest.raises(RenderFailed, match=kind):
        used(tmp_path)


LAYER = "transformer.transformer_blocks.0.attn1.to_q"


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("text_encoder.encoder.block.0.layer.0.SelfAttention.q.lora_A.weight", "text encoder"),
        ("lora_te_encoder_block_0_layer_0_SelfAttention_q.lora_down.weight", "text encoder"),
        ("lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha", "text encoder"),
        (f"{LAYER}.dora_scale", "DoRA"),
        (f"{LAYER}.lokr_w1", "LoKr"),
        (f"{LAYER}.hada_w1_a", "LoHa"),
        (f"{LAYER}.oft_blocks", "OFT"),
        (f"{LAYER}.lora_B.bias", "not.*understood|nothing of a LoRA"),
        (f"{LAYER}.diff", "nothing of a LoRA"),
        (f"{LAYER}.lora_mid.weight", "nothing of a LoRA"),
        ("transformer_blocks.0.attn1.to_q.lora_A.weight", "twice"),
        ("transformer.transformer_blocks.0.attn1.to_x.alpha", "to_x.*no such linear layer"),
        ("transformer.proj_out.alpha", "shapes"),  # which has no weights there
        ("layers.0.attention.query_key_value.matrix_A.7", "no such linear layer"),
        ("lora_unet_transformer_blocks_0_attn1_to_q.lora_up.weight", "twice"),
    ],
)
def test_a_tensor_that_is_not_understood_is_refused_by_name(
    tmp_path: Path, used: Used, trained: Weights, key: str, why: str
) -> None:
    tensors = {f"transformer.{layer}.lora_{'AB'[n]}.weight": pair[n] for layer, pair in trained.items() for n in (0, 1)}
    save_file({**tensors, key: torch.zeros(())}, tmp_path / FILE)
    with pytest.raises(RenderFailed, match=why) as refused:
        used(tmp_path)
    assert refused.value.code == "adapter_unusable"


def lora_config(**config: Any) -> dict[str, str]:
    return {"lora_config": json.dumps({"r": RANK, "lora_alpha": 4, **config})}


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ({"lora_alpha": "much"}, "lora_alpha.*much"),
        ({"lora_alpha": "0"}, "lora_alpha.*0"),
        ({"alpha": "nan"}, "alpha.*nan"),
        ({"lora_alpha": "2", "r": "16"}, "disagree.*rank 16"),
        ({"lora_alpha": "2", "alpha": "3"}, "contradicts itself"),
        ({"use_rslora": "true"}, "use_rslora and no alpha"),
        ({"ss_network_alpha": "Dynamic"}, "Dynamic"),
        ({"lora_scale": "0.5"}, "lora_scale"),
        ({"lora_config": "r=4"}, "lora_config is no JSON object"),
        ({"lora_adapter_metadata": "[]"}, "lora_adapter_metadata is no JSON object"),
        ({"lora_adapter_metadata": json.dumps({"text_encoder.r": 4, "text_encoder.lora_alpha": 4})}, "text_encoder"),
        ({**lora_config(), "lora_alpha": "2"}, "disagree"),
        (lora_config(peft_type="LOHA"), "LOHA"),
        (lora_config(adapter_type="dora-rows"), "dora-rows"),
        (lora_config(use_dora=True), "DoRA"),
        (lora_config(init_lora_weights="pissa_niter_16"), "pissa"),
        (lora_config(layer_replication=[[0, 4], [2, 5]]), "layer_replication"),
        (lora_config(what_peft_will_think_of=3), "what_peft_will_think_of"),
        (lora_config(use_rslora="perhaps"), "use_rslora"),
        (lora_config(alpha_pattern=[1]), "alpha_pattern"),
        (lora_config(alpha_pattern={"to_q": None}), "alpha_pattern.*to_q"),
        (lora_config(rank_pattern={"to_q": 2}), "disagree.*to_q"),
    ],
)
def test_a_strength_that_is_not_understood_is_refused_by_name(
    tmp_path: Path, used: Used, trained: Weights, metadata: dict[str, str], why: str
) -> None:
    written(tmp_path, trained, A_B, dotted("transformer."), metadata=metadata)
    with pytest.raises(RenderFailed, match=why) as refused:
        used(tmp_path)
    assert refused.value.code == "adapter_unusable"


def test_what_stands_beside_the_weights_decides_a_render_s_bits_and_its_fingerprint(
    tmp_path: Path, used: Used, pipeline: loading.Pipeline, trained: Weights
) -> None:
    config_beside(tmp_path, trained)
    configured = {"it": AdapterSettings(source=str(tmp_path), models=("tiny-2b",))}
    before = Adapters(pipeline, configured, Path, 1).revision("it")
    LoraConfig(r=RANK, lora_alpha=4, target_modules=list(TARGETS)).save_pretrained(str(tmp_path))
    changed = Adapters(pipeline, configured, Path, 1).revision("it")
    (tmp_path / "adapter_config.json").write_text("no JSON")
    assert len({before, changed, Adapters(pipeline, configured, Path, 1).revision("it")}) == 3
    with pytest.raises(RenderFailed, match=r"adapter_config\.json is no JSON object"):
        used(tmp_path)

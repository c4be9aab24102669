"""LoRA adapters: each render gets its own, bit for bit, whatever the others asked for and whatever was broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from orchestrator.config import AdapterSettings, PoolSettings, S3Settings
from orchestrator.domain.catalog import FAMILIES, TINY
from orchestrator.domain.errors import RenderFailed
from orchestrator.domain.job import RenderSpec
from tests.support.adapters import save_adapter
from tests.support.models import Checkpoint, a_model, a_picture, a_tiny_spec, denoised
from workers import modelfiles
from workers.cogvideox import loading
from workers.cogvideox.acceleration import Acceleration
from workers.cogvideox.adapters import Adapters

USES: tuple[tuple[str | None, float], ...] = (
    ("oil", 1.0), ("oil", 0.5), (None, 1.0), ("ink", 1.0), ("chalk", -1.0),
)  # fmt: skip
FILE = "pytorch_lora_weights.safetensors"


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint: Checkpoint) -> Callable[[str], loading.Pipeline]:
    """A fresh pipeline of a tiny family, which no adapter has ever seen."""

    def fresh(family: str) -> loading.Pipeline:
        return loading.load(tiny_checkpoint(family), FAMILIES[family], torch.device("cpu"), torch.float32)

    return fresh


@pytest.fixture
def shelf(tmp_path: Path, pipeline: Callable[[str], loading.Pipeline]) -> Callable[[str], dict[str, AdapterSettings]]:
    """Three adapters of a family: of attention only, of more than that, and one that was trained with dropout."""

    def make(family: str) -> dict[str, AdapterSettings]:
        transformer = pipeline(family).transformer
        directories = {
            "oil": save_adapter(tmp_path / family / "oil", transformer, seed=1),
            "ink": save_adapter(tmp_path / family / "ink", transformer, seed=2, layers=("to_q", "ff.net.2"), rank=2),
            "chalk": save_adapter(
                tmp_path / family / "chalk", transformer, seed=3, settings={"lora_alpha": 8, "lora_dropout": 0.5}
            ),
        }
        return {name: AdapterSettings(source=str(path), models=(family,)) for name, path in directories.items()}

    return make


def uses(family: str, **changes: Any) -> list[RenderSpec]:
    spec = a_tiny_spec(family, num_inference_steps=3, **changes)
    return [replace(spec, adapter=adapter, adapter_scale=scale) for adapter, scale in USES]


def forward(pipeline: loading.Pipeline) -> torch.Tensor:
    """What a text-to-video transformer of 2B's kind predicts for something fixed."""
    config, generator = pipeline.transformer.config, torch.Generator().manual_seed(0)
    latents = torch.randn(2, 3, config.in_channels, 8, 12, generator=generator)
    text = torch.randn(2, config.max_text_seq_length, config.text_embed_dim, generator=generator)
    with torch.inference_mode():
        prediction: torch.Tensor = pipeline.transformer(latents, text, torch.tensor([5, 5]), return_dict=False)[0]
    return prediction


def runs_compiled(pipeline: loading.Pipeline, program: Program) -> bool:
    """Whether a forward goes through the program that the compiler was given."""
    before = program.runs
    forward(pipeline)
    return program.runs > before


class Program:
    """A backend of torch.compile that changes nothing, and counts: what it was given, and how often that ran."""

    def __init__(self) -> None:
        self.made = self.runs = 0

    def __call__(self, module: torch.fx.GraphModule, inputs: object) -> Callable[..., Any]:
        self.made += 1

        def run(*arguments: Any) -> Any:
            self.runs += 1
            return module.forward(*arguments)

        return run


def using(adapter: str | None, scale: float = 1.0) -> RenderSpec:
    return a_tiny_spec("tiny-2b", adapter=adapter, adapter_scale=scale)


@pytest.mark.parametrize("family", [family.name for family in TINY])
def test_interleaved_renders_are_what_each_is_alone(
    tiny_checkpoint: Checkpoint, shelf: Callable[[str], dict[str, AdapterSettings]], family: str
) -> None:
    adapters = shelf(family)
    alone = [
        denoised(a_model(tiny_checkpoint(family), family, adapters=adapters), spec).latents for spec in uses(family)
    ]
    never_saw_one = denoised(a_model(tiny_checkpoint(family), family), uses(family)[2]).latents
    assert torch.equal(alone[2], never_saw_one)
    assert all(not torch.equal(one, other) for n, one in enumerate(alone) for other in alone[:n])

    model = a_model(tiny_checkpoint(family), family, adapters=adapters, adapters_cached=1)
    renders = [model.begin(spec, a_picture(family)) for spec in uses(family)]
    while not renders[0].done:
        for render in renders:
            assert model.step([render]) == [None]
    assert all(torch.equal(render.latents, latents) for render, latents in zip(renders, alone, strict=True))
    assert len(model.adapters) == 1


def test_an_adapter_does_what_diffusers_makes_of_it(
    pipeline: Callable[[str], loading.Pipeline], shelf: Callable[[str], dict[str, AdapterSettings]]
) -> None:
    adapters, ours = shelf("tiny-2b"), pipeline("tiny-2b")
    switch = Adapters(ours, adapters, Path, 4)
    for name, scale in (("oil", 0.7), ("ink", 1.0)):
        plain = pipeline("tiny-2b")
        plain.load_lora_weights(adapters[name].source, weight_name=FILE, adapter_name="it")
        plain.set_adapters("it", scale)
        switch.use(using(name, scale))
        assert torch.equal(forward(ours), forward(plain))


def test_without_an_adapter_the_model_is_the_one_that_was_loaded(
    pipeline: Callable[[str], loading.Pipeline], shelf: Callable[[str], dict[str, AdapterSettings]]
) -> None:
    ours = pipeline("tiny-2b")
    before, modules = forward(ours), dict(ours.transformer.named_modules())
    switch = Adapters(ours, shelf("tiny-2b"), Path, 2)
    for name in ("oil", "ink", "chalk"):
        switch.use(using(name))
        assert not torch.equal(forward(ours), before)
    switch.use(using(None))
    after = dict(ours.transformer.named_modules())
    assert list(after) == list(modules)
    assert all(after[name] is module for name, module in modules.items())
    assert torch.equal(forward(ours), before)


def test_the_cache_gives_up_the_one_that_was_used_longest_ago(
    pipeline: Callable[[str], loading.Pipeline], shelf: Callable[[str], dict[str, AdapterSettings]]
) -> None:
    switch = Adapters(pipeline("tiny-2b"), shelf("tiny-2b"), Path, 2)
    seen = []
    for name in ("oil", "ink", "oil", "chalk", "ink"):
        switch.use(using(name))
        seen.append(switch.loaded)
    assert seen == [("oil",), ("oil", "ink"), ("ink", "oil"), ("oil", "chalk"), ("chalk", "ink")]


def _foreign(directory: Path, fine: Path) -> None:
    save_file({"unet.to_q.lora_A.weight": torch.zeros(2, 8)}, directory / FILE)


def _kohya(directory: Path, fine: Path) -> None:
    save_file({"lora_transformer_blocks_0_attn1_to_q.lora_down.weight": torch.zeros(2, 8)}, directory / FILE)


def _wrong_width(directory: Path, fine: Path) -> None:
    layer = "transformer.transformer_blocks.0.attn1.to_q"
    weights = {f"{layer}.lora_A.weight": torch.zeros(2, 7), f"{layer}.lora_B.weight": torch.zeros(32, 2)}
    save_file(weights, directory / FILE)


def _deeper_model(directory: Path, fine: Path) -> None:
    layer = "transformer.transformer_blocks.41.attn1.to_q"
    weights = {f"{layer}.lora_A.weight": torch.zeros(2, 32), f"{layer}.lora_B.weight": torch.zeros(32, 2)}
    save_file(weights, directory / FILE)


def _half_a_pair(directory: Path, fine: Path) -> None:
    save_file({"transformer.transformer_blocks.0.attn1.to_q.lora_A.weight": torch.zeros(2, 32)}, directory / FILE)


def _cut_off(directory: Path, fine: Path) -> None:
    (directory / FILE).write_bytes(fine.read_bytes()[:-100])


def _no_safetensors(directory: Path, fine: Path) -> None:
    (directory / FILE).write_bytes(b"PK\3\4 a pickle, perhaps")


def _empty(directory: Path, fine: Path) -> None:
    save_file({}, directory / FILE)


def _two(directory: Path, fine: Path) -> None:
    for name in ("one", "two"):
        (directory / f"{name}.safetensors").write_bytes(fine.read_bytes())


def _nothing(directory: Path, fine: Path) -> None:
    pass


def _not_finite(directory: Path, fine: Path) -> None:
    weights = load_file(fine)
    weights[min(weights)][0, 0] = float("nan")
    save_file(weights, directory / FILE)


BROKEN = (
    _foreign, _kohya, _wrong_width, _deeper_model, _half_a_pair, _cut_off, _no_safetensors, _empty, _two, _nothing,
    _not_finite,
)  # fmt: skip


def test_what_fits_not_is_refused_by_name_and_harms_no_other_render(
    tmp_path: Path,
    pipeline: Callable[[str], loading.Pipeline],
    shelf: Callable[[str], dict[str, AdapterSettings]],
) -> None:
    ours, adapters = pipeline("tiny-2b"), shelf("tiny-2b")
    fine = Path(adapters["oil"].source) / FILE
    for damage in BROKEN:
        (directory := tmp_path / damage.__name__).mkdir()
        damage(directory, fine)
        adapters[damage.__name__] = AdapterSettings(source=str(directory), models=("tiny-2b",))
    disagrees = tmp_path / "disagrees"
    save_adapter(disagrees, ours.transformer, seed=4, settings={"lora_alpha": 1, "rank_pattern": {"to_q": 3}})
    adapters["disagrees"] = AdapterSettings(source=str(disagrees), models=("tiny-2b",))

    switch = Adapters(ours, adapters, Path, 4)
    bare = forward(ours)
    switch.use(using("oil"))
    oiled = forward(ours)
    for name in (*(damage.__name__ for damage in BROKEN), "disagrees", "nobody configured it"):
        with pytest.raises(RenderFailed, match=repr(name)) as refused:
            switch.use(using(name))
        assert (refused.value.code, refused.value.retryable) == ("adapter_unusable", False)
        switch.use(using(None))
        assert torch.equal(forward(ours), bare)
        switch.use(using("oil"))
        assert torch.equal(forward(ours), oiled)
    assert switch.loaded == ("oil",)


def test_layers_of_different_ranks_each_have_their_whole_strength(
    tmp_path: Path, pipeline: Callable[[str], loading.Pipeline]
) -> None:
    """Each layer's change is B times A, whatever the first layer's rank is (diffusers 0.38 divides by that)."""
    mixed = {}
    for rank, layer in ((32, "to_q"), (4, "to_v"), (1, "ff.net.2")):
        one = save_adapter(tmp_path / layer, pipeline("tiny-2b").transformer, seed=rank, layers=(layer,), rank=rank)
        mixed |= load_file(one / FILE)
    save_file(mixed, tmp_path / "mixed.safetensors")
    adapters = {"mixed": AdapterSettings(source=str(tmp_path / "mixed.safetensors"), models=("tiny-2b",))}
    wrapped, merged = pipeline("tiny-2b"), pipeline("tiny-2b")
    Adapters(wrapped, adapters, Path, 1).use(using("mixed"))
    for key in mixed:
        if key.endswith(".lora_A.weight"):
            layer = key.removeprefix("transformer.").removesuffix(".lora_A.weight")
            change = mixed[key.replace("lora_A", "lora_B")] @ mixed[key]
            merged.transformer.get_submodule(layer).weight.data += change
    torch.testing.assert_close(forward(wrapped), forward(merged), rtol=1e-4, atol=1e-4)


def test_an_adapter_that_cannot_be_had_may_be_tried_elsewhere(
    tmp_path: Path, pipeline: Callable[[str], loading.Pipeline]
) -> None:
    resolve = partial(modelfiles.locate, cache=tmp_path / "cache", s3=S3Settings())
    gone = AdapterSettings(source=str(tmp_path / "gone"), models=("tiny-2b",))
    with pytest.raises(RenderFailed, match="'gone'") as refused:
        Adapters(pipeline("tiny-2b"), {"gone": gone}, resolve, 1).use(using("gone"))
    assert (refused.value.code, refused.value.retryable) == ("adapter_unavailable", True)


def test_an_adapter_whose_file_went_from_under_the_worker_may_be_tried_elsewhere(
    pipeline: Callable[[str], loading.Pipeline], shelf: Callable[[str], dict[str, AdapterSettings]]
) -> None:
    ours, adapters = pipeline("tiny-2b"), shelf("tiny-2b")
    bare, switch = forward(ours), Adapters(ours, adapters, Path, 1)
    switch.use(using("oil"))
    oiled = forward(ours)
    (Path(adapters["oil"].source) / FILE).unlink()
    switch.use(using(None))
    switch.use(using("oil"))  # it is in memory
    assert torch.equal(forward(ours), oiled)
    switch.use(using("ink"))
    with pytest.raises(RenderFailed, match="'oil'") as refused:
        switch.use(using("oil"))
    assert (refused.value.code, refused.value.retryable) == ("adapter_unavailable", True)
    assert torch.equal(forward(ours), bare)


def test_an_adapter_keeps_the_content_that_its_fingerprint_names(
    pipeline: Callable[[str], loading.Pipeline], shelf: Callable[[str], dict[str, AdapterSettings]]
) -> None:
    adapters = shelf("tiny-2b")
    switch = Adapters(pipeline("tiny-2b"), adapters, Path, 1)
    revision = switch.revision("oil")
    assert revision != switch.revision("ink")
    switch.use(using("oil"))
    switch.use(using("ink"))
    (Path(adapters["oil"].source) / FILE).write_bytes((Path(adapters["ink"].source) / FILE).read_bytes())
    with pytest.raises(RenderFailed, match="changed") as refused:
        switch.use(using("oil"))
    assert refused.value.code == "adapter_unusable"
    assert switch.revision("oil") == revision


def test_a_compiled_model_stays_compiled_for_renders_without_an_adapter(
    pipeline: Callable[[str], loading.Pipeline], shelf: Callable[[str], dict[str, AdapterSettings]]
) -> None:
    """And one with an adapter runs uncompiled, at once, with the bits that it has on a model that is not compiled."""
    plain, ours, adapters = pipeline("tiny-2b"), pipeline("tiny-2b"), shelf("tiny-2b")
    program = Program()
    settings = PoolSettings(model="tiny-2b", compile="on", warm_shapes=("96x64x9",))
    acceleration = Acceleration.prepare(
        ours.transformer, FAMILIES["tiny-2b"], torch.device("cpu"), settings, backend=program
    )
    made, eager, switch = program.made, Adapters(plain, adapters, Path, 1), Adapters(ours, adapters, Path, 1)
    assert runs_compiled(ours, program)
    for name, scale in (*USES, *USES):
        eager.use(using(name, scale))
        switch.use(using(name, scale))
        assert torch.equal(forward(ours), forward(plain))
        assert runs_compiled(ours, program) == (name is None)
        assert acceleration.facts(using(name, scale))["compiled"] == ("yes" if name is None else "no")
    assert program.made == made


@pytest.mark.parametrize("quantization", ["int8"])
def test_adapters_go_on_top_of_quantized_layers(
    pipeline: Callable[[str], loading.Pipeline],
    shelf: Callable[[str], dict[str, AdapterSettings]],
    quantization: Any,
) -> None:
    ours = pipeline("tiny-2b")
    settings = PoolSettings(model="tiny-2b", quantization=quantization)
    Acceleration.prepare(ours.transformer, FAMILIES["tiny-2b"], torch.device("cpu"), settings)
    quantized = forward(ours)
    switch, made = Adapters(ours, shelf("tiny-2b"), Path, 1), {}
    for name, scale in (*USES, *reversed(USES)):
        switch.use(using(name, scale))
        made.setdefault((name, scale), forward(ours))
        assert torch.equal(forward(ours), made[name, scale])
    assert torch.equal(made[None, 1.0], quantized)
    assert not torch.equal(made["oil", 1.0], quantized)

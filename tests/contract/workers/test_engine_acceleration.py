"""What makes a transformer quick takes effect, is checked before it is used, and leaks from no render into another."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.attention_dispatch import _AttentionBackendRegistry
from torch import nn

from orchestrator.config import PoolSettings
from orchestrator.domain.catalog import FAMILIES, RECIPES, Profile
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.job import RenderSpec
from tests.support.builders import a_spec
from tests.support.models import Checkpoint, a_model
from workers.cogvideox import attention, loading, numerics
from workers.cogvideox.acceleration import Acceleration, _versions
from workers.cogvideox.adapters import Adapters
from workers.cogvideox.model import CogVideoX

CPU = torch.device("cpu")
SHAPE = attention.Shape(batch=2, heads=2, tokens=300, head_dim=16, dtype=torch.float32, device=CPU)


@pytest.fixture
def checkpoint(tiny_checkpoint: Checkpoint) -> Path:
    return tiny_checkpoint("tiny-5b")


def prepared(checkpoint: Path, family: str = "tiny-5b", **settings: Any) -> tuple[Any, Acceleration]:
    transformer = loading.load(checkpoint, FAMILIES[family], CPU, torch.float32).transformer
    pool = PoolSettings(model=family, **settings)
    return transformer, Acceleration.prepare(transformer, FAMILIES[family], CPU, pool)


class Kernels:
    """Counts the attention kernels that torch runs."""

    def __init__(self) -> None:
        self._profile = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])

    def __enter__(self) -> Kernels:
        self._profile.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._profile.__exit__(*error)

    def count(self, name: str) -> int:
        return sum(event.count for event in self._profile.key_averages() if event.key == name)


FUSED = "aten::_scaled_dot_product_flash_attention_for_cpu"
MATHEMATICAL = "aten::_scaled_dot_product_attention_math"


@pytest.mark.parametrize(
    ("backend", "runs", "other"), [("auto", FUSED, MATHEMATICAL), ("_native_math", MATHEMATICAL, FUSED)]
)
def test_the_chosen_attention_is_the_kernel_that_runs_and_no_default_changes(
    checkpoint: Path, backend: str, runs: str, other: str
) -> None:
    def defaults() -> tuple[object, ...]:
        cuda = torch.backends.cuda
        enabled = (cuda.flash_sdp_enabled(), cuda.math_sdp_enabled(), cuda.mem_efficient_sdp_enabled())
        return (*enabled, cuda.cudnn_sdp_enabled(), _AttentionBackendRegistry.get_active_backend())

    before = defaults()
    model = a_model(checkpoint, "tiny-5b", attention=backend)
    render = model.begin(a_spec(model="tiny-5b"), None)
    with Kernels() as kernels:
        model.step([render])
    assert kernels.count(runs) == 2, "once for each of two blocks"
    assert kernels.count(other) == 0
    assert defaults() == before


@pytest.mark.parametrize("family", ["tiny-2b", "tiny-5b"])
def test_the_processor_gives_the_bits_of_the_one_of_diffusers(tiny_checkpoint: Checkpoint, family: str) -> None:
    plain = loading.load(tiny_checkpoint(family), FAMILIES[family], CPU, torch.float32).transformer
    ours, _ = prepared(tiny_checkpoint(family), family)
    render = a_model(tiny_checkpoint(family), family).begin(a_spec(model=family), None)
    inputs = {
        "hidden_states": torch.cat([render.seen] * 2),
        "encoder_hidden_states": render.embeddings,
        "timestep": torch.tensor([999, 999]),
        "image_rotary_emb": render.rotary,
        "return_dict": False,
    }
    with torch.inference_mode():
        assert torch.equal(ours(**inputs)[0], plain(**inputs)[0])


@pytest.mark.parametrize(
    ("backend", "why"),
    [
        ("fastest", "no such backend"),
        ("flash", "flash-attn"),
        ("_native_cudnn", "No viable backend"),
        ("sage", "sageattention"),
    ],
)
def test_a_named_attention_that_cannot_run_here_is_refused_with_the_reason(
    checkpoint: Path, backend: str, why: str
) -> None:
    with pytest.raises(ConfigError, match=f"attention '{backend}' cannot be used here: .*{why}"):
        prepared(checkpoint, attention=backend)


@pytest.mark.parametrize("factor", [1.01, float("nan")])
def test_an_attention_that_computes_something_else_is_refused_with_its_error(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    right = _AttentionBackendRegistry._backends["_native_math"]
    monkeypatch.setitem(_AttentionBackendRegistry._backends, "_native_math", lambda **inputs: factor * right(**inputs))
    with pytest.raises(ConfigError, match=r"its relative error is (0\.01|nan), where 1e-06 is allowed"):
        prepared(checkpoint, attention="_native_math")


def test_of_the_backends_that_pass_the_quickest_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    took = {"native": 3.0, "_native_cudnn": 1.0, "_native_flash": 2.0, "flash": 0.5, "sage": 0.1}
    monkeypatch.setattr(attention, "unfit", lambda name, shape, exact: "missing" if name == "flash" else None)
    monkeypatch.setattr(attention, "seconds", lambda attend, shape: took.get(attend._backend.value, 9.0))
    on_gpu = replace(SHAPE, device=torch.device("cuda"))
    assert attention.choose("auto", on_gpu, exact=True) == "_native_cudnn"
    assert attention.choose("auto", on_gpu, exact=False) == "sage"


class Compiler:
    """A backend for torch.compile that compiles nothing; counts what it is given, and how often that runs."""

    def __init__(self) -> None:
        self.programs = 0
        self.runs = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: Sequence[torch.Tensor]) -> Callable[..., Any]:
        self.programs += 1

        def run(*arguments: torch.Tensor) -> Any:
            self.runs += 1
            return graph(*arguments)

        return run


@pytest.fixture
def compiler() -> Iterator[Compiler]:
    torch.compiler.reset()
    yield Compiler()
    torch.compiler.reset()


def compiled(path: Path, family: str, backend: Callable[..., Any], **settings: Any) -> CogVideoX:
    """A model whose block is compiled for 96x64x17, as far as `backend` goes."""
    pipeline = loading.load(path, FAMILIES[family], CPU, torch.float32)
    pool = PoolSettings(model=family, **{"compile": "on", "warm_shapes": ("96x64x17",), **settings})
    acceleration = Acceleration.prepare(pipeline.transformer, FAMILIES[family], CPU, pool, backend=backend)
    adapters = Adapters(pipeline, {}, Path, pool.adapters_cached)
    return CogVideoX(pipeline, FAMILIES[family], CPU, acceleration=acceleration, adapters=adapters)


STEPS = 3


def some_steps(model: CogVideoX, spec: RenderSpec) -> torch.Tensor:
    render = model.begin(spec, None)
    for _ in range(STEPS):
        assert model.step([render]) == [None]
    model.drop(render)
    return render.latents


@pytest.mark.parametrize("family", ["tiny-2b", "tiny-5b", "tiny-1.5-5b"])
def test_announced_shapes_run_compiled_and_others_at_once_without_compiling(
    tiny_checkpoint: Checkpoint, compiler: Compiler, family: str
) -> None:
    path = tiny_checkpoint(family)
    model, plain = compiled(path, family, compiler), a_model(path, family)
    # The first block's inputs lie in memory in another way than those of all others, which share a program.
    assert compiler.programs == 2
    announced = a_spec(model=family, num_frames=17)
    turned = replace(announced, width=64, height=96)  # as many tokens, and so the same program
    others = (
        replace(announced, width=64, height=64),
        replace(announced, num_frames=33),
        replace(announced, guidance_scale=1.0),
    )
    for spec in (announced, turned, *others):
        compiler.runs = 0
        assert torch.equal(some_steps(model, spec), some_steps(plain, spec))
        assert compiler.runs == (0 if spec in others else 2 * STEPS)
        assert model._acceleration.facts(spec)["compiled"] == ("no" if spec in others else "yes")
    assert compiler.programs == 2
    torch.compile(torch.sin, backend=compiler)(torch.ones(1))
    assert compiler.programs == 3, "other code compiles as ever"


def test_a_step_cache_leaves_out_compiled_blocks_as_it_does_plain_ones(
    checkpoint: Path, compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RECIPES, Profile.FAST, replace(RECIPES[Profile.FAST], cache_threshold=9.0))
    spec = a_spec(model="tiny-5b", num_frames=17, profile=Profile.FAST)
    model, plain = compiled(checkpoint, "tiny-5b", compiler), a_model(checkpoint, "tiny-5b")
    compiler.runs = 0
    assert torch.equal(some_steps(model, spec), some_steps(plain, spec))
    assert compiler.runs == 2 + (STEPS - 1), "both blocks once, and then only the first"
    assert compiler.programs == 2


def test_by_default_the_native_shape_is_compiled_on_a_gpu_and_nothing_on_the_cpu(
    checkpoint: Path, compiler: Compiler
) -> None:
    native = a_spec(model="tiny-5b", num_frames=49)
    on, auto = (compiled(checkpoint, "tiny-5b", compiler, compile=how, warm_shapes=()) for how in ("on", "auto"))
    assert on._acceleration.facts(native)["compiled"] == "yes"
    assert auto._acceleration.facts(native)["compiled"] == "no"


def test_a_compiler_that_fails_is_said_where_compiling_is_asked_for(checkpoint: Path, compiler: Compiler) -> None:
    def no_compiler(graph: torch.fx.GraphModule, inputs: Sequence[torch.Tensor]) -> Callable[..., Any]:
        raise RuntimeError("No working C++ compiler found")

    with pytest.raises(ConfigError, match=r"compile is on and fails: .*No working C\+\+ compiler found"):
        compiled(checkpoint, "tiny-5b", no_compiler)


def test_nothing_is_compiled_that_would_not_run_compiled_every_time(checkpoint: Path) -> None:
    transformer = loading.load(checkpoint, FAMILIES["tiny-5b"], CPU, torch.float32).transformer
    pool = PoolSettings(model="tiny-5b", compile="on", gpus_per_worker=2)
    with pytest.raises(ConfigError, match="compile cannot be on where several GPUs share a render"):
        Acceleration.prepare(transformer, FAMILIES["tiny-5b"], CPU, pool)


@pytest.mark.parametrize(
    ("backend", "quantization", "packages"),
    [
        ("native", "none", set()),
        ("_native_cudnn", "int8", {"torchao"}),
        ("flash", "none", {"flash_attn"}),
        ("_flash_3", "none", {"flash_attn_3"}),
        ("_flash_3_hub", "none", set()),
        ("sage", "fp8", {"sageattention", "torchao"}),
        ("_sage_qk_int8_pv_fp8_cuda", "none", {"sageattention"}),
    ],
)
def test_the_packages_that_compute_are_among_the_facts_and_no_others(
    monkeypatch: pytest.MonkeyPatch, backend: str, quantization: str, packages: set[str]
) -> None:
    monkeypatch.setattr(numerics, "version", "version of {}".format)
    assert _versions(backend, quantization) == {package: f"version of {package}" for package in packages}


def test_eight_bit_linears_render_nearly_the_same_and_touch_only_attention_and_feed_forward(checkpoint: Path) -> None:
    spec = a_spec(model="tiny-5b", profile=Profile.FAST)
    quantized, plain = a_model(checkpoint, "tiny-5b", quantization="int8"), a_model(checkpoint, "tiny-5b")
    error = attention.relative_error(some_steps(quantized, spec), some_steps(plain, spec))
    assert 0 < error < 0.02
    assert quantized._acceleration.facts(spec)["quantization"] == "int8"
    as_exact = quantized.facts(replace(spec, profile=Profile.EXACT))  # as frames that are not finite are retried
    assert (as_exact["step cache"], as_exact["quantization"]) == ("none", "int8")
    assert quantized._acceleration.facts(spec)["torchao"] == metadata.version("torchao")
    of_blocks = {
        name.partition(".")[2]
        for name, module in quantized._pipeline.transformer.transformer_blocks.named_modules()
        if isinstance(module, nn.Linear) and type(module.weight.data) is not torch.Tensor
    }
    assert of_blocks == {"attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0", "ff.net.0.proj", "ff.net.2"}
    others = (each for name, each in quantized._pipeline.transformer.named_parameters() if "_blocks" not in name)
    assert all(type(each.data) is torch.Tensor for each in others)


def test_quantizing_says_what_is_missing(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="fp8 needs an NVIDIA GPU"):
        prepared(checkpoint, quantization="fp8")
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(ConfigError, match=r"cogmill\[quantize\]"):
        prepared(checkpoint, quantization="int8")

"""What makes a transformer quick takes effect, is checked before it is used, and leaks from no render into another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.attention_dispatch import _AttentionBackendRegistry

from orchestrator.config import PoolSettings
from orchestrator.domain.catalog import FAMILIES
from orchestrator.domain.errors import ConfigError
from tests.support.builders import a_spec
from tests.support.models import Checkpoint, a_model
from workers import attention, loading
from workers.acceleration import Acceleration

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


@pytest.mark.parametrize(
    "spoilt", [lambda out: out * 1.01, lambda out: out * float("nan")], ids=["off", "not a number"]
)
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

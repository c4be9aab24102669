"""What makes a model quick does take effect on this device, and costs no render its time or its bits."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from tests.support.bare import Made, advance, frames_of, make, native_spec

FP8 = (8, 9)  # the compute capability that has products of 8-bit floats

# Compiling a block takes longer than this, on any machine; a step of these models takes milliseconds.
NO_COMPILER_S = 3.0


def kernels(made: Made) -> set[str]:
    """Names of all that runs on the GPU in one step."""
    render = advance(made.model, made.model.begin(native_spec(made.family), None), 1)
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        advance(made.model, render, 1)
    return {event.name for event in seen.events() or ()}


@pytest.mark.parametrize(("backend", "kernel"), [("_native_flash", "flash"), ("_native_cudnn", "cudnn")])
def test_the_attention_backend_that_was_asked_for_is_the_one_that_runs(
    backend: str, kernel: str, gpu: torch.device
) -> None:
    made = make("cogvideox-5b", gpu, attention=backend)

    names = kernels(made)

    assert any(kernel in name for name in names), sorted(names)
    assert made.acceleration.facts(native_spec(made.family))["attention"] == backend


def test_a_shape_that_was_not_announced_waits_for_no_compiler(gpu: torch.device) -> None:
    made = make("cogvideox-5b", gpu, compile="on")
    native = native_spec(made.family)
    unseen = replace(native, width=64, height=96)
    assert made.acceleration.facts(native)["compiled"] == "yes"
    assert made.acceleration.facts(unseen)["compiled"] == "no"
    expected = frames_of(made.model, native)

    for spec in (native, unseen, native):
        render = made.model.begin(spec, None)
        while not render.done:
            started = time.perf_counter()
            advance(made.model, render, 1)
            assert time.perf_counter() - started < NO_COMPILER_S

    assert np.array_equal(frames_of(made.model, native), expected)


def test_8_bit_floats_run_and_stay_near(gpu: torch.device) -> None:
    if torch.cuda.get_device_capability(gpu) < FP8:
        pytest.skip("needs a GPU that multiplies 8-bit floats")
    exact, quick = make("cogvideox-5b", gpu), make("cogvideox-5b", gpu, quantization="fp8")
    spec = native_spec(exact.family)
    expected, found = (advance(made.model, made.model.begin(spec, None)).latents.float() for made in (exact, quick))

    error = (found - expected).norm() / expected.norm()

    assert 0 < error < 0.3, f"relative error {error:.2g}"
    assert quick.acceleration.facts(spec)["quantization"] == "fp8"
    assert quick.model.numerics(spec) != exact.model.numerics(spec)

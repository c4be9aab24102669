"""Every published model on this device renders what diffusers renders."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from orchestrator.domain.catalog import FAMILIES, TINY
from tests.support.bare import advance, call, frames_of, make, native_spec, picture_of, plain
from tests.support.random_weights import reduced

LARGE = [family.name for family in FAMILIES.values() if family not in TINY]

# Of the latents after four steps, where another kernel rounds otherwise: 16 bits carry 3 decimals, bfloat16 2.
CLOSE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}


@pytest.mark.parametrize("name", LARGE)
def test_with_the_same_kernels_every_bit_is_that_of_diffusers(name: str, device: torch.device) -> None:
    family = reduced(FAMILIES[name])
    spec = native_spec(family)
    expected = np.stack([np.asarray(frame) for frame in call(plain(family, device), family, spec)])

    frames = frames_of(make(name, device).model, spec)

    assert np.array_equal(frames, expected)
    assert frames.std() > 0


@pytest.mark.parametrize("name", LARGE)
def test_with_the_kernels_that_are_chosen_it_is_the_same_but_for_rounding(name: str, device: torch.device) -> None:
    made = make(name, device)
    spec = native_spec(made.family)
    expected = advance(made.model, made.model.begin(spec, picture_of(spec))).latents
    on_gpu = {"compile": "on"} if device.type == "cuda" else {}
    quick = make(name, device, attention="auto", **on_gpu).model

    found = advance(quick, quick.begin(spec, picture_of(spec))).latents

    error = (found.float() - expected.float()).norm() / expected.float().norm()
    assert error < CLOSE[expected.dtype], f"relative error {error:.2g}"

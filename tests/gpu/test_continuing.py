"""A render that is interrupted, moved or neighboured has the same bits in the end, on this device too."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.domain.catalog import Profile
from tests.support.bare import Made, advance, frames_of, make, native_spec, picture_of
from workers.bucket import checkpoints

NAMES = ["cogvideox-2b", "cogvideox-5b", "cogvideox-1.5-5b-i2v"]  # each scheduler, each patch, with and without picture


@pytest.fixture(scope="module", params=NAMES)
def made(request: pytest.FixtureRequest, device: torch.device) -> Made:
    return make(request.param, device)


@pytest.mark.parametrize("profile", [Profile.EXACT, Profile.FAST])
def test_a_render_that_waits_for_another_after_every_step_is_as_if_alone(made: Made, profile: Profile) -> None:
    model = made.model
    first = native_spec(made.family, profile=profile, seed=1)
    second = replace(first, seed=2, prompt="a red fox in fresh snow")
    alone = [frames_of(model, spec) for spec in (first, second)]

    renders = [model.begin(spec, picture_of(spec)) for spec in (first, second)]
    while not all(render.done for render in renders):
        for render in renders:
            advance(model, render, 1)
    frames = [model.decode(render) for render in renders]

    for found, expected in zip(frames, alone, strict=True):
        assert np.array_equal(found, expected)
    assert not np.array_equal(*frames)


def test_nothing_of_a_cancelled_render_is_left_for_the_next(made: Made) -> None:
    model = made.model
    spec = native_spec(made.family, profile=Profile.FAST)
    expected = frames_of(model, spec)
    cancelled = replace(spec, seed=99, prompt="something else")

    for steps in range(1, cancelled.num_inference_steps):
        render = advance(model, model.begin(cancelled, picture_of(cancelled)), steps)
        model.drop(render)

        assert np.array_equal(frames_of(model, spec), expected)


def test_another_process_goes_on_from_a_checkpoint_to_the_same_bits(made: Made, tmp_path: Path) -> None:
    spec = native_spec(made.family)
    expected = frames_of(made.model, spec)
    render = advance(made.model, made.model.begin(spec, picture_of(spec)), 2)
    file, video = tmp_path / "checkpoint.safetensors", tmp_path / "frames.npy"
    file.write_bytes(checkpoints.dump(made.model.snapshot(render)))

    command = [sys.executable, "-m", "tests.gpu.resumed", made.family.name, str(file), str(video)]
    subprocess.run(command, check=True, timeout=300, cwd=Path(__file__).parents[2])

    assert np.array_equal(np.load(video), expected)

"""Our step loop makes the frames that `CogVideoXPipeline.__call__` makes, bit for bit on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXDPMScheduler, CogVideoXPipeline

from orchestrator.domain.catalog import FAMILIES
from orchestrator.domain.errors import ConfigError, RenderFailed
from orchestrator.domain.job import RenderSpec
from tests.support.builders import a_spec
from workers.cogvideox import CogVideoX, load
from workers.render import Render

CPU = torch.device("cpu")
FOX = "a red fox runs through 🦊 fresh snow"

Checkpoint = Callable[[str], Path]


@pytest.fixture(scope="module", params=["tiny-2b", "tiny-5b"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(family: str, tiny_checkpoint: Checkpoint) -> CogVideoX:
    return load(tiny_checkpoint(family), FAMILIES[family], CPU, torch.float32)


@pytest.fixture(scope="module")
def pipeline(family: str, tiny_checkpoint: Checkpoint) -> CogVideoXPipeline:
    """Plain diffusers, set up as the CogVideo authors' `cli_demo.py` sets it up."""
    plain = CogVideoXPipeline.from_pretrained(tiny_checkpoint(family))
    scheduler = CogVideoXDPMScheduler if family == "tiny-5b" else CogVideoXDDIMScheduler
    plain.scheduler = scheduler.from_config(plain.scheduler.config, timestep_spacing="trailing")
    plain.set_progress_bar_config(disable=True)
    return plain


def reference(pipeline: CogVideoXPipeline, spec: RenderSpec) -> np.ndarray:
    """float32 in [0, 1], [frames, height, width, 3]."""
    frames: np.ndarray = pipeline(
        prompt=spec.prompt,
        negative_prompt=spec.negative_prompt,
        height=spec.height,
        width=spec.width,
        num_frames=spec.num_frames,
        num_inference_steps=spec.num_inference_steps,
        guidance_scale=spec.guidance_scale,
        use_dynamic_cfg=isinstance(pipeline.scheduler, CogVideoXDPMScheduler),
        generator=torch.Generator().manual_seed(spec.seed),
        output_type="np",
    ).frames[0]
    return frames


def denoised(model: CogVideoX, spec: RenderSpec) -> Render:
    render = model.begin(spec)
    while not render.done:
        model.step(render)
    return render


SPECS = {
    "as it comes": a_spec(),
    "emoji prompt, negative prompt, tall": a_spec(
        prompt=FOX, negative_prompt="blurry 🌫", width=64, height=96, num_inference_steps=7, seed=2**31
    ),
    "long, wide": a_spec(width=160, height=96, num_frames=17, num_inference_steps=3),
    "without guidance": a_spec(guidance_scale=1.0, negative_prompt="ignored", num_inference_steps=5),
    "guidance below one": a_spec(guidance_scale=0.0, num_inference_steps=2),
    "one step": a_spec(num_inference_steps=1, guidance_scale=3.5),
    "a prompt past the token limit": a_spec(prompt="river " * 200, num_inference_steps=2),
    "an empty prompt": a_spec(prompt="", num_inference_steps=2, seed=0),
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_frames_equal_the_pipelines_bit_for_bit(
    model: CogVideoX, pipeline: CogVideoXPipeline, family: str, spec: RenderSpec
) -> None:
    spec = replace(spec, model=family)
    render = denoised(model, spec)
    frames = model.decode(render)
    assert frames.shape == (spec.num_frames, spec.height, spec.width, 3)
    expected = reference(pipeline, spec)
    assert np.array_equal(model.pixels(render).numpy(), expected)
    images = pipeline.video_processor.numpy_to_pil(expected)
    assert np.array_equal(frames, np.stack([np.asarray(image) for image in images]))


def test_frames_depend_on_the_seed_and_are_more_than_one_grey(model: CogVideoX) -> None:
    first, second = (model.decode(denoised(model, a_spec(seed=seed))) for seed in (1, 2))
    assert not np.array_equal(first, second)
    assert first.std() > 20


def test_two_renders_taking_turns_do_not_touch_each_other(model: CogVideoX) -> None:
    specs = [a_spec(seed=1, num_inference_steps=5), a_spec(seed=2, width=64, height=96, prompt="other")]
    alone = [model.decode(denoised(model, spec)) for spec in specs]
    renders = [model.begin(spec) for spec in specs]
    while not all(render.done for render in renders):
        for render in renders:
            if not render.done:
                model.step(render)
    for render, frames in zip(renders, alone, strict=True):
        assert np.array_equal(model.decode(render), frames)


def test_a_step_count_that_diffusers_rounds_up_is_kept(model: CogVideoX, pipeline: CogVideoXPipeline) -> None:
    """For 61 steps diffusers makes 62 timesteps, the last of them -1, and its last step undoes the video."""
    render = model.begin(a_spec(num_inference_steps=61))
    pipeline.scheduler.set_timesteps(61)
    assert pipeline.scheduler.timesteps[-1] == -1
    assert len(render.timesteps) == 61
    assert torch.equal(render.timesteps, pipeline.scheduler.timesteps[:-1])


def test_scheduler_comes_from_the_family_and_not_from_the_checkpoint(tiny_checkpoint: Checkpoint, family: str) -> None:
    other = {"tiny-2b": "tiny-5b", "tiny-5b": "tiny-2b"}[family]
    render = load(tiny_checkpoint(other), FAMILIES[family], CPU, torch.float32).begin(a_spec())
    expected = {"tiny-2b": CogVideoXDDIMScheduler, "tiny-5b": CogVideoXDPMScheduler}[family]
    assert type(render.scheduler) is expected
    assert render.scheduler.config.timestep_spacing == "trailing"


def test_latents_that_are_not_finite_fail_before_the_decode(model: CogVideoX) -> None:
    render = denoised(model, a_spec(num_inference_steps=1))
    render.latents = render.latents * float("nan")
    with pytest.raises(RenderFailed) as failed:
        model.decode(render)
    assert failed.value.code == "nan_frames"


def test_running_out_of_memory_has_its_own_code(model: CogVideoX, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has ...")

    render = model.begin(a_spec())
    monkeypatch.setattr(model._pipeline.transformer, "forward", too_large)
    with pytest.raises(RenderFailed, match="CUDA out of memory") as failed:
        model.step(render)
    assert failed.value.code == "out_of_memory"
    model.recover()


def test_a_directory_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=str(tmp_path)):
        load(tmp_path, FAMILIES["tiny-2b"], CPU, torch.float32)

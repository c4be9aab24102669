"""Our step loop makes the frames that the diffusers pipelines make, bit for bit on the CPU, previewed or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    CogVideoXDDIMScheduler,
    CogVideoXDPMScheduler,
    CogVideoXImageToVideoPipeline,
    CogVideoXPipeline,
)
from PIL import Image

from orchestrator.domain.catalog import FAMILIES, ModelFamily
from orchestrator.domain.errors import ConfigError, RenderFailed
from orchestrator.domain.job import RenderSpec
from tests.support.builders import a_spec
from workers.cogvideox import CogVideoX, Pipeline, load
from workers.render import Render

CPU = torch.device("cpu")
I2V = "tiny-5b-i2v"
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


@pytest.fixture(scope="module")
def i2v_model(tiny_checkpoint: Checkpoint) -> CogVideoX:
    return load(tiny_checkpoint(I2V), FAMILIES[I2V], CPU, torch.float32)


@pytest.fixture(scope="module")
def i2v_pipeline(tiny_checkpoint: Checkpoint) -> CogVideoXImageToVideoPipeline:
    plain = CogVideoXImageToVideoPipeline.from_pretrained(tiny_checkpoint(I2V))
    plain.scheduler = CogVideoXDPMScheduler.from_config(plain.scheduler.config, timestep_spacing="trailing")
    plain.set_progress_bar_config(disable=True)
    return plain


def reference(pipeline: Pipeline, spec: RenderSpec, **more: object) -> np.ndarray:
    """float32 in [0, 1], [frames, height, width, 3]."""
    frames: np.ndarray = pipeline(
        **more,
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


def denoised(model: CogVideoX, spec: RenderSpec, picture: np.ndarray | None = None) -> Render:
    render = model.begin(spec, picture)
    while not render.done:
        model.step(render)
    return render


def a_picture(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (64, 96, 3), np.uint8)


def an_i2v_spec(**changes: object) -> RenderSpec:
    return a_spec(**{"model": I2V, "num_frames": 49, "num_inference_steps": 2, **changes})


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
    assert np.array_equal(model.pixels(render.latents).numpy(), expected)
    images = pipeline.video_processor.numpy_to_pil(expected)
    assert np.array_equal(frames, np.stack([np.asarray(image) for image in images]))


I2V_SPECS = {
    "as it comes": an_i2v_spec(),
    "negative prompt, odd steps": an_i2v_spec(prompt=FOX, negative_prompt="blurry 🌫", num_inference_steps=5, seed=0),
    "without guidance": an_i2v_spec(guidance_scale=1.0, num_inference_steps=3),
}


@pytest.mark.parametrize("spec", I2V_SPECS.values(), ids=I2V_SPECS.keys())
def test_frames_from_a_picture_equal_the_pipelines_bit_for_bit(
    i2v_model: CogVideoX, i2v_pipeline: CogVideoXImageToVideoPipeline, spec: RenderSpec
) -> None:
    render = denoised(i2v_model, spec, a_picture())
    assert np.array_equal(
        i2v_model.pixels(render.latents).numpy(), reference(i2v_pipeline, spec, image=Image.fromarray(a_picture()))
    )


def test_frames_depend_on_the_picture(i2v_model: CogVideoX) -> None:
    first, second = (i2v_model.decode(denoised(i2v_model, an_i2v_spec(), a_picture(seed))) for seed in (1, 2))
    assert not np.array_equal(first, second)


def previewed(model: CogVideoX, spec: RenderSpec, picture: np.ndarray | None, number: int) -> list[float]:
    """How far the preview after each step is from that frame of the video, in mean steps of 8-bit colour.

    Checks on the way that previews leave no trace in the frames.
    """
    render = model.begin(spec, picture)
    previews = []
    while not render.done:
        model.step(render)
        previews.append(model.preview(render).astype(int))
        assert previews[-1].shape == (spec.height, spec.width, 3)
    frames = model.decode(render)
    assert np.array_equal(frames, model.decode(denoised(model, spec, picture)))
    return [float(np.abs(preview - frames[number]).mean()) for preview in previews]


def test_previews_come_closer_to_the_first_frame_and_leave_no_trace(model: CogVideoX) -> None:
    """One frame is decoded alone, which the VAE's norms over time make a little different."""
    distances = previewed(model, a_spec(), None, 0)
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] <= 6.0


def test_previews_behind_a_picture_come_to_be_the_ninth_frame_and_leave_no_trace(i2v_model: CogVideoX) -> None:
    distances = previewed(i2v_model, an_i2v_spec(num_inference_steps=4), a_picture(), 8)
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] == 0.0


def test_a_picture_that_is_missing_or_too_many_is_refused_for_good(model: CogVideoX, i2v_model: CogVideoX) -> None:
    for each, spec, picture in ((model, a_spec(), a_picture()), (i2v_model, an_i2v_spec(), None)):
        with pytest.raises(RenderFailed) as failed:
            each.begin(spec, picture)
        assert (failed.value.code, failed.value.retryable) == ("wrong_image", False)


@pytest.mark.parametrize(
    ("checkpoint", "loaded_as", "complaint"),
    [
        ("tiny-5b", FAMILIES[I2V], "is a text-to-video model"),
        (I2V, FAMILIES["tiny-5b"], "is an image-to-video model"),
        (I2V, FAMILIES["cogvideox-5b-i2v"], "has learned the positions of 96x64 and 49 frames"),
        ("tiny-2b", replace(FAMILIES["tiny-2b"], max_prompt_tokens=224), "takes 226 prompt tokens"),
    ],
)
def test_a_checkpoint_of_another_kind_is_refused_by_name(
    tiny_checkpoint: Checkpoint, checkpoint: str, loaded_as: ModelFamily, complaint: str
) -> None:
    path = tiny_checkpoint(checkpoint)
    with pytest.raises(ConfigError, match=f"{path} {complaint}, which {loaded_as.name} is not"):
        load(path, loaded_as, CPU, torch.float32)


def test_frames_depend_on_the_seed_and_are_more_than_one_grey(model: CogVideoX) -> None:
    first, second = (model.decode(denoised(model, a_spec(seed=seed))) for seed in (1, 2))
    assert not np.array_equal(first, second)
    assert first.std() > 20


def test_two_renders_taking_turns_do_not_touch_each_other(model: CogVideoX) -> None:
    specs = [a_spec(seed=1, num_inference_steps=5), a_spec(seed=2, width=64, height=96, prompt="other")]
    alone = [model.decode(denoised(model, spec)) for spec in specs]
    renders = [model.begin(spec, None) for spec in specs]
    while not all(render.done for render in renders):
        for render in renders:
            if not render.done:
                model.step(render)
    for render, frames in zip(renders, alone, strict=True):
        assert np.array_equal(model.decode(render), frames)


def test_a_step_count_that_diffusers_rounds_up_is_kept(model: CogVideoX, pipeline: CogVideoXPipeline) -> None:
    """For 61 steps diffusers makes 62 timesteps, the last of them -1, and its last step undoes the video."""
    render = model.begin(a_spec(num_inference_steps=61), None)
    pipeline.scheduler.set_timesteps(61)
    assert pipeline.scheduler.timesteps[-1] == -1
    assert len(render.timesteps) == 61
    assert torch.equal(render.timesteps, pipeline.scheduler.timesteps[:-1])


def test_scheduler_comes_from_the_family_and_not_from_the_checkpoint(tiny_checkpoint: Checkpoint, family: str) -> None:
    other = {"tiny-2b": "tiny-5b", "tiny-5b": "tiny-2b"}[family]
    render = load(tiny_checkpoint(other), FAMILIES[family], CPU, torch.float32).begin(a_spec(), None)
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

    render = model.begin(a_spec(), None)
    monkeypatch.setattr(model._pipeline.transformer, "forward", too_large)
    with pytest.raises(RenderFailed, match="CUDA out of memory") as failed:
        model.step(render)
    assert failed.value.code == "out_of_memory"
    model.recover()


def test_a_directory_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=str(tmp_path)):
        load(tmp_path, FAMILIES["tiny-2b"], CPU, torch.float32)

"""Our step loop makes the frames that the diffusers pipelines make, bit for bit on the CPU, previewed or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

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

from orchestrator.domain.catalog import FAMILIES, TINY
from orchestrator.domain.errors import RenderFailed
from orchestrator.domain.job import RenderSpec
from tests.support.models import PUBLISHED_AS, Checkpoint, Loaded, a_picture, a_tiny_spec, denoised, family_of
from workers.cogvideox.loading import Pipeline

SCHEDULERS = {"ddim": CogVideoXDDIMScheduler, "dpm": CogVideoXDPMScheduler}
FOX = "a red fox runs through 🦊 fresh snow"
NAMES = [family.name for family in TINY]
Plain = Callable[[str], Pipeline]

SPECS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "negative prompt, odd steps": {"prompt": FOX, "negative_prompt": "blurry 🌫", "num_inference_steps": 5, "seed": 0},
    "without guidance": {"guidance_scale": 1.0, "negative_prompt": "ignored", "num_inference_steps": 3},
}
# What a picture makes no difference to.
MORE: dict[str, dict[str, Any]] = {
    "tall": {"width": 64, "height": 96, "num_inference_steps": 3, "seed": 2**31},
    "long, wide": {"width": 160, "height": 96, "num_frames": 17, "num_inference_steps": 2},
    "guidance below one": {"guidance_scale": 0.0, "num_inference_steps": 2},
    "one step": {"num_inference_steps": 1, "guidance_scale": 3.5},
    "a prompt past the token limit": {"prompt": "river " * 200, "num_inference_steps": 2},
    "an empty prompt": {"prompt": "", "num_inference_steps": 2, "seed": 0},
}


@pytest.fixture(scope="module")
def plain(tiny_checkpoint: Checkpoint) -> Plain:
    """Plain diffusers, set up as the CogVideo authors' `cli_demo.py` sets it up."""

    @cache
    def plain_of(name: str) -> Pipeline:
        family = FAMILIES[family_of(name)]
        kind = CogVideoXImageToVideoPipeline if family.image_to_video else CogVideoXPipeline
        pipeline: Pipeline = kind.from_pretrained(tiny_checkpoint(name), torch_dtype=torch.float32)
        scheduler = SCHEDULERS[family.scheduler]
        pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, timestep_spacing="trailing")
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    return plain_of


def reference(pipeline: Pipeline, spec: RenderSpec) -> np.ndarray:
    """float32 in [0, 1], [frames, height, width, 3]."""
    family = FAMILIES[spec.model]
    picture = a_picture(spec.model, width=spec.width, height=spec.height)
    frames: np.ndarray = pipeline(
        **({} if picture is None else {"image": Image.fromarray(picture)}),
        prompt=spec.prompt,
        negative_prompt=spec.negative_prompt,
        height=spec.height,
        width=spec.width,
        num_frames=spec.num_frames,
        num_inference_steps=spec.num_inference_steps,
        guidance_scale=spec.guidance_scale,
        use_dynamic_cfg=family.dynamic_cfg,
        generator=torch.Generator().manual_seed(spec.seed),
        max_sequence_length=family.max_prompt_tokens,
        output_type="np",
    ).frames[0]
    return frames


def cases() -> Iterator[Any]:
    for family in TINY:
        for name, changes in SPECS.items() if family.image_to_video else (SPECS | MORE).items():
            yield pytest.param(family.name, a_tiny_spec(family.name, **changes), id=f"{family.name}: {name}")
        published = f"{family.name}{PUBLISHED_AS}"
        yield pytest.param(published, a_tiny_spec(family.name, prompt=FOX, num_inference_steps=2), id=published)


@pytest.mark.parametrize(("checkpoint", "spec"), cases())
def test_frames_equal_the_pipelines_bit_for_bit(
    loaded: Loaded, plain: Plain, checkpoint: str, spec: RenderSpec
) -> None:
    model, pipeline = loaded(checkpoint), plain(checkpoint)
    render = denoised(model, spec)
    frames = model.decode(render)
    assert frames.shape == (spec.num_frames, spec.height, spec.width, 3)
    expected = reference(pipeline, spec)
    assert np.array_equal(model.pixels(render).numpy(), expected)
    images = pipeline.video_processor.numpy_to_pil(expected)
    assert np.array_equal(frames, np.stack([np.asarray(image) for image in images]))


@pytest.mark.parametrize("family", [name for name in NAMES if FAMILIES[name].image_to_video])
def test_frames_depend_on_the_picture(loaded: Loaded, family: str) -> None:
    model, spec = loaded(family), a_tiny_spec(family, num_inference_steps=2)
    first, second = (model.decode(denoised(model, spec, a_picture(family, seed))) for seed in (1, 2))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("family", NAMES)
def test_previews_come_closer_to_their_frame_and_leave_no_trace(loaded: Loaded, family: str) -> None:
    """The first frame, decoded alone, which the VAE's norms over time make a little different; after a picture, which
    is known, the ninth, the last of the VAE's own first batch."""
    model, spec = loaded(family), a_tiny_spec(family, num_inference_steps=3)
    render = model.begin(spec, a_picture(family))
    previews = []
    while not render.done:
        assert model.step([render]) == [None]
        previews.append(model.preview(render).astype(int))
        assert previews[-1].shape == (spec.height, spec.width, 3)
    frames = model.decode(render)
    assert np.array_equal(frames, model.decode(denoised(model, spec)))
    shown = frames[8 if FAMILIES[family].image_to_video else 0]
    distances = [float(np.abs(preview - shown).mean()) for preview in previews]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] == 0.0 if FAMILIES[family].image_to_video else distances[-1] <= 6.0


@pytest.mark.parametrize("family", ["tiny-2b", "tiny-1.5-5b-i2v"])
def test_a_picture_that_is_missing_or_too_many_is_refused_for_good(loaded: Loaded, family: str) -> None:
    other = {"tiny-2b": "tiny-1.5-5b-i2v", "tiny-1.5-5b-i2v": "tiny-2b"}[family]
    with pytest.raises(RenderFailed) as failed:
        loaded(family).begin(a_tiny_spec(family), a_picture(other))
    assert (failed.value.code, failed.value.retryable) == ("wrong_image", False)


@pytest.mark.parametrize("family", NAMES)
def test_frames_depend_on_the_seed_and_are_more_than_one_grey(loaded: Loaded, family: str) -> None:
    model, spec = loaded(family), a_tiny_spec(family, num_inference_steps=2)
    first, second = (model.decode(denoised(model, replace(spec, seed=seed))) for seed in (1, 2))
    assert not np.array_equal(first, second)
    assert first.std() > 20


@pytest.mark.parametrize("family", ["tiny-2b", "tiny-1.5-5b"])
def test_two_renders_taking_turns_do_not_touch_each_other(loaded: Loaded, family: str) -> None:
    model = loaded(family)
    specs = [
        a_tiny_spec(family, seed=1, num_inference_steps=5),
        a_tiny_spec(family, seed=2, width=64, height=96, prompt="other"),
    ]
    alone = [model.decode(denoised(model, spec)) for spec in specs]
    renders = [model.begin(spec, None) for spec in specs]
    while not all(render.done for render in renders):
        for render in renders:
            if not render.done:
                assert model.step([render]) == [None]
    for render, frames in zip(renders, alone, strict=True):
        assert np.array_equal(model.decode(render), frames)


@pytest.mark.parametrize("family", ["tiny-2b", "tiny-5b"])
def test_a_step_count_that_diffusers_rounds_up_is_kept(loaded: Loaded, plain: Plain, family: str) -> None:
    """For 61 steps diffusers makes 62 timesteps, the last of them -1, and its last step undoes the video."""
    render = loaded(family).begin(a_tiny_spec(family, num_inference_steps=61), None)
    scheduler = plain(family).scheduler
    scheduler.set_timesteps(61)
    assert scheduler.timesteps[-1] == -1
    assert len(render.timesteps) == 61
    assert torch.equal(render.timesteps, scheduler.timesteps[:-1])

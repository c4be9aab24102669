"""A worker on a real tiny checkpoint, without Ray: from an assignment to a video in the bucket, and what goes wrong."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from orchestrator.adapters.s3 import S3Objects
from orchestrator.config import ModerationSettings, S3Settings
from orchestrator.domain.job import Incident, VideoResult
from orchestrator.domain.objects import claim_prefix
from orchestrator.domain.protocol import Assignment, Broke, Rendered, Stage, Stopped, WorkerState
from tests.support.builders import a_result, a_spec
from tests.support.models import Checkpoint, Loaded, denoise, denoised
from tests.support.renders import Frames, Gated, given
from tests.support.workers import (
    CALLER,
    Gate,
    a_plan,
    an_actor,
    an_assignment,
    assigned,
    ended,
    ready,
    render_of,
    until,
)
from workers.bucket import inputs, previews
from workers.cogvideox.model import CogVideoX
from workers.engine.parts import Watch


@pytest.fixture(scope="module", params=["tiny-2b", "tiny-5b"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(family: str, loaded: Loaded) -> CogVideoX:
    return loaded(family)


async def test_a_render_ends_with_its_objects_in_the_bucket(
    family: str, tiny_checkpoint: Checkpoint, s3_settings: S3Settings, objects: S3Objects
) -> None:
    with an_actor(a_plan(family, tiny_checkpoint(family), s3_settings)) as actor:
        assignment = await assigned(actor, num_frames=17, prompt="a 🦊 in the snow")
        render = await ended(actor, assignment.token)
        scratch = actor._scratch.path
        assert [path.name for path in scratch.iterdir()] == ["lock"], "nothing is left on the disk"
        status = await actor.poll(CALLER, 0, 0)
    assert isinstance(render.end, Rendered)
    result = render.end.result
    prefix = claim_prefix(assignment.job_id, assignment.claim)
    assert sorted(objects.list_keys(prefix)) == [
        f"{prefix}{name}"
        for name in ("cover.png", "preview.webp", "result.json", "spritesheet.jpg", "thumbnail.webp", "video.mp4")
    ]
    with av.open(io.BytesIO(objects.get(result.video.key))) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert np.stack(frames).shape == (17, 64, 96, 3)
    assert np.stack(frames).std() > 20, "it shows something"
    assert set(result.stages) == {"encoding", "denoising", "decoding", "finishing"}
    assert set(render.stages) == {*result.stages, "uploading"}
    assert 0 < result.gpu_seconds == pytest.approx(status.gpu_busy_s)
    assert status.step_s > 0
    assert status.free_in_s == 0.0
    assert json.loads(objects.get(f"{prefix}result.json"))


async def test_two_prompts_that_differ_behind_the_limit_both_say_that_they_were_cut_and_strict_ones_fail(
    model: CogVideoX, family: str
) -> None:
    frames = Frames()
    prompts = {seed: "a" * 300 + end for seed, end in ((1, "b"), (2, "c"))}
    with an_actor(a_plan(family), given(model, frames)) as actor:
        for seed, prompt in prompts.items():
            assignment = await assigned(actor, seed=seed, prompt=prompt, num_inference_steps=1)
            render = await ended(actor, assignment.token)
            assert isinstance(render.end, Rendered)
            told = frames.told[seed]
            assert (told.prompt_cut, told.incidents) == (True, (Incident.PROMPT_CUT,))
            assert told.prompt_tokens == model.read(assignment.spec).prompt > 300
            assert render.incidents == (Incident.PROMPT_CUT,)
        strict = await assigned(actor, prompt=prompts[1], num_inference_steps=1, strict_prompt=True)
        end = (await ended(actor, strict.token)).end
    assert isinstance(end, Broke)
    assert (end.failure.code, end.failure.retryable) == ("prompt_too_long", False)
    assert f"tokens, of which {family} reads 226" in end.failure.message


async def test_a_picture_in_the_bucket_is_rendered_upright_and_cropped(
    loaded: Loaded, s3_settings: S3Settings, objects: S3Objects
) -> None:
    """As if the model had been given it so; that this is what diffusers makes of it is `test_engine_equality`'s."""
    family = "tiny-5b-i2v"
    photo, exif = Image.new("RGB", (64, 128), "black"), Image.Exif()
    photo.paste("red", (0, 0, 64, 40))
    exif[274] = 6  # stored lying on its side
    file = io.BytesIO()
    photo.save(file, "PNG", exif=exif)
    image = objects.put("inputs/photo", file.getvalue(), "image/png")

    model = loaded(family)
    frames = Frames()
    fetch = partial(inputs.fetch, objects, model.numerics)
    with an_actor(a_plan(family), given(model, frames, fetch=fetch)) as actor:
        assignment = await assigned(actor, num_frames=49, num_inference_steps=2, seed=3, image=image)
        assert isinstance((await ended(actor, assignment.token)).end, Rendered)

    upright = ImageOps.fit(photo.transpose(Image.Transpose.ROTATE_270), (96, 64), Image.Resampling.LANCZOS)
    plain = model.begin(assignment.spec, np.asarray(upright))
    assert np.array_equal(frames.by_seed[3], model.decode(denoise(model, plain)))


async def test_a_preview_lies_in_the_bucket_while_its_render_goes_on(
    model: CogVideoX, family: str, s3_settings: S3Settings, objects: S3Objects
) -> None:
    gate = Gate()
    stopping = given(Gated(model, gate, at=3), Frames(), show=partial(previews.show, objects))
    with an_actor(a_plan(), stopping) as actor:
        assignment = await assigned(actor, num_inference_steps=5)
        render = render_of(
            await until(actor, lambda status: render_of(status, assignment.token).preview is not None),
            assignment.token,
        )
        gate.wait_reached()
        assert render.preview is not None
        assert render.preview.key == f"{claim_prefix(assignment.job_id, 1)}preview.webp"
        shown = Image.open(io.BytesIO(objects.get(render.preview.key)))
        assert (shown.format, shown.size) == ("WEBP", (96, 64))
        assert np.asarray(shown).std() > 20, "it shows something"
        await actor.cancel(CALLER, assignment.token)
        gate.opened.set()
        await ended(actor, assignment.token)


def test_a_preview_is_small_and_marked_where_the_video_is(objects: S3Objects) -> None:
    frame = np.full((480, 720, 3), 200, np.uint8)
    shown = {}
    for watermark in (False, True):
        assignment = an_assignment(width=720, height=480, delivery=replace(a_spec().delivery, watermark=watermark))
        preview = previews.show(objects, assignment, frame)
        shown[watermark] = np.asarray(Image.open(io.BytesIO(objects.get(preview.key)))).astype(int)
        assert shown[watermark].shape == (341, 512, 3)
    assert np.abs(shown[False] - 200).max() <= 3
    assert np.abs(shown[True] - shown[False])[-60:, -160:].max() > 50


async def test_nobody_sees_a_preview_of_what_moderation_has_still_to_see(
    model: CogVideoX,
) -> None:
    moderation = ModerationSettings(entry_point="somebody:looks", video=True)
    with an_actor(replace(a_plan(), moderation=moderation), given(model, Frames())) as actor:
        render = await ended(actor, (await assigned(actor)).token)
    assert isinstance(render.end, Rendered)
    assert render.preview is None


async def test_cancelling_takes_effect_within_one_step_and_skips_the_decode(model: CogVideoX) -> None:
    gate = Gate()
    with an_actor(a_plan(), given(Gated(model, gate, at=2), Frames())) as actor:
        assignment = await assigned(actor, num_inference_steps=50)
        gate.wait_reached()
        await actor.cancel(CALLER, assignment.token)
        gate.opened.set()
        render = await ended(actor, assignment.token)
    assert isinstance(render.end, Stopped)
    assert render.step == 3
    assert render.end.gpu_seconds > 0


async def test_the_next_render_denoises_while_the_one_before_is_being_finished(model: CogVideoX) -> None:
    gate = Gate()

    def finish(assignment: Assignment, frames: np.ndarray, watch: Watch) -> VideoResult:
        if assignment.spec.seed == 1:
            gate.stop_here()
        return a_result()

    with an_actor(a_plan(), given(model, finish)) as actor:
        first = await assigned(actor, seed=1)
        second = await assigned(actor, seed=2)
        assert isinstance((await ended(actor, second.token)).end, Rendered)
        assert render_of(await actor.poll(CALLER, 0, 0), first.token).stage is Stage.FINISHING
        gate.opened.set()
        assert isinstance((await ended(actor, first.token)).end, Rendered)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"), "out_of_memory"),
        (RuntimeError("CUDA error: unspecified launch failure"), "render_error"),
    ],
)
async def test_after_a_failure_in_the_middle_of_a_step_the_next_render_is_as_if_nothing_had_been(
    model: CogVideoX, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    spec = a_spec(seed=2)
    expected = model.decode(denoised(model, spec))

    block = model._pipeline.transformer.transformer_blocks[1]
    calls = 0

    def fails_at_the_third_step(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise error
        return type(block).forward(block, *args, **kwargs)

    monkeypatch.setattr(block, "forward", fails_at_the_third_step)
    frames = Frames()
    with an_actor(a_plan(), given(model, frames)) as actor:
        failing, clean = await assigned(actor, seed=1), await assigned(actor, seed=2)
        broke = await ended(actor, failing.token)
        assert isinstance(broke.end, Broke)
        assert (broke.end.failure.code, broke.end.failure.retryable, broke.step) == (code, True, 2)
        assert isinstance((await ended(actor, clean.token)).end, Rendered)
    assert np.array_equal(frames.by_seed[2], expected)


async def test_latents_that_are_not_finite_end_as_a_failure(model: CogVideoX, monkeypatch: pytest.MonkeyPatch) -> None:
    bias = model._pipeline.transformer.proj_out.bias
    monkeypatch.setattr(bias, "data", torch.full_like(bias.data, float("inf")))
    frames = Frames()
    with an_actor(a_plan(), given(model, frames)) as actor:
        end = (await ended(actor, (await assigned(actor)).token)).end
    assert isinstance(end, Broke)
    assert end.failure.code == "nan_frames"
    assert frames.by_seed == {}


async def test_a_checkpoint_that_cannot_be_loaded_leaves_a_worker_that_says_why(
    tiny_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    with an_actor(a_plan(source=tmp_path)) as missing:
        status = await ready(missing)
        assert status.state is WorkerState.BROKEN
        assert status.error == f"ConfigError: {tmp_path} is not whole: there are no safetensors"
    (tmp_path / "model_index.json").write_text((tiny_checkpoint("tiny-2b") / "model_index.json").read_text())
    with an_actor(a_plan(source=tmp_path)) as hollow:
        status = await ready(hollow)
        assert status.state is WorkerState.BROKEN
        assert status.error

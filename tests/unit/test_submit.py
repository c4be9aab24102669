"""From a request to a complete, checked and priced job: `plan` is pure, so every rule is tested without a store."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config import Settings
from orchestrator.domain.catalog import TINY_2B
from orchestrator.domain.cost import predict
from orchestrator.domain.errors import InvalidField, RequestError, UnknownModel, Unsupported
from orchestrator.domain.job import NewJob
from orchestrator.submit import DEFAULT_PRIORITY, MAX_SEED, VideoRequest, plan

JOB = UUID("0198c5a7-e3b9-7d6f-8a0c-1f2e3d4c5b6a")
ASKED = VideoRequest(prompt="a lighthouse in a storm")


def settings(**api: object) -> Settings:
    return Settings.model_validate(
        {
            "database_url": "postgresql://unused",
            "master_key": "m" * 16,
            "default_model": "small",
            "models": {
                "small": {"family": "tiny-2b", "path": "/models/small"},
                "big": {"family": "cogvideox-2b", "path": "/models/big"},
            },
            "pools": {"pool-s": {"model": "small"}, "pool-b": {"model": "big"}},
            "aliases": {"CogVideoX-3": "big"},
            "api": api,
        }
    )


SETTINGS = settings()


def planned(request: VideoRequest = ASKED, seed: int = 7) -> NewJob:
    return plan(SETTINGS, "acme", request, job_id=JOB, seed=seed)


def refused(request: VideoRequest, kind: type[RequestError] = InvalidField) -> RequestError:
    with pytest.raises(kind) as caught:
        planned(request)
    return caught.value


def test_a_bare_prompt_becomes_the_default_models_native_video() -> None:
    job = planned()
    assert (job.id, job.tenant, job.pool, job.priority, job.held) == (JOB, "acme", "pool-s", DEFAULT_PRIORITY, False)
    assert job.spec.to_dict() == {
        "model": "small",
        "prompt": "a lighthouse in a storm",
        "negative_prompt": "",
        "width": 96,
        "height": 64,
        "num_frames": 49,
        "fps": 8,
        "num_inference_steps": 20,
        "guidance_scale": 6.0,
        "seed": 7,
    }
    assert job.cost == predict(TINY_2B, job.spec)
    assert job.max_attempts == SETTINGS.retry.max_attempts


def test_what_is_asked_for_is_what_is_planned() -> None:
    asked = replace(
        ASKED,
        negative_prompt="blur",
        size=(64, 64),
        num_frames=17,
        fps=8,
        num_inference_steps=200,
        guidance_scale=0,
        priority=3,
        origin={"dialect": "openai"},
    )
    job = planned(asked, seed=MAX_SEED)
    spec = job.spec
    assert (spec.negative_prompt, spec.width, spec.height, spec.num_frames) == ("blur", 64, 64, 17)
    assert (spec.fps, spec.num_inference_steps, spec.guidance_scale, spec.seed) == (8, 200, 0.0, MAX_SEED)
    assert (job.priority, job.request) == (3, {"dialect": "openai"})


def test_an_alias_in_any_case_resolves_to_its_model_and_pool() -> None:
    job = planned(replace(ASKED, model="COGVIDEOX-3"))
    assert (job.spec.model, job.pool, job.spec.width) == ("big", "pool-b", 720)


@pytest.mark.parametrize(("seconds", "frames"), [(0.01, 9), (1, 9), (4, 33), (5, 41), (6, 49), (6.125, 49)])
def test_seconds_become_the_nearest_legal_frame_count(seconds: float, frames: int) -> None:
    assert planned(replace(ASKED, seconds=seconds)).spec.num_frames == frames


def test_num_frames_wins_over_seconds() -> None:
    assert planned(replace(ASKED, seconds=4, num_frames=9)).spec.num_frames == 9


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"size": (1280, 720)}, "size"),
        ({"size": (0, 0)}, "size"),
        ({"num_frames": 10}, "num_frames"),
        ({"num_frames": 57}, "num_frames"),
        ({"num_frames": -7}, "num_frames"),
        ({"fps": 30}, "fps"),
        ({"seconds": 7}, "seconds"),
    ],
)
def test_what_the_model_cannot_make_is_refused_by_name(changes: Mapping[str, object], param: str) -> None:
    assert refused(replace(ASKED, **changes), Unsupported).param == param


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"seconds": 0}, "seconds"),
        ({"seconds": -1}, "seconds"),
        ({"seconds": math.nan}, "seconds"),
        ({"seconds": 10**400}, "seconds"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"num_inference_steps": 201}, "num_inference_steps"),
        ({"guidance_scale": -0.1}, "guidance_scale"),
        ({"guidance_scale": 20.1}, "guidance_scale"),
        ({"guidance_scale": math.nan}, "guidance_scale"),
    ],
)
def test_a_number_out_of_range_is_refused_by_name(changes: Mapping[str, object], param: str) -> None:
    assert refused(replace(ASKED, **changes)).param == param


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(InvalidField, match="between 0 and") as caught:
        planned(seed=seed)
    assert caught.value.param == "seed"


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    error = refused(replace(ASKED, model="sora-9"), UnknownModel)
    assert error.param == "model"
    assert "small, big, CogVideoX-3" in error.message


@pytest.mark.parametrize(
    "blank", ["", " ", "\n\t\r ", "\u3000", "\u200b\u200b", "\ufeff \u2060", "\u3164", "\u2800", "\ufe0f", "\u202e"]
)
def test_a_blank_prompt_is_refused(blank: str) -> None:
    assert refused(replace(ASKED, prompt=blank)).param == "prompt"


@pytest.mark.parametrize("forbidden", ["\x00", "\x07", "\x1b[2J", "\x7f", "\x85", "\ud83d", "a\udc00b"])
@pytest.mark.parametrize("param", ["prompt", "negative_prompt"])
def test_control_characters_and_lone_surrogates_are_refused(forbidden: str, param: str) -> None:
    error = refused(replace(ASKED, **{param: f"sea {forbidden}"}))
    assert error.param == param
    assert error.message.isprintable()


@pytest.mark.parametrize(
    "prompt", ["a 🌊 wave 👩‍👩‍👧", "line\n\tnext\r\n", "灯塔", "\u202eright to left", "!", "1", "🌊"]
)
def test_emoji_lines_and_every_script_are_kept_as_they_are(prompt: str) -> None:
    assert planned(replace(ASKED, prompt=prompt)).spec.prompt == prompt


def test_a_prompt_may_have_the_configured_number_of_characters_and_not_one_more() -> None:
    short = settings(max_prompt_chars=5)
    assert plan(short, "t", VideoRequest(prompt="🌊" * 5), job_id=JOB, seed=1).spec.prompt == "🌊" * 5
    for asked in (VideoRequest(prompt="x" * 6), VideoRequest(prompt="x", negative_prompt="x" * 6)):
        with pytest.raises(InvalidField) as caught:
            plan(short, "t", asked, job_id=JOB, seed=1)
        assert caught.value.code == "too_long"


@given(st.text(max_size=50))
def test_every_accepted_prompt_can_be_stored_as_utf8_json_without_a_nul(prompt: str) -> None:
    try:
        kept = planned(replace(ASKED, prompt=prompt)).spec.prompt
    except InvalidField:
        return
    assert "\x00" not in kept
    assert kept.encode().decode() == prompt

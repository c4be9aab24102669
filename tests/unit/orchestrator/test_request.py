"""From a request to a complete, checked and priced job: `plan` is pure, so every rule is tested without a store."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.catalog import TINY_2B, Profile
from orchestrator.domain.delivery import Delivery
from orchestrator.domain.errors import InvalidField, Unsupported
from orchestrator.domain.request import DEFAULT_PRIORITY, ImageBytes, ImageFile, ImageUrl, VideoRequest, fingerprint
from orchestrator.intake.planning import MAX_SEED, plan
from orchestrator.policy.cost import predict
from tests.support.requests import ASKED, JOB, SETTINGS, TIME, planned, refused, settings


def test_a_bare_prompt_becomes_the_default_models_native_video() -> None:
    job = planned()
    assert (job.id, job.tenant, job.pool, job.priority, job.held) == (JOB, "acme", "pool-s", DEFAULT_PRIORITY, False)
    assert asdict(job.spec) == {
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
        "delivery": {"width": 96, "height": 64, "num_frames": 49, "fps": 8, "watermark": False},
        "profile": "exact",
        "image": None,
        "adapter": None,
        "adapter_scale": 1.0,
        "reproducible": False,
        "resume_anywhere": False,
        "strict_prompt": False,
    }
    assert job.cost == predict(TINY_2B, job.spec)
    assert job.max_attempts == SETTINGS.retry.max_attempts


def test_what_is_asked_for_is_what_is_planned() -> None:
    asked = replace(
        ASKED,
        negative_prompt="blur",
        size=(64, 64),
        num_frames=17,
        fps=16,
        num_inference_steps=200,
        guidance_scale=0,
        priority=3,
        max_attempts=1,
        watermark=True,
        run_at=TIME,
        deadline=TIME,
        webhook_url="https://example.com/hook",
        metadata={"shot": "7"},
        origin={"dialect": "openai"},
    )
    job = planned(asked, seed=MAX_SEED)
    spec = job.spec
    assert (spec.negative_prompt, spec.width, spec.height, spec.num_frames) == ("blur", 64, 64, 17)
    assert (spec.fps, spec.num_inference_steps, spec.guidance_scale, spec.seed) == (8, 200, 0.0, MAX_SEED)
    assert spec.delivery == Delivery(width=64, height=64, num_frames=34, fps=16, watermark=True)
    assert (job.priority, job.max_attempts, job.run_at, job.deadline) == (3, 1, TIME, TIME)
    assert job.request == {
        "dialect": "openai", "metadata": {"shot": "7"}, "webhook_url": "https://example.com/hook",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "rendered", "shown"),
    [(0.01, 9, 1), (1, 9, 8), (4, 33, 32), (5, 41, 40), (6, 49, 48), (6.125, 49, 49), (1.2, 17, 10)],
)
def test_the_model_renders_the_least_legal_count_that_lasts_and_the_rest_is_cut(
    seconds: float, rendered: int, shown: int
) -> None:
    spec = planned(replace(ASKED, seconds=seconds)).spec
    assert (spec.num_frames, spec.delivery.num_frames) == (rendered, shown)


def test_num_frames_wins_over_seconds() -> None:
    assert planned(replace(ASKED, seconds=4, num_frames=9)).spec.num_frames == 9


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"size": (720, 1281)}, "size"),
        ({"size": (320, 1280)}, "size"),
        ({"model": "big", "image": ImageUrl("https://example.com/a.png")}, "image"),
        ({"size": (0, 0)}, "size"),
        ({"num_frames": 10}, "num_frames"),
        ({"num_frames": 57}, "num_frames"),
        ({"num_frames": -7}, "num_frames"),
        ({"fps": 7}, "fps"),
        ({"fps": 61}, "fps"),
        ({"seconds": 7}, "seconds"),
        ({"seconds": 10**400}, "seconds"),
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
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"num_inference_steps": 201}, "num_inference_steps"),
        ({"guidance_scale": -0.1}, "guidance_scale"),
        ({"guidance_scale": 20.1}, "guidance_scale"),
        ({"guidance_scale": math.nan}, "guidance_scale"),
        ({"adapter": "ink", "adapter_scale": 4.1}, "adapter_scale"),
        ({"adapter": "ink", "adapter_scale": math.nan}, "adapter_scale"),
        ({"adapter_scale": 1}, "adapter_scale"),
        ({"priority": -1}, "priority"),
        ({"priority": 101}, "priority"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": 11}, "max_attempts"),
        ({"run_at": datetime(2030, 1, 1)}, "run_at"),
        ({"deadline": datetime(2030, 1, 1)}, "deadline"),
        ({"model": "moving"}, "image"),
        ({"idempotency_key": "k" * 256}, "idempotency_key"),
        ({"metadata": {str(i): "x" for i in range(17)}}, "metadata"),
        ({"metadata": {"n" * 65: "x"}}, "metadata"),
        ({"metadata": {"name": "x" * 513}}, "metadata[name]"),
        ({"metadata": {"name": "\x00"}}, "metadata[name]"),
    ],
)
def test_a_number_out_of_range_is_refused_by_name(changes: Mapping[str, object], param: str) -> None:
    assert refused(replace(ASKED, **changes)).param == param


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(InvalidField, match="between 0 and") as caught:
        planned(seed=seed)
    assert caught.value.param == "seed"


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


REQUESTS = [
    ASKED, replace(ASKED, prompt="other"), replace(ASKED, seed=1), replace(ASKED, run_at=TIME),
    replace(ASKED, image=ImageBytes(b"a")), replace(ASKED, image=ImageBytes(b"b")),
    replace(ASKED, image=ImageUrl("https://example.com/a")), replace(ASKED, image=ImageFile("file-a")),
    replace(ASKED, metadata={"a": "b"}), replace(ASKED, profile=Profile.FAST), replace(ASKED, size=(64, 64)),
    replace(ASKED, adapter="ink"), replace(ASKED, adapter="ink", adapter_scale=1), replace(ASKED, reproducible=True),
    replace(ASKED, resume_anywhere=True), replace(ASKED, adapter="ink", adapter_scale=0),
    replace(ASKED, strict_prompt=True),
]  # fmt: skip


def test_a_repetition_has_the_same_fingerprint_and_no_other_request_has_it() -> None:
    assert len({fingerprint(request) for request in REQUESTS}) == len(REQUESTS)
    for request in REQUESTS:
        assert fingerprint(replace(request, idempotency_key="k")) == fingerprint(request)
    assert fingerprint(ASKED) == "368fc3a5723bdcaf7104676df6001f852e5f9722b821d11a68c3aa692256eb7c", "as ever"
    assert planned().request_hash is None
    assert planned(replace(ASKED, idempotency_key="k")).request_hash == fingerprint(ASKED)

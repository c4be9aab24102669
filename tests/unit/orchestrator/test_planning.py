"""Which model and which pool render a request, in which profile and with which adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.catalog import Profile, Size
from orchestrator.domain.errors import RequestError, UnknownModel, Unsupported
from orchestrator.domain.request import ImageBytes, VideoRequest
from tests.support.requests import ASKED, SETTINGS, planned, refused


def test_an_alias_in_any_case_resolves_to_its_model_and_pool() -> None:
    job = planned(replace(ASKED, model="COGVIDEOX-3"))
    assert (job.spec.model, job.pool, job.spec.width) == ("big", "pool-b", 720)


def test_a_fast_render_takes_every_step_and_is_predicted_to_compute_fewer() -> None:
    fast = planned(replace(ASKED, profile=Profile.FAST))
    assert fast.spec == replace(planned().spec, profile=Profile.FAST)
    assert fast.cost < planned().cost


def test_a_draft_takes_fewer_steps_at_a_smaller_size_and_is_delivered_as_asked() -> None:
    draft = replace(ASKED, profile=Profile.DRAFT, size=(160, 96))
    spec = planned(draft).spec
    assert (spec.width, spec.height, spec.num_inference_steps) == (112, 64, 8)
    assert (spec.delivery.width, spec.delivery.height) == (160, 96)
    assert planned(replace(draft, num_inference_steps=40)).spec.num_inference_steps == 40


def test_a_profile_that_no_pool_renders_the_model_in_is_refused_and_told_what_is() -> None:
    error = refused(replace(ASKED, model="large", profile=Profile.EXACT), Unsupported)
    assert (error.param, error.message) == ("profile", "large is rendered in fast, draft here, not in exact")


def test_without_a_profile_the_usual_one_is_taken_and_else_the_most_exact_that_is_rendered() -> None:
    large = replace(ASKED, model="large")
    assert planned(large).spec.profile is Profile.FAST
    assert planned(replace(ASKED, usual_profile=Profile.DRAFT)).spec.profile is Profile.DRAFT


def test_profiles_of_one_model_lead_to_the_pools_that_render_them() -> None:
    pools = {profile: planned(replace(ASKED, model="large", profile=profile)).pool for profile in ("fast", "draft")}
    assert pools == {"fast": "pool-l", "draft": "pool-l-draft"}


def test_an_adapter_is_applied_as_strongly_as_it_is_configured_unless_the_request_says() -> None:
    inked = replace(ASKED, adapter="ink")
    assert (planned(inked).spec.adapter, planned(inked).spec.adapter_scale) == ("ink", 0.8)
    assert planned(replace(inked, adapter_scale=-4)).spec.adapter_scale == -4.0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"adapter": "oil"}, "small has no adapter 'oil'; it takes ink"),
        ({"adapter": ""}, "small has no adapter ''; it takes ink"),
        ({"adapter": "ink", "model": "big"}, "big has no adapter 'ink'; it takes none"),
        ({"adapter": "ink", "image": ImageBytes(b"png")}, "moving has no adapter 'ink'; it takes walk"),
    ],
)
def test_an_adapter_that_the_model_that_renders_does_not_take_is_refused(
    changes: Mapping[str, object], told: str
) -> None:
    error = refused(replace(ASKED, **changes), Unsupported)
    assert (error.param, error.message) == ("adapter", told)


def test_a_picture_leads_to_a_model_with_adapters_of_its_own() -> None:
    assert planned(replace(ASKED, adapter="walk", image=ImageBytes(b"png"))).spec.adapter == "walk"


def test_what_may_go_on_anywhere_is_not_reproducible() -> None:
    assert planned(replace(ASKED, reproducible=True)).spec.reproducible
    assert planned(replace(ASKED, resume_anywhere=True)).spec.resume_anywhere
    assert refused(replace(ASKED, reproducible=True, resume_anywhere=True)).param == "resume"


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    error = refused(replace(ASKED, model="sora-9"), UnknownModel)
    assert error.param == "model"
    assert "small, big, moving, large, large-moving, CogVideoX-3" in error.message


@pytest.mark.parametrize(
    ("seconds", "rendered", "shown"), [(4, 65, 64), (5, 81, 80), (8, 129, 128), (10, 161, 160), (10.0625, 161, 161)]
)
def test_the_15_models_make_up_to_ten_seconds_at_16_fps(seconds: float, rendered: int, shown: int) -> None:
    for asked in (replace(ASKED, model="large"), replace(ASKED, model="large", image=ImageBytes(b"png"))):
        spec = planned(replace(asked, seconds=seconds)).spec
        assert (spec.fps, spec.num_frames, spec.delivery.num_frames) == (16, rendered, shown)
    error = refused(replace(ASKED, model="large", seconds=12), Unsupported)
    assert (error.param, error.message) == ("seconds", "cogvideox-1.5-5b renders at most 10.0625 seconds")


def test_an_upright_video_of_15_takes_a_picture() -> None:
    upright = replace(ASKED, model="large", size=(768, 1360))
    assert refused(upright, Unsupported).param == "size"
    spec = planned(replace(upright, image=ImageBytes(b"png"))).spec
    assert (spec.model, spec.width, spec.height, spec.profile) == ("large-moving", 768, 1360, Profile.EXACT)
    error = refused(replace(upright, image=ImageBytes(b"png"), size=(512, 2000)), Unsupported)
    assert "renders 768 pixels on the short side and 768 to 1360 on the long one" in error.message


def test_a_request_with_a_picture_goes_to_the_image_to_video_sibling_of_its_model() -> None:
    job = planned(replace(ASKED, image=ImageBytes(b"png"), seconds=2))
    assert (job.spec.model, job.pool) == ("moving", "pool-m")
    assert (job.spec.num_frames, job.spec.delivery.num_frames) == (49, 16)


@given(
    model=st.sampled_from(list(SETTINGS.models)),
    pictured=st.booleans(),
    profile=st.sampled_from([None, *Profile]),
    size=st.none() | st.tuples(st.integers(0, 4100), st.integers(0, 4100)),
    num_frames=st.none() | st.integers(-1, 200),
    seconds=st.none() | st.floats(allow_nan=True),
    fps=st.none() | st.integers(0, 70),
)
def test_every_request_is_rendered_in_a_shape_that_its_model_knows_or_is_refused_by_name(
    model: str,
    pictured: bool,
    profile: Profile | None,
    size: Size | None,
    num_frames: int | None,
    seconds: float | None,
    fps: int | None,
) -> None:
    image = ImageBytes(b"png") if pictured else None
    asked = VideoRequest(
        prompt="sea", model=model, image=image, profile=profile, size=size, num_frames=num_frames, seconds=seconds,
        fps=fps,
    )  # fmt: skip
    job, blamed = None, None
    try:
        job = planned(asked)
    except RequestError as error:
        blamed = error.param
    if job is None:
        assert blamed in {"image", "profile", "size", "num_frames", "seconds", "fps"}
        return
    family, pool = SETTINGS.family_of(job.spec.model), SETTINGS.pools[job.pool]
    assert family.renders((job.spec.width, job.spec.height), job.spec.num_frames)
    assert family.image_to_video == pictured
    assert (pool.model, job.spec.profile in pool.served) == (job.spec.model, True)
    assert job.spec.profile is (profile or job.spec.profile)
    assert job.cost > 0

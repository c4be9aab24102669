"""The rules of the domain: transitions, endings, backoff, sizes, cost."""

from __future__ import annotations

import math
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.config import WatchdogSettings
from orchestrator.domain.catalog import (
    COGVIDEOX_2B,
    COGVIDEOX_5B_I2V,
    COGVIDEOX_15_5B,
    COGVIDEOX_15_5B_I2V,
    FAMILIES,
    TINY_2B,
    TINY_5B_I2V,
    ModelFamily,
    Profile,
)
from orchestrator.domain.errors import IllegalTransition
from orchestrator.domain.job import Failure, parse_public_id, public_id
from orchestrator.domain.outcome import AttemptOutcome, Ending, Evicted, Lost, Released, settle
from orchestrator.domain.protocol import Broke, Rendered, RenderStatus, Stage, Stopped
from orchestrator.domain.retry import AROUND, BELOW, FULL, Backoff, RetryPolicy
from orchestrator.domain.states import TRANSITIONS, JobState, require
from orchestrator.policy import cost
from orchestrator.policy.watchdog import Patience
from tests.support.builders import a_claim, a_result, a_spec

POLICY = RetryPolicy(base_s=10, cap_s=100, max_evictions=2)
BROKEN = Failure(code="render_error", message="it broke")
FATAL = Failure(code="bad_model", message="it can never work", retryable=False)

endings = st.sampled_from(
    [
        Rendered(result=a_result()),
        Broke(failure=BROKEN),
        Broke(failure=FATAL),
        Stopped(),
        Lost(failure=BROKEN),
        Evicted(reason="drain"),
        Released(reason="refused"),
    ]
)


def decided(ending: Ending, **changes: object) -> tuple[JobState, AttemptOutcome]:
    settlement = settle(a_claim(**changes), ending, POLICY, 0.5)
    return settlement.state, settlement.outcome


def test_terminal_states_have_no_way_out_and_every_other_state_can_reach_one() -> None:
    terminal = {state for state in JobState if not TRANSITIONS[state]}
    assert terminal == {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}
    for state in set(JobState) - terminal:
        assert JobState.CANCELLED in TRANSITIONS[state]


def test_a_finished_job_never_runs_again() -> None:
    with pytest.raises(IllegalTransition):
        require(JobState.SUCCEEDED, JobState.RUNNING)


@given(endings, st.integers(0, 5), st.integers(0, 5), st.booleans())
def test_every_ending_takes_a_running_job_along_a_legal_transition(
    ending: Ending, failures: int, evictions: int, cancel: bool
) -> None:
    claim = a_claim(failures=failures, evictions=evictions, cancel_requested=cancel)
    settlement = settle(claim, ending, POLICY, 0.0)
    assert settlement.state in TRANSITIONS[JobState.RUNNING]
    assert settlement.token == claim.token
    assert settlement.failures >= failures
    assert settlement.evictions >= evictions
    assert (settlement.result is not None) == (settlement.state is JobState.SUCCEEDED)
    if settlement.state is JobState.FAILED:
        assert settlement.failure is not None


@given(endings)
def test_no_job_is_tried_for_ever(ending: Ending) -> None:
    claim = a_claim(max_attempts=3)
    for _ in range(3 + POLICY.max_evictions):
        settlement = settle(claim, ending, POLICY, 0.0)
        if settlement.state.terminal or isinstance(ending, Released | Stopped):
            return
        claim = a_claim(failures=settlement.failures, evictions=settlement.evictions)
    pytest.fail("still being tried")


def test_a_failure_is_retried_until_the_attempts_are_spent() -> None:
    assert decided(Broke(failure=BROKEN), failures=1) == (JobState.QUEUED, AttemptOutcome.FAILED)
    assert decided(Broke(failure=BROKEN), failures=2) == (JobState.FAILED, AttemptOutcome.FAILED)


def test_an_error_that_no_retry_mends_fails_at_once() -> None:
    assert decided(Broke(failure=FATAL)) == (JobState.FAILED, AttemptOutcome.FAILED)


def test_a_lost_worker_counts_as_a_failure_and_a_release_costs_nothing() -> None:
    assert settle(a_claim(), Lost(failure=BROKEN), POLICY, 0.0).failures == 1
    released = settle(a_claim(failures=1), Released(reason="full"), POLICY, 0.0)
    assert (released.state, released.failures, released.delay_s) == (JobState.QUEUED, 1, 0.0)


def test_evictions_are_free_until_the_cap() -> None:
    assert settle(a_claim(), Evicted(reason="drain"), POLICY, 0.0).failures == 0
    capped = settle(a_claim(evictions=2), Evicted(reason="drain"), POLICY, 0.0)
    assert (capped.failures, capped.failure.code if capped.failure else None) == (1, "evicted_too_often")


def test_a_stopped_render_is_cancelled_only_when_its_owner_asked() -> None:
    assert decided(Stopped(), cancel_requested=True)[0] is JobState.CANCELLED
    assert decided(Stopped())[0] is JobState.QUEUED


@given(st.integers(1, 100), st.floats(0, 1, exclude_max=True))
def test_backoff_grows_to_its_cap_and_spreads_by_a_quarter(failures: int, jitter: float) -> None:
    full = min(100.0, 10.0 * 2 ** min(failures - 1, 32))
    assert 0.75 * full <= POLICY.delay_s(failures, jitter) <= 1.25 * full


@pytest.mark.parametrize("spread", [AROUND, BELOW, FULL])
@given(failures=st.integers(1, 100), jitter=st.floats(0, 1, exclude_max=True))
def test_every_backoff_doubles_up_to_its_cap_within_its_spread(
    spread: tuple[float, float], failures: int, jitter: float
) -> None:
    full = min(20.0, 0.5 * 2 ** min(failures - 1, 32))
    delay_s = Backoff(base_s=0.5, cap_s=20.0, spread=spread).delay_s(failures, jitter)
    assert spread[0] * full <= delay_s <= spread[1] * full


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_each_family_can_make_its_longest_video_and_every_length_that_it_says(family: ModelFamily) -> None:
    frames = family.legal_frames()
    assert (frames[0], frames[-1]) == (family.min_frames, family.max_frames)
    assert family.default_frames in frames
    assert all(count % family.frames_step == 1 for count in frames), "other counts are dropped by diffusers, silently"
    rendered = {*family.sizes, *map(family.draft_size, family.sizes)}
    assert all(side % 16 == 0 for size in rendered for side in size), "a patch is 16 pixels wide"


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_each_family_renders_its_sizes_and_their_drafts_at_its_frame_counts_and_nothing_else(
    family: ModelFamily,
) -> None:
    for size in family.sizes:
        assert family.renders(size, family.max_frames)
        assert family.renders(family.draft_size(size), family.min_frames)
        assert not family.renders(size, family.max_frames + family.frames_step)
        assert not family.renders((size[0] + 8, size[1]), family.max_frames)


def test_the_15_image_model_takes_every_shape_with_768_on_its_short_side() -> None:
    family = COGVIDEOX_15_5B_I2V
    legal = {(768, side) for side in range(768, 1361, 16)} | {(side, 768) for side in range(768, 1361, 16)}
    assert len(family.sizes) == len(legal) == 75
    assert set(family.sizes) == legal
    assert family.sizes_words == "768 pixels on the short side and 768 to 1360 on the long one, a multiple of 16"


def test_learned_positions_leave_no_room_for_a_smaller_draft() -> None:
    for family in (COGVIDEOX_5B_I2V, TINY_5B_I2V):
        assert family.draft_size(family.default_size) == family.default_size


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_a_picture_leads_to_a_family_that_takes_one(family: ModelFamily) -> None:
    """And that family makes what its sibling makes, so that no request changes its size by bringing a picture."""
    sibling = family if family.image_sibling is None else FAMILIES[family.image_sibling]
    assert sibling.image_to_video
    assert sibling.default_size in family.sizes
    assert sibling.max_frames == family.max_frames
    assert sibling.fps == family.fps


@given(st.sampled_from(list(FAMILIES.values())), st.floats(0.1, 10))
def test_seconds_become_the_least_legal_frame_count_that_lasts_so_long(family: ModelFamily, seconds: float) -> None:
    assume(seconds <= family.max_seconds)
    frames = family.frames_for(seconds)
    assert frames in family.legal_frames()
    assert frames / family.fps >= seconds - 1e-6
    assert frames == family.min_frames or (frames - family.frames_step) / family.fps < seconds


def test_the_longest_native_render_costs_its_reference_time() -> None:
    spec = a_spec(width=720, height=480, num_frames=49, num_inference_steps=50)
    family = COGVIDEOX_2B
    assert cost.tokens(family, 720, 480, 49) == 17_776
    assert cost.predict(family, spec) == pytest.approx(50 * family.reference_step_s + family.reference_decode_s)


def test_the_native_render_of_15_costs_its_reference_time() -> None:
    family = COGVIDEOX_15_5B
    spec = a_spec(width=1360, height=768, num_frames=81, fps=16, num_inference_steps=50)
    assert cost.tokens(family, 1360, 768, 81) == 45_104  # 11 x 48 x 85 patches and 224 of the prompt
    assert cost.predict(family, spec) == pytest.approx(50 * family.reference_step_s + family.reference_decode_s)


def test_approximating_profiles_are_predicted_to_cost_less() -> None:
    exact, fast, draft = (cost.predict(TINY_2B, a_spec(profile=profile)) for profile in Profile)
    assert fast < exact
    assert draft < exact


def test_a_smaller_render_is_predicted_to_cost_less() -> None:
    small, large = a_spec(num_frames=9), a_spec(num_frames=49)
    assert cost.predict(TINY_2B, small) < cost.predict(TINY_2B, large)


@given(st.uuids())
def test_a_public_id_leads_back_to_its_job(job_id: UUID) -> None:
    assert parse_public_id(public_id(job_id)) == job_id


@pytest.mark.parametrize(
    "text", ["", "video_", "../../etc", "video_" + "g" * 32, "VIDEO_" + "0" * 32, "video_" + "0" * 33]
)
def test_what_is_no_public_id_leads_nowhere(text: str) -> None:
    assert parse_public_id(text) is None


PATIENCE = Patience(floor_s=1.0, factor=10.0, upload_s=2.0)
PREDICTED = {"step_s": 3.0, "render_s": 100.0, "finish_s": 40.0}


@pytest.mark.parametrize(
    ("stage", "longest_s"),
    [
        (Stage.DENOISING, 30.0),
        (Stage.ENCODING, 1000.0),
        (Stage.DECODING, 1000.0),
        # A large delivery is finished for longer than it was rendered, and that is predicted.
        (Stage.FINISHING, 1400.0),
        (Stage.UPLOADING, 1400.0),
        (Stage.ASSIGNED, math.inf),
        (Stage.PREEMPTED, math.inf),
        (Stage.ENDED, math.inf),
    ],
)
def test_a_stage_may_be_silent_for_so_many_times_what_was_predicted_of_it(stage: Stage, longest_s: float) -> None:
    assert PATIENCE.deadline_s(stage, **PREDICTED) == longest_s
    for age_s, hung in ((longest_s, False), (math.nextafter(longest_s, math.inf), longest_s < math.inf)):
        status = RenderStatus(
            token=UUID(int=1), job_id=UUID(int=2), claim=1, stage=stage, step=0, steps=4, progress_age_s=age_s
        )
        assert PATIENCE.hung(status, **PREDICTED) is hung


def test_every_stage_has_a_patience_and_no_prediction_of_nothing_makes_it_short() -> None:
    nothing = dict.fromkeys(PREDICTED, 0.0)
    usual = WatchdogSettings().patience
    for stage in Stage:
        assert usual.deadline_s(stage, **nothing) >= (900 if stage in (Stage.FINISHING, Stage.UPLOADING) else 120)

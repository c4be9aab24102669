"""What a job is charged: whichever of GPU and finishers it fills for longer."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.catalog import FAMILIES
from orchestrator.domain.delivery import Delivery
from orchestrator.domain.job import RenderSpec
from orchestrator.policy import charge
from orchestrator.policy.cost import predict, predict_finish_s
from tests.support.builders import a_job, a_result

FAMILY = FAMILIES["cogvideox-2b"]
SECONDS = st.floats(0, 1e6)


def a_video(*, steps: int, size: tuple[int, int], fps: int) -> RenderSpec:
    """Six seconds of CogVideoX-2B, delivered so."""
    width, height = size
    return RenderSpec(
        model="cogvideox-2b", prompt="", width=720, height=480, num_frames=49, fps=8, num_inference_steps=steps,
        guidance_scale=6.0, seed=0, delivery=Delivery(width=width, height=height, num_frames=6 * fps, fps=fps),
    )  # fmt: skip


def test_a_render_without_gpu_seconds_to_speak_of_is_charged_for_its_finishing() -> None:
    spec = a_video(steps=1, size=(1920, 1080), fps=60)
    gpu_seconds = predict(FAMILY, spec)
    assert charge.predicted(gpu_seconds, spec) == predict_finish_s(spec) / charge.FINISHERS > 5 * gpu_seconds


def test_a_usual_video_is_charged_its_gpu_seconds_and_its_row_says_nothing() -> None:
    spec = a_video(steps=50, size=(720, 480), fps=8)
    gpu_seconds = predict(FAMILY, spec)
    assert charge.beyond(charge.predicted(gpu_seconds, spec), gpu_seconds) is None
    job = a_job(cost=gpu_seconds)
    assert (job.charged, replace(job, charge=7.0).charged) == (gpu_seconds, 7.0)


@given(SECONDS, SECONDS)
def test_a_charge_is_never_less_than_either_and_never_both_together(gpu_seconds: float, finishing_s: float) -> None:
    charged = charge.charge(gpu_seconds, finishing_s)
    assert charged in (gpu_seconds, finishing_s / charge.FINISHERS)
    assert charged >= gpu_seconds
    assert charged * charge.FINISHERS >= finishing_s
    assert charge.beyond(charged, gpu_seconds) in (None, charged)


@pytest.mark.parametrize(
    ("stages", "charged"),
    [({"denoising": 1.0}, 1.0), ({"finishing": 1.9}, 1.0), ({"finishing": 50.0}, 25.0), ({"uploading": 50.0}, 1.0)],
)
def test_what_a_video_came_about_with_says_what_it_is_charged(stages: dict[str, float], charged: float) -> None:
    """Also where a worker of the release before rendered it; uploading is the bucket's pace."""
    assert charge.of_video(a_result(gpu_seconds=1.0, stages=stages)) == charged

"""What the engine's benchmark computes from its figures: arithmetic of a step, idle gaps, goals."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from orchestrator.domain.catalog import FAMILIES
from orchestrator.policy.cost import tokens
from tests.benchmarks.engine.flops import Shape, floor_s, step_flops
from tests.benchmarks.engine.idle import gaps
from tests.benchmarks.engine.record import PLAIN, Measurement, verdicts
from tests.benchmarks.engine.subjects import Timing
from tests.support.random_weights import transformer_of
from workers.engine.parts import Decoding


@pytest.mark.parametrize(
    ("name", "tflop", "floor"),
    [("cogvideox-2b", 240, 15.2), ("cogvideox-5b", 664, 42.0), ("cogvideox-1.5-5b", 2958, 187)],
)
def test_a_native_step_has_the_arithmetic_that_was_counted_for_the_published_model(
    name: str, tflop: float, floor: float
) -> None:
    family = FAMILIES[name]
    with torch.device("meta"):
        shape = Shape.of(transformer_of(family))

    flops = step_flops(shape, tokens(family, *family.default_size, family.default_frames))

    assert flops / 1e12 == pytest.approx(tflop, rel=0.002)
    assert floor_s(50 * flops) == pytest.approx(floor, rel=0.002)


def test_torch_counts_the_same_in_a_forward() -> None:
    family = FAMILIES["cogvideox-2b"]
    with torch.device("meta"):
        transformer = transformer_of(family)
        latents = torch.empty(2, 5, 16, 60, 90)
        with FlopCounterMode(display=False) as counter:
            transformer(latents, torch.empty(2, 226, 4096), timestep=torch.zeros(2))

    ours = step_flops(Shape.of(transformer), tokens(family, 720, 480, 17))

    assert ours == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_a_device_idles_where_nothing_runs_on_it_for_long() -> None:
    spans = [(0.0, 1.0), (0.5, 2.0), (2.0005, 3.0), (3.2, 4.0), (0.6, 0.7)]

    assert gaps(spans) == [pytest.approx(0.2)]
    assert gaps([]) == []


def test_steps_that_were_not_rendered_count_with_the_median_of_those_that_were() -> None:
    timing = Timing(begin_s=1, steps_s=(5, 2, 2), decode_s=3, decoding=Decoding.WHOLE)

    assert timing.video_s(3) == 13
    assert timing.video_s(50) == 13 + 47 * 2


def test_goals_are_met_missed_or_not_measured() -> None:
    found = {(one.model, one.profile): one for one in (a_measurement(PLAIN, 90.0), a_measurement("exact", 59.0))}

    told = dict(verdicts(found))

    assert told["cogvideox-5b, exact: at most 60 s a video"] == "met (59)"
    assert told["cogvideox-5b, exact: at least 1.4 times as fast as plain diffusers"] == "met (1.53)"
    assert told["cogvideox-5b, exact: idle between renders under 1%"] == "missed (0.0169)"
    assert sum(verdict == "not measured" for verdict in told.values()) == 3


def a_measurement(profile: str, video_s: float) -> Measurement:
    return Measurement(
        model="cogvideox-5b",
        profile=profile,
        shape="720x480x49",
        steps=8,
        of_steps=50,
        prepare_s=60.0,
        begin_s=0.1,
        step_s=1.1,
        decode_s=3.0,
        decoding="whole",
        video_s=video_s,
        floor_s=42.0,
        tflops=600.0,
        between_s=1.0,
        facts={},
    )

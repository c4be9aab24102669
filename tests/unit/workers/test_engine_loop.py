"""The step loop with a scripted model: what runs beside what, and what a failure leaves behind."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from orchestrator.domain.catalog import FAMILIES
from orchestrator.domain.errors import RenderFailed
from orchestrator.domain.job import RenderSpec, VideoResult
from orchestrator.domain.protocol import Assignment, Broke, Rendered, Stage, Stopped
from orchestrator.telemetry import logs
from tests.support.builders import a_result
from tests.support.engine import give, running, status, stop_at, the_end, until
from tests.support.workers import PATIENCE_S, Gate, ScriptedModel, an_assignment, parts
from workers.engine.changes import Changes
from workers.engine.choice import Act
from workers.engine.loop import Engine
from workers.engine.meter import Meter
from workers.engine.parts import Watch
from workers.engine.roster import Roster


def test_a_render_goes_through_every_stage_and_says_what_each_took() -> None:
    with running(ScriptedModel()) as roster:
        token = give(roster, num_inference_steps=3)
        end = the_end(roster, token)
        assert isinstance(end, Rendered)
        assert set(status(roster, token).stages) == {"encoding", "denoising", "decoding", "finishing"}
        assert set(end.result.stages) == {"encoding", "denoising", "decoding", "finishing"}
        assert status(roster, token).step == 3
        assert 0 < end.result.gpu_seconds == pytest.approx(roster.gpu_busy_s)


def test_the_next_render_denoises_while_the_one_before_is_being_finished() -> None:
    gate = Gate()

    def slow_finish(assignment: Assignment, frames: np.ndarray, watch: Watch) -> VideoResult:
        if assignment.spec.seed == 1:
            gate.stop_here()
        return a_result()

    with running(ScriptedModel(), slow_finish) as roster:
        first, second = give(roster, seed=1), give(roster, seed=2)
        gate.wait_reached()
        assert isinstance(the_end(roster, second), Rendered)
        assert status(roster, first).stage is Stage.FINISHING
        gate.opened.set()
        assert isinstance(the_end(roster, first), Rendered)


def test_no_more_videos_are_decoded_than_can_be_finished() -> None:
    gate = Gate()
    finishing: list[int] = []

    def slow_finish(assignment: Assignment, frames: np.ndarray, watch: Watch) -> VideoResult:
        finishing.append(assignment.spec.seed)
        gate.stop_here()
        return a_result()

    model = ScriptedModel()
    with running(model, slow_finish) as roster:
        give(roster, seed=1)
        give(roster, seed=2)
        until(lambda: len(finishing) == 2)
        blocked = give(roster, seed=3, num_inference_steps=2)
        until(lambda: status(roster, blocked).step == 2)
        until(lambda: status(roster, blocked).progress_age_s < 0.5)
        assert (Act.DECODE, 3) not in model.moves
        gate.opened.set()
        assert isinstance(the_end(roster, blocked), Rendered)


def test_one_render_steps_and_one_waits_and_there_is_room_for_no_third() -> None:
    gate, before = stop_at(Act.STEP, seed=1)
    with running(ScriptedModel(before)) as roster:
        assert roster.schedule.room == 2
        give(roster, seed=1)
        gate.wait_reached()
        give(roster, seed=2)
        assert roster.schedule.room == 0
        assert not roster.assign(an_assignment())
        assert roster.schedule.free_in_s > 0
        gate.opened.set()
        until(lambda: roster.schedule.room == 2)


def test_cancelling_stops_at_the_next_step_and_skips_the_decode() -> None:
    gate, before = stop_at(Act.STEP, seed=1, step=1)
    model = ScriptedModel(before)
    with running(model) as roster:
        token = give(roster, seed=1, num_inference_steps=50)
        gate.wait_reached()
        roster.cancel(token)
        gate.opened.set()
        end = the_end(roster, token)
        assert isinstance(end, Stopped)
        assert end.gpu_seconds > 0
        assert status(roster, token).step == 2, "the step that was under way is the last"
    assert (Act.DECODE, 1) not in model.moves


def test_a_render_that_waits_is_cancelled_without_being_begun() -> None:
    gate, before = stop_at(Act.STEP, seed=1)
    model = ScriptedModel(before)
    with running(model) as roster:
        first, waiting = give(roster, seed=1), give(roster, seed=2)
        gate.wait_reached()
        roster.cancel(waiting)
        assert status(roster, waiting).end == Stopped()
        gate.opened.set()
        the_end(roster, first)
    assert not [move for move in model.moves if move[1] == 2]


def test_a_render_cancelled_while_it_is_encoded_is_not_uploaded() -> None:
    gate = Gate()

    def slow_finish(assignment: Assignment, frames: np.ndarray, watch: Watch) -> VideoResult:
        gate.stop_here()
        watch.enter(Stage.UPLOADING)
        raise AssertionError("uploaded")

    with running(ScriptedModel(), slow_finish) as roster:
        token = give(roster)
        gate.wait_reached()
        roster.cancel(token)
        gate.opened.set()
        assert isinstance(the_end(roster, token), Stopped)


def test_a_render_that_is_told_to_leave_before_it_begins_never_begins() -> None:
    gate, before = stop_at(Act.BEGIN, seed=1)
    model = ScriptedModel(before)
    with running(model) as roster:
        first, waiting = give(roster, seed=1), give(roster, seed=2)
        gate.wait_reached()
        roster.evict(waiting, "evicted")
        roster.evict(waiting, "evicted")  # asked again, because the first answer was lost
        gate.opened.set()
        assert isinstance(the_end(roster, first), Rendered)
        assert status(roster, waiting).end == Stopped()
    assert (Act.BEGIN, 2) not in model.moves


def test_leaving_races_with_beginning_and_exactly_one_wins() -> None:
    model = ScriptedModel()
    with running(model) as roster:
        for seed in range(1, 200):
            token = give(roster, seed=seed, num_inference_steps=1)
            roster.evict(token, "evicted")
            end = the_end(roster, token)
            assert isinstance(end, Stopped) is not ((Act.BEGIN, seed) in model.moves)
            roster.forget(token)


@pytest.mark.parametrize("act", [Act.BEGIN, Act.STEP, Act.DECODE])
def test_a_failure_ends_its_render_only(act: Act) -> None:
    def fail(now: Act, spec: RenderSpec, step: int) -> None:
        if now is act and spec.seed == 1:
            raise RenderFailed("device_error", "an illegal instruction")

    model = ScriptedModel(fail)
    with running(model) as roster:
        failing, next_one = give(roster, seed=1), give(roster, seed=2)
        broke = the_end(roster, failing)
        assert isinstance(broke, Broke)
        assert broke.failure.code == "device_error"
        assert isinstance(the_end(roster, next_one), Rendered)
        assert model.recoveries == 1
        assert roster.schedule.room == 2


def test_a_failure_while_finishing_leaves_the_gpu_alone() -> None:
    def full_disk(assignment: Assignment, frames: np.ndarray, watch: Watch) -> VideoResult:
        raise OSError(28, "No space left on device")

    model = ScriptedModel()
    with running(model, full_disk) as roster:
        end = the_end(roster, give(roster))
        assert isinstance(end, Broke)
        assert end.failure.code == "disk_full"
        assert end.gpu_seconds > 0
        assert model.recoveries == 0


def test_a_model_that_does_not_recover_fails_what_waits_and_takes_nothing_more() -> None:
    gate, before = stop_at(Act.STEP, seed=1)

    def fail(act: Act, spec: RenderSpec, step: int) -> None:
        before(act, spec, step)
        if act is Act.STEP:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    model = ScriptedModel(fail, broken=RuntimeError("the device is lost"))
    roster = Roster(Meter(FAMILIES["tiny-2b"]), Changes())
    raised: list[BaseException] = []

    def run() -> None:
        try:
            Engine(roster, parts(model), logs.get("test")).run()
        except RuntimeError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    failing, waiting = give(roster, seed=1), give(roster, seed=2)
    gate.wait_reached()
    gate.opened.set()
    thread.join(PATIENCE_S)
    assert [str(error) for error in raised] == ["the device is lost"]
    ends = [the_end(roster, token) for token in (failing, waiting)]
    assert [end.failure.code for end in ends if isinstance(end, Broke)] == ["render_error", "worker_failed"]
    assert roster.schedule.room == 0


def test_only_ended_renders_are_forgotten() -> None:
    gate, before = stop_at(Act.STEP, seed=1)
    with running(ScriptedModel(before)) as roster:
        token = give(roster, seed=1)
        gate.wait_reached()
        roster.forget(token)
        assert roster.holds(token)
        gate.opened.set()
        the_end(roster, token)
        roster.forget(token)
        assert not roster.holds(token)
        roster.forget(token)

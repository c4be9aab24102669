"""An urgent render takes the GPU at the next step; what it displaced waits in memory and goes on as it was."""

from __future__ import annotations

from orchestrator.domain.job import Incident, VideoResult
from orchestrator.domain.protocol import Assignment, Rendered, Stage, Stopped
from tests.support.builders import a_result
from tests.support.engine import a_roster, all_of, give, running, status, stop_at, the_end, until
from tests.support.workers import Gate, ScriptedModel, an_assignment
from workers.engine.choice import Act
from workers.engine.parts import Watch

BULK, URGENT = 20, 0


def test_an_urgent_render_goes_first_and_the_bulk_one_makes_every_step_once() -> None:
    gate, before = stop_at(Act.STEP, seed=1, step=2)
    model = ScriptedModel(before)
    with running(model) as roster:
        bulk = give(roster, seed=1, priority=BULK, num_inference_steps=5)
        gate.wait_reached()
        urgent = give(roster, seed=2, priority=URGENT, num_inference_steps=3)
        gate.opened.set()
        assert isinstance(the_end(roster, urgent), Rendered)
        assert isinstance(the_end(roster, bulk), Rendered)
        assert status(roster, bulk).incidents == (Incident.PREEMPTED,)
        assert status(roster, urgent).incidents == ()
        assert "preempted" in status(roster, bulk).stages
    assert model.steps == [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2), (1, 3), (1, 4)]
    assert model.moves.index((Act.DECODE, 2)) < model.moves.index((Act.DECODE, 1))


def test_a_render_that_waits_in_memory_is_not_taken_for_hung_and_takes_no_room() -> None:
    stepping, before_bulk = stop_at(Act.STEP, seed=1)
    hanging, before_urgent = stop_at(Act.STEP, seed=2)
    with running(ScriptedModel(all_of(before_bulk, before_urgent))) as roster:
        bulk = give(roster, seed=1, priority=BULK)
        stepping.wait_reached()
        urgent = give(roster, seed=2, priority=URGENT)
        assert roster.schedule.room == 0
        stepping.opened.set()
        hanging.wait_reached()
        until(lambda: status(roster, urgent).progress_age_s > 0.02)
        parked = status(roster, bulk)
        assert (parked.stage, parked.step, parked.progress_age_s) == (Stage.PREEMPTED, 1, 0.0)
        assert roster.schedule.room == 1
        hanging.opened.set()
        assert isinstance(the_end(roster, bulk), Rendered)


def test_a_full_worker_takes_only_what_would_step_next() -> None:
    gate, before = stop_at(Act.STEP, seed=1)
    with running(ScriptedModel(before)) as roster:
        assert roster.schedule.interrupts is None, "an idle worker has nothing to interrupt"
        first, second = give(roster, seed=1, priority=BULK), give(roster, seed=2, priority=BULK)
        gate.wait_reached()
        assert (roster.schedule.room, roster.schedule.interrupts) == (0, BULK)
        assert not roster.assign(an_assignment(priority=BULK))
        urgent = give(roster, seed=3, priority=URGENT)
        assert roster.schedule.interrupts is None, "one more would only wait"
        assert not roster.assign(an_assignment(priority=URGENT))
        gate.opened.set()
        assert all(isinstance(the_end(roster, token), Rendered) for token in (first, second, urgent))


def test_what_does_not_fit_into_memory_beside_another_waits_for_its_end() -> None:
    gate, before = stop_at(Act.STEP, seed=1)
    model = ScriptedModel(before)
    with running(model, roster=a_roster(park_bytes=1)) as roster:
        give(roster, seed=1, priority=BULK)
        gate.wait_reached()
        assert roster.schedule.interrupts is None
        urgent = give(roster, seed=2, priority=URGENT)
        gate.opened.set()
        the_end(roster, urgent)
    assert [seed for act, seed in model.moves if act is Act.BEGIN] == [1, 2]
    assert [seed for seed, _ in model.steps] == [1] * 4 + [2] * 4


def test_a_preempted_render_is_cancelled_where_it_waits() -> None:
    first, before_bulk = stop_at(Act.STEP, seed=1)
    second, before_urgent = stop_at(Act.STEP, seed=2)
    model = ScriptedModel(all_of(before_bulk, before_urgent))
    with running(model) as roster:
        bulk = give(roster, seed=1, priority=BULK)
        first.wait_reached()
        urgent = give(roster, seed=2, priority=URGENT)
        first.opened.set()
        second.wait_reached()
        roster.cancel(bulk)
        second.opened.set()
        assert isinstance(the_end(roster, bulk), Stopped)
        assert isinstance(the_end(roster, urgent), Rendered)
    assert [seed for seed, _ in model.steps] == [1, 2, 2, 2, 2], "within one step of the other"


def test_the_next_steps_while_a_denoised_one_waits_for_a_finisher() -> None:
    gate = Gate()
    finishing: list[int] = []

    def slow_finish(assignment: Assignment, frames: object, watch: Watch) -> VideoResult:
        finishing.append(assignment.spec.seed)
        gate.stop_here()
        return a_result()

    model = ScriptedModel()
    with running(model, slow_finish) as roster:
        tokens = [give(roster, seed=1), give(roster, seed=2)]
        until(lambda: len(finishing) == 2)
        tokens += [give(roster, seed=3), give(roster, seed=4)]
        until(lambda: status(roster, tokens[3]).step == 4)
        assert (Act.DECODE, 3) not in model.moves, "finished frames do not pile up"
        assert status(roster, tokens[2]).progress_age_s == 0.0, "it waits for others, and is not hung"
        assert status(roster, tokens[2]).stage is Stage.DENOISING
        gate.opened.set()
        assert all(isinstance(the_end(roster, token), Rendered) for token in tokens)

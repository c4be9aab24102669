"""Renders of one shape step together; one's arrival, end, failure or cancelling does not touch the others."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from orchestrator.domain.catalog import Profile
from orchestrator.domain.errors import RenderFailed
from orchestrator.domain.job import Incident, RenderSpec, VideoResult
from orchestrator.domain.protocol import Assignment, Broke, HandedBack, Rendered, Stopped
from tests.support.engine import a_roster, all_of, give, running, status, stop_at, the_end
from tests.support.workers import ScriptedModel, finish_at_once
from workers.engine.choice import Act
from workers.engine.parts import Watch


def test_renders_of_one_shape_join_and_leave_at_step_boundaries() -> None:
    gate, before = stop_at(Act.STEP, seed=1, step=2)
    model = ScriptedModel(before)
    told: dict[int, str] = {}

    def finish(assignment: Assignment, frames: object, watch: Watch) -> VideoResult:
        told[assignment.spec.seed] = watch.numerics
        return finish_at_once(assignment, frames, watch)

    with running(model, finish, roster=a_roster(batch_size=4)) as roster:
        first = give(roster, seed=1, num_inference_steps=4)
        gate.wait_reached()
        assert roster.schedule.free_in_s == 0.0, "another could step along"
        second = give(roster, seed=2, num_inference_steps=4)
        gate.opened.set()
        ends = [the_end(roster, token) for token in (first, second)]
        assert all(isinstance(end, Rendered) for end in ends)
        spent = sum(end.result.gpu_seconds for end in ends if isinstance(end, Rendered))
        assert spent == pytest.approx(roster.gpu_busy_s), "a batch's seconds are shared"
        assert [status(roster, token).incidents for token in (first, second)] == [(), ()]
        assert told == {1: "here-exact+batched", 2: "here-exact+batched"}
    assert model.batches == [(1,), (1,), (1,), (1, 2), (2,), (2,), (2,)]
    assert sorted(model.steps) == [(seed, step) for seed in (1, 2) for step in range(4)]


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 64},
        {"num_frames": 17},
        {"num_inference_steps": 5},
        {"guidance_scale": 1.0},
        {"adapter": "style"},
        {"reproducible": True},
        {"profile": Profile.FAST},
        {"priority": 20},
    ],
)
def test_only_what_steps_alike_steps_together(changes: dict[str, object]) -> None:
    gate, before = stop_at(Act.BEGIN, seed=1)
    model = ScriptedModel(before)
    with running(model, roster=a_roster(batch_size=4)) as roster:
        first = give(roster, seed=1)
        gate.wait_reached()
        second = give(roster, **{"seed": 2, **changes})
        gate.opened.set()
        for token in (first, second):
            the_end(roster, token)
    assert all(len(batch) == 1 for batch in model.batches)


def test_nothing_steps_together_unless_the_pool_allows_it() -> None:
    gate, before = stop_at(Act.BEGIN, seed=1)
    model = ScriptedModel(before)
    with running(model) as roster:
        tokens = [give(roster, seed=1)]
        gate.wait_reached()
        tokens.append(give(roster, seed=2))
        gate.opened.set()
        for token in tokens:
            the_end(roster, token)
    assert model.batches == [(1,)] * 4 + [(2,)] * 4


def test_cancelling_or_evicting_one_of_a_batch_leaves_the_others_alone() -> None:
    begun, before_begin = stop_at(Act.BEGIN, seed=1)
    gate, before_step = stop_at(Act.STEP, seed=3, step=1)
    model = ScriptedModel(all_of(before_begin, before_step))
    with running(model, roster=a_roster(batch_size=3)) as roster:
        tokens = [give(roster, seed=1)]
        begun.wait_reached()
        tokens += [give(roster, seed=seed) for seed in (2, 3)]
        begun.opened.set()
        gate.wait_reached()
        roster.cancel(tokens[0])
        roster.evict(tokens[1], "evicted")
        gate.opened.set()
        ends = [the_end(roster, token) for token in tokens]
        assert [type(end) for end in ends] == [Stopped, HandedBack, Rendered]
    assert model.batches == [(1, 2, 3), (1, 2, 3), (3,), (3,)]


def test_what_befalls_one_of_a_batch_ends_that_one_only() -> None:
    def fail(act: Act, spec: RenderSpec, step: int) -> None:
        if (act, spec.seed, step) == (Act.STEP, 1, 2):
            raise RenderFailed("device_error", "only this one")

    gate, before = stop_at(Act.BEGIN, seed=1)
    model = ScriptedModel(all_of(before, fail))
    with running(model, roster=a_roster(batch_size=2)) as roster:
        tokens = [give(roster, seed=1)]
        gate.wait_reached()
        tokens.append(give(roster, seed=2))
        gate.opened.set()
        broke, rendered = [the_end(roster, token) for token in tokens]
        assert isinstance(broke, Broke)
        assert isinstance(rendered, Rendered)
        assert [status(roster, token).incidents for token in tokens] == [(), ()]
    assert sorted(model.steps) == [(1, 0), (1, 1), *((2, step) for step in range(4))]


def test_a_poisoned_batch_is_split_and_only_the_poisonous_render_fails() -> None:
    def poison(specs: Sequence[RenderSpec]) -> None:
        if any(spec.seed == 2 for spec in specs):
            raise RuntimeError("an illegal address")

    gate, before = stop_at(Act.BEGIN, seed=1)
    model = ScriptedModel(before, poison)
    with running(model, roster=a_roster(batch_size=3)) as roster:
        tokens = [give(roster, seed=1)]
        gate.wait_reached()
        tokens += [give(roster, seed=seed) for seed in (2, 3)]
        gate.opened.set()
        ends = [the_end(roster, token) for token in tokens]
        assert [type(end) for end in ends] == [Rendered, Broke, Rendered]
        assert all(Incident.BATCH_SPLIT in status(roster, token).incidents for token in tokens)
        assert not any(Incident.PREEMPTED in status(roster, token).incidents for token in tokens)
    assert model.batches == [(1, 2, 3), *[(1,)] * 4, (2,), *[(3,)] * 4]
    assert sorted(model.steps) == [(seed, step) for seed in (1, 3) for step in range(4)]

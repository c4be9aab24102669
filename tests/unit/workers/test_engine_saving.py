"""Checkpoints: taken now and then and when a render leaves, stored beside the step loop, and gone on from."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from orchestrator.domain.catalog import FAMILIES
from orchestrator.domain.errors import ObjectsUnavailable, RenderFailed
from orchestrator.domain.job import Artifact, Checkpoint, Continuity, Incident, RenderSpec, VideoResult
from orchestrator.domain.protocol import Assignment, HandedBack, Rendered, Stage, Stopped
from orchestrator.telemetry import logs
from tests.support.builders import a_result
from tests.support.engine import a_roster, give, running, status, stop_at, the_end, until
from tests.support.workers import Gate, ScriptedModel, an_assignment, save_nowhere
from workers.engine.choice import Act
from workers.engine.held import Held
from workers.engine.parts import Material, Snapshot, Watch
from workers.engine.saving import Saving

ALWAYS_S = 1e-9
IMAGE = Artifact(key="inputs/x", size=1, sha256="3" * 64, content_type="image/png")


def a_checkpoint(step: int = 3, numerics: str = "here-exact") -> Checkpoint:
    artifact = Artifact(key="elsewhere", size=1, sha256="4" * 64, content_type="application/octet-stream")
    return Checkpoint(artifact=artifact, step=step, numerics=numerics)


def resuming(assignment: Assignment, wanted: Callable[[], bool]) -> Material:
    if (checkpoint := assignment.checkpoint) is None:
        return Material()
    snapshot = Snapshot(step=checkpoint.step, numerics=checkpoint.numerics, tensors={})
    return Material(snapshot=snapshot, continuity=Continuity.RESUMED)


class Told:
    """Finishes by keeping what a watch says of each render."""

    def __init__(self) -> None:
        self.continuity: Continuity | None = None
        self.resumed_at = -1
        self.numerics = ""
        self.incidents: tuple[Incident, ...] = ()

    def __call__(self, assignment: Assignment, frames: object, watch: Watch) -> VideoResult:
        self.continuity, self.resumed_at = watch.continuity, watch.resumed_at
        self.numerics, self.incidents = watch.numerics, watch.incidents
        return a_result()


def test_checkpoints_are_stored_on_the_way_one_at_a_time_and_the_newest_is_told() -> None:
    uploading = Gate()
    saved: list[int] = []

    def slow(assignment: Assignment, snapshot: Snapshot) -> Checkpoint:
        saved.append(snapshot.step)
        if len(saved) == 1:
            uploading.stop_here()
        return save_nowhere(assignment, snapshot)

    gate, before = stop_at(Act.STEP, seed=1, step=4)
    model = ScriptedModel(before)
    with running(model, roster=a_roster(checkpoint_every_s=ALWAYS_S), save=slow) as roster:
        token = give(roster, seed=1, num_inference_steps=8)
        gate.wait_reached()
        assert saved == [1], "the next is not begun before the one before is through"
        assert [act for act, _ in model.moves].count(Act.CHECKPOINT) == 1
        uploading.opened.set()
        (held,) = roster.renders.by_token.values()
        until(lambda: not held.saving)
        gate.opened.set()
        assert isinstance(the_end(roster, token), Rendered)
        checkpoint = status(roster, token).checkpoint
        assert checkpoint is not None
        assert checkpoint.step == saved[-1] > 1
        assert checkpoint.numerics == "here-exact"


def test_a_video_ends_after_its_checkpoints_so_that_none_is_stored_that_no_row_names() -> None:
    uploading = Gate()

    def slow(assignment: Assignment, snapshot: Snapshot) -> Checkpoint:
        uploading.stop_here()
        return save_nowhere(assignment, snapshot)

    with running(ScriptedModel(), roster=a_roster(checkpoint_every_s=ALWAYS_S), save=slow) as roster:
        token = give(roster)
        uploading.wait_reached()
        until(lambda: status(roster, token).stage is Stage.FINISHING)
        assert status(roster, token).end is None
        uploading.opened.set()
        assert isinstance(the_end(roster, token), Rendered)
        assert status(roster, token).checkpoint is not None


def test_no_checkpoint_is_taken_on_the_way_when_none_is_asked_for() -> None:
    model = ScriptedModel()
    with running(model, roster=a_roster(checkpoint_every_s=0)) as roster:
        the_end(roster, give(roster))
    assert Act.CHECKPOINT not in [act for act, _ in model.moves]


@pytest.mark.parametrize("where", ["on the GPU", "on the way to the bucket"])
def test_a_checkpoint_that_fails_costs_its_render_nothing(where: str) -> None:
    def fail(act: Act, spec: RenderSpec, step: int) -> None:
        if act is Act.CHECKPOINT and where == "on the GPU":
            raise RenderFailed("out_of_memory", "20 GiB too many")

    def away(assignment: Assignment, snapshot: Snapshot) -> Checkpoint:
        raise ObjectsUnavailable("S3 is away")

    with running(ScriptedModel(fail), roster=a_roster(checkpoint_every_s=ALWAYS_S), save=away) as roster:
        token = give(roster)
        assert isinstance(the_end(roster, token), Rendered)
        until(lambda: status(roster, token).incidents == (Incident.CHECKPOINT_FAILED,))
        assert status(roster, token).checkpoint is None


def test_an_evicted_render_leaves_at_the_next_step_with_all_that_it_has_done() -> None:
    gate, before = stop_at(Act.STEP, seed=1, step=2)
    model = ScriptedModel(before)
    with running(model) as roster:
        token = give(roster, seed=1, num_inference_steps=50)
        gate.wait_reached()
        roster.evict(token, "needed elsewhere")
        gate.opened.set()
        end = the_end(roster, token)
        assert isinstance(end, HandedBack)
        assert end.checkpoint is not None
        assert (end.reason, end.checkpoint.step, status(roster, token).step) == ("needed elsewhere", 3, 3)
        assert end.gpu_seconds == roster.gpu_busy_s > 0
        assert roster.schedule.room == 2
    assert (Act.DECODE, 1) not in model.moves


def test_an_evicted_render_tries_again_while_s3_is_away_and_holds_no_gpu_meanwhile() -> None:
    gate, before = stop_at(Act.STEP, seed=1)
    tries: list[int] = []

    def flaky(assignment: Assignment, snapshot: Snapshot) -> Checkpoint:
        tries.append(snapshot.step)
        if len(tries) < 3:
            raise ObjectsUnavailable("S3 is away")
        return save_nowhere(assignment, snapshot)

    with running(ScriptedModel(before), save=flaky) as roster:
        leaving, other = give(roster, seed=1), give(roster, seed=2)
        gate.wait_reached()
        roster.evict(leaving, "evicted", within_s=30)
        gate.opened.set()
        assert isinstance(the_end(roster, other), Rendered)
        end = the_end(roster, leaving)
        assert isinstance(end, HandedBack)
        assert end.checkpoint is not None
        assert status(roster, leaving).incidents == ()
    assert tries == [1, 1, 1]


def test_an_evicted_render_is_handed_back_without_a_checkpoint_when_s3_stays_away() -> None:
    gate, before = stop_at(Act.STEP, seed=1)

    def away(assignment: Assignment, snapshot: Snapshot) -> Checkpoint:
        raise ObjectsUnavailable("S3 is away")

    with running(ScriptedModel(before), save=away) as roster:
        token = give(roster, seed=1)
        gate.wait_reached()
        roster.evict(token, "evicted", within_s=0.3)
        gate.opened.set()
        end = the_end(roster, token)
        assert isinstance(end, HandedBack)
        assert end.checkpoint is None
        assert status(roster, token).incidents == (Incident.CHECKPOINT_FAILED,)


def test_a_render_that_had_not_begun_is_stopped_and_one_that_is_being_finished_ends_as_it_would() -> None:
    finishing, stepping = Gate(), Gate()

    def slow_finish(assignment: Assignment, frames: object, watch: Watch) -> VideoResult:
        finishing.stop_here()
        return a_result()

    def before(act: Act, spec: RenderSpec, step: int) -> None:
        if (act, spec.seed) == (Act.STEP, 2):
            stepping.stop_here()

    with running(ScriptedModel(before), slow_finish) as roster:
        finished = give(roster, seed=1)
        finishing.wait_reached()
        current = give(roster, seed=2)
        stepping.wait_reached()
        waiting = give(roster, seed=3)
        roster.evict_all("the worker has to go")
        assert status(roster, waiting).end == Stopped()
        for gate in (stepping, finishing):
            gate.opened.set()
        assert isinstance(the_end(roster, current), HandedBack)
        assert isinstance(the_end(roster, finished), Rendered)


def test_a_resumed_render_makes_the_steps_that_are_left_and_says_where_it_went_on() -> None:
    model, told = ScriptedModel(), Told()
    with running(model, told, fetch=resuming) as roster:
        the_end(roster, give(roster, seed=1, num_inference_steps=5, checkpoint=a_checkpoint(step=3)))
    assert model.steps == [(1, 3), (1, 4)]
    assert (told.continuity, told.resumed_at, told.numerics) == (Continuity.RESUMED, 3, "here-exact")


def test_a_resumed_render_that_leaves_before_its_next_step_is_handed_back_where_it_was() -> None:
    gate, before = stop_at(Act.BEGIN, seed=1, step=3)
    model = ScriptedModel(before)
    with running(model, fetch=resuming) as roster:
        token = give(roster, seed=1, checkpoint=a_checkpoint())
        gate.wait_reached()
        roster.evict(token, "evicted")
        gate.opened.set()
        end = the_end(roster, token)
        assert isinstance(end, HandedBack)
        assert end.checkpoint == a_checkpoint(), "nothing new is to be stored"
    assert Act.CHECKPOINT not in [act for act, _ in model.moves]


def test_a_render_whose_checkpoint_cannot_be_read_starts_over_and_says_so() -> None:
    def unreadable(assignment: Assignment, wanted: Callable[[], bool]) -> Material:
        return Material(continuity=Continuity.STARTED_OVER)

    told = Told()
    with running(ScriptedModel(), told, fetch=unreadable) as roster:
        the_end(roster, give(roster, checkpoint=a_checkpoint()))
        assert (told.continuity, told.resumed_at) == (Continuity.STARTED_OVER, 0)
        assert told.incidents == (Incident.CHECKPOINT_UNUSABLE,)
        the_end(roster, give(roster, checkpoint=a_checkpoint(numerics="there-exact")))
        assert (told.continuity, told.incidents) == (Continuity.STARTED_OVER, ()), "it could be read, and did not fit"


def test_a_checkpoint_that_the_model_cannot_use_costs_its_steps_and_nothing_else() -> None:
    def fail(act: Act, spec: RenderSpec, step: int) -> None:
        if act is Act.BEGIN and step > 0:
            raise RenderFailed("checkpoint_unusable", "its latents have another shape")

    model, told = ScriptedModel(fail), Told()
    with running(model, told, fetch=resuming) as roster:
        assert isinstance(the_end(roster, give(roster, seed=1, checkpoint=a_checkpoint())), Rendered)
    assert model.steps == [(1, step) for step in range(4)]
    assert (told.continuity, told.resumed_at) == (Continuity.STARTED_OVER, 0)
    assert told.incidents == (Incident.CHECKPOINT_UNUSABLE,)


@pytest.mark.parametrize("broken", [False, True])
def test_a_checkpoint_of_an_earlier_life_is_not_the_renders(broken: bool) -> None:
    """A render that began again while one was on its way forgets that one, and whether it came through."""
    renders = a_roster().renders
    assignment = an_assignment()
    held = Held.of(assignment, FAMILIES["tiny-2b"], 0.0, preview_at=0.0, batches=False)
    held.step = 3

    def begins_again_meanwhile(assignment: Assignment, snapshot: Snapshot) -> Checkpoint:
        held.begin_again(assignment.spec, 1.0)
        held.saving = True  # the new life takes one of its own
        if broken:
            raise ObjectsUnavailable("S3 is away")
        return save_nowhere(assignment, snapshot)

    saving = Saving(renders, begins_again_meanwhile, logs.get("test"), time.monotonic)
    with saving:
        saving.keep(held, Snapshot(step=3, numerics="here-exact", tensors={}))
    assert (held.checkpoint, held.saving, held.incidents) == (None, True, ())


def test_of_two_checkpoints_that_come_through_the_later_step_counts() -> None:
    held = Held.of(an_assignment(), FAMILIES["tiny-2b"], 0.0, preview_at=0.0, batches=False)
    for step in (3, 2):
        held.store(a_checkpoint(step))
    assert held.checkpoint == a_checkpoint(3)

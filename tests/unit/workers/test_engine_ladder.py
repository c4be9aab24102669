"""What fails is tried in a way that can work, once each; what is left fails alone. Every rung is told."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from orchestrator.domain.catalog import Profile
from orchestrator.domain.errors import RenderFailed
from orchestrator.domain.job import Artifact, Failure, Incident, RenderSpec
from orchestrator.domain.protocol import Assignment, Broke, Rendered, Stopped
from tests.support.builders import a_spec
from tests.support.engine import a_roster, give, running, status, stop_at, the_end, until
from tests.support.workers import Gate, ScriptedModel, save_nowhere
from workers.engine import ladder
from workers.engine.choice import Act
from workers.engine.ladder import DecodeAgain, StartOver
from workers.engine.parts import Decoding, Material, Snapshot
from workers.engine.roster import Roster

OUT_OF_MEMORY = Failure(code="out_of_memory", message="20 GiB too many")
NAN = Failure(code="nan_frames", message="not finite")
UNUSABLE = Failure(code="checkpoint_unusable", message="of another shape")
OTHER = Failure(code="render_error", message="shapes do not match")
FAST = a_spec(profile=Profile.FAST)
IMAGE = Artifact(key="inputs/x", size=1, sha256="3" * 64, content_type="image/png")


@pytest.mark.parametrize(
    ("act", "failure", "decoding", "incidents", "expected"),
    [
        (Act.DECODE, OUT_OF_MEMORY, Decoding.WHOLE, (), DecodeAgain(Decoding.TILED, Incident.TILED_DECODE)),
        (Act.DECODE, OUT_OF_MEMORY, Decoding.TILED, (), DecodeAgain(Decoding.OFFLOADED, Incident.OFFLOADED_DECODE)),
        (Act.DECODE, OUT_OF_MEMORY, Decoding.OFFLOADED, (), None),
        (Act.STEP, OUT_OF_MEMORY, Decoding.WHOLE, (), None),
        (Act.STEP, NAN, Decoding.WHOLE, (), StartOver(a_spec(), Incident.RETRIED_EXACTLY)),
        (Act.DECODE, NAN, Decoding.TILED, (), StartOver(a_spec(), Incident.RETRIED_EXACTLY)),
        (Act.STEP, NAN, Decoding.WHOLE, (Incident.RETRIED_EXACTLY,), None),
        (Act.BEGIN, UNUSABLE, Decoding.WHOLE, (), StartOver(FAST, Incident.CHECKPOINT_UNUSABLE)),
        (Act.BEGIN, UNUSABLE, Decoding.WHOLE, (Incident.CHECKPOINT_UNUSABLE,), None),
        (Act.STEP, OTHER, Decoding.WHOLE, (), None),
        (Act.DECODE, OTHER, Decoding.WHOLE, (), None),
    ],
)
def test_the_next_rung(
    act: Act, failure: Failure, decoding: Decoding, incidents: tuple[Incident, ...], expected: ladder.Rung | None
) -> None:
    assert ladder.below(act, failure, FAST, decoding=decoding, incidents=incidents) == expected


def failing(where: Act, code: str, times: int) -> Callable[[Act, RenderSpec, int], None]:
    """Fails `times` times at the first of the moves `where` of every seed 1."""
    left = [times]

    def before(act: Act, spec: RenderSpec, step: int) -> None:
        if act is where and spec.seed == 1 and left[0]:
            left[0] -= 1
            raise RenderFailed(code, "it went wrong")

    return before


@pytest.mark.parametrize(
    ("failures", "decodings", "incidents"),
    [
        (1, [Decoding.WHOLE, Decoding.TILED], (Incident.TILED_DECODE,)),
        (2, list(Decoding), (Incident.TILED_DECODE, Incident.OFFLOADED_DECODE)),
    ],
)
def test_a_decode_without_memory_is_tried_with_less(
    failures: int, decodings: list[Decoding], incidents: tuple[Incident, ...]
) -> None:
    model = ScriptedModel(failing(Act.DECODE, "out_of_memory", failures))
    with running(model) as roster:
        token = give(roster, seed=1)
        assert isinstance(the_end(roster, token), Rendered)
        assert status(roster, token).incidents == incidents
    assert model.decodings == decodings
    assert model.recoveries == failures


def test_a_decode_that_never_fits_fails_and_the_next_render_is_decoded_as_usual() -> None:
    model = ScriptedModel(failing(Act.DECODE, "out_of_memory", 3))
    with running(model) as roster:
        broke, other = the_end(roster, give(roster, seed=1)), the_end(roster, give(roster, seed=2))
        assert isinstance(broke, Broke)
        assert broke.failure.code == "out_of_memory"
        assert isinstance(other, Rendered)
    assert model.decodings == [*Decoding, Decoding.WHOLE]


def test_a_shape_that_did_not_fit_alone_is_decoded_as_it_fitted() -> None:
    model = ScriptedModel(failing(Act.DECODE, "out_of_memory", 1))
    with running(model) as roster:
        the_end(roster, give(roster, seed=1))
        again, other = give(roster, seed=2), give(roster, seed=3, num_frames=17)
        the_end(roster, again), the_end(roster, other)
        assert status(roster, again).incidents == (Incident.TILED_DECODE,)
        assert status(roster, other).incidents == ()
    assert model.decodings == [Decoding.WHOLE, Decoding.TILED, Decoding.TILED, Decoding.WHOLE]


def test_a_shape_that_did_not_fit_beside_another_is_decoded_as_a_whole_again() -> None:
    gate, stop = stop_at(Act.STEP, seed=9, step=1)
    fails = failing(Act.DECODE, "out_of_memory", 1)

    def before(act: Act, spec: RenderSpec, step: int) -> None:
        stop(act, spec, step)
        fails(act, spec, step)

    model = ScriptedModel(before)
    with running(model) as roster:
        bulk = give(roster, seed=9, priority=20)
        gate.wait_reached()
        urgent = give(roster, seed=1, priority=1)
        gate.opened.set()
        assert isinstance(the_end(roster, urgent), Rendered)
        assert isinstance(the_end(roster, bulk), Rendered)
        assert status(roster, bulk).incidents == (Incident.PREEMPTED,)
    assert model.decodings == [Decoding.WHOLE, Decoding.TILED, Decoding.WHOLE]


def test_a_render_cancelled_between_two_rungs_is_not_decoded_again() -> None:
    gate = Gate()
    fails = failing(Act.DECODE, "out_of_memory", 3)

    def before(act: Act, spec: RenderSpec, step: int) -> None:
        if act is Act.DECODE:
            gate.stop_here()
        fails(act, spec, step)

    model = ScriptedModel(before)
    with running(model) as roster:
        token = give(roster, seed=1)
        gate.wait_reached()
        roster.cancel(token)
        gate.opened.set()
        assert isinstance(the_end(roster, token), Stopped)
    assert model.decodings == [Decoding.WHOLE]


@pytest.mark.parametrize("where", [Act.STEP, Act.DECODE])
def test_frames_that_are_not_finite_are_rendered_again_exactly_and_once(where: Act) -> None:
    model = ScriptedModel(failing(where, "nan_frames", 1))
    with running(model) as roster:
        token = give(roster, seed=1, profile=Profile.FAST)
        end = the_end(roster, token)
        assert isinstance(end, Rendered)
        assert status(roster, token).incidents == (Incident.RETRIED_EXACTLY,)
        assert end.result.gpu_seconds == pytest.approx(roster.gpu_busy_s), "the first try is on the bill"
    assert [render.spec.profile for render in model.begun] == [Profile.FAST, Profile.EXACT]
    assert [step for render, step in model.steps][-4:] == [0, 1, 2, 3]


def test_a_second_time_not_finite_is_the_end() -> None:
    model = ScriptedModel(failing(Act.STEP, "nan_frames", 2))
    with running(model) as roster:
        broke = the_end(roster, give(roster, seed=1, profile=Profile.FAST))
        assert isinstance(broke, Broke)
        assert broke.failure.code == "nan_frames"
        assert len(model.begun) == 2


@pytest.mark.parametrize("leave", [Roster.cancel, partial(Roster.evict, reason="evicted")], ids=["cancel", "evict"])
def test_what_nobody_wants_any_more_does_not_begin_again(leave: Callable[[Roster, UUID], None]) -> None:
    gate = Gate()

    def before(act: Act, spec: RenderSpec, step: int) -> None:
        if act is Act.STEP:
            gate.stop_here()
            raise RenderFailed("nan_frames", "not finite")

    model = ScriptedModel(before)
    with running(model) as roster:
        token = give(roster, seed=1)
        gate.wait_reached()
        leave(roster, token)
        gate.opened.set()
        assert isinstance(the_end(roster, token), Stopped)
    assert len(model.begun) == 1


def test_what_is_rendered_again_gets_its_picture_again_and_keeps_no_checkpoint_of_its_past() -> None:
    fetched: list[Any] = []
    saving = Gate()

    def fetch(assignment: Assignment, wanted: Callable[[], bool]) -> Material:
        fetched.append(assignment.spec.profile)
        return Material(picture="a picture")  # type: ignore[arg-type]

    def slow_save(assignment: Assignment, snapshot: Snapshot) -> Any:
        if snapshot.numerics == "here-fast":
            saving.stop_here()
        return save_nowhere(assignment, snapshot)

    def before(act: Act, spec: RenderSpec, step: int) -> None:
        if act is Act.STEP and spec.profile is Profile.FAST and step == 3:
            saving.wait_reached()
            raise RenderFailed("nan_frames", "not finite")

    model = ScriptedModel(before)
    with running(model, roster=a_roster(checkpoint_every_s=1e-9), fetch=fetch, save=slow_save) as roster:
        token = give(roster, seed=1, profile=Profile.FAST, image=IMAGE)
        until(lambda: Incident.RETRIED_EXACTLY in status(roster, token).incidents)
        saving.opened.set()
        assert isinstance(the_end(roster, token), Rendered)
        checkpoint = status(roster, token).checkpoint
        assert checkpoint is None or checkpoint.numerics == "here-exact"
    assert fetched == [Profile.FAST, Profile.EXACT]


def test_black_frames_are_told_and_delivered() -> None:
    with running(ScriptedModel(grey=0)) as roster:
        token = give(roster)
        assert isinstance(the_end(roster, token), Rendered)
        assert status(roster, token).incidents == (Incident.ALL_BLACK,)
    with running(ScriptedModel(grey=30)) as roster:
        token = give(roster)
        the_end(roster, token)
        assert status(roster, token).incidents == ()


def test_frames_that_do_not_move_are_told_and_delivered() -> None:
    with running(ScriptedModel(frozen=True)) as roster:
        token = give(roster)
        assert isinstance(the_end(roster, token), Rendered)
        assert status(roster, token).incidents == (Incident.FROZEN,)


@pytest.mark.parametrize(
    ("changed", "incident"),
    [(None, Incident.FROZEN), (1, None), (4, None), (8, None)],
    ids=["none", "second", "middle", "last"],
)
def test_one_pixel_of_one_frame_that_moves_is_enough(changed: int | None, incident: Incident | None) -> None:
    frames = np.full((9, 16, 24, 3), 128, np.uint8)
    if changed is not None:
        frames[changed, -1, -1, -1] += 1
    assert ladder.implausible(frames) is incident
    assert ladder.implausible(frames[:1]) is None, "a single frame has nothing to move to"
    assert ladder.implausible(frames // 64) is Incident.ALL_BLACK, "which need not be said twice"

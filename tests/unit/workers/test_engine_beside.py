"""What goes on beside the step loop: pictures come in before a render begins, previews go out while it is under way."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import numpy as np
import pytest

from orchestrator.domain.catalog import FAMILIES
from orchestrator.domain.errors import ObjectsUnavailable, RenderFailed
from orchestrator.domain.job import Artifact, RenderSpec
from orchestrator.domain.protocol import Assignment, Broke, Rendered, Stage, Stopped
from orchestrator.telemetry import logs
from tests.support.engine import a_roster, give, running, status, stop_at, the_end, until
from tests.support.workers import Gate, ScriptedModel, parts
from workers.engine.changes import Changes
from workers.engine.choice import Act
from workers.engine.loop import Engine
from workers.engine.meter import Meter
from workers.engine.parts import Material
from workers.engine.roster import Roster

PICTURE = Artifact(key="inputs/x", size=1, sha256="3" * 64, content_type="image/png")
RED_PICTURE = Material(picture=np.full((64, 96, 3), (255, 0, 0), np.uint8))


def test_a_preview_is_taken_once_and_shown_while_the_render_goes_on() -> None:
    gate, before = stop_at(Act.STEP, seed=1, step=3)
    model = ScriptedModel(before)
    with running(model, roster=a_roster(preview_at=0.5)) as roster:
        token = give(roster, seed=1, num_inference_steps=5)
        gate.wait_reached()
        until(lambda: status(roster, token).preview is not None)
        assert status(roster, token).step == 3, "after half the steps, rounded up"
        gate.opened.set()
        end = the_end(roster, token)
        assert isinstance(end, Rendered)
        assert end.result.gpu_seconds == pytest.approx(roster.gpu_busy_s), "its time is the render's"
    acts = [act for act, _ in model.moves]
    assert acts == [Act.BEGIN, *[Act.STEP] * 3, Act.PREVIEW, *[Act.STEP] * 2, Act.DECODE]


@pytest.mark.parametrize(("preview_at", "steps"), [(0.0, 20), (0.5, 1), (0.99, 20)])
def test_no_preview_is_taken_when_there_is_nothing_to_gain(preview_at: float, steps: int) -> None:
    model = ScriptedModel()
    with running(model, roster=a_roster(preview_at=preview_at)) as roster:
        the_end(roster, give(roster, num_inference_steps=steps))
    assert Act.PREVIEW not in [act for act, _ in model.moves]


def test_a_preview_that_fails_on_the_gpu_costs_its_render_nothing_but_itself() -> None:
    def fail(act: Act, spec: RenderSpec, step: int) -> None:
        if act is Act.PREVIEW:
            raise RenderFailed("out_of_memory", "20 GiB too many")

    model = ScriptedModel(fail)
    with running(model, roster=a_roster(preview_at=0.5)) as roster:
        token = give(roster)
        assert isinstance(the_end(roster, token), Rendered)
        assert status(roster, token).preview is None
        assert model.recoveries == 1, "what it held is given back"


def test_a_preview_that_cannot_be_uploaded_holds_nothing_up() -> None:
    uploading = Gate()

    def show(assignment: Assignment, frame: np.ndarray) -> Artifact:
        uploading.stop_here()
        raise ObjectsUnavailable("S3 is away")

    with running(ScriptedModel(), roster=a_roster(preview_at=0.5), show=show) as roster:
        tokens = [give(roster, seed=1), give(roster, seed=2)]
        uploading.wait_reached()
        assert all(isinstance(the_end(roster, token), Rendered) for token in tokens)
        uploading.opened.set()
        assert [status(roster, token).preview for token in tokens] == [None, None]


def test_a_render_that_waits_for_its_picture_holds_up_no_other_and_begins_when_it_is_there() -> None:
    gate = Gate()

    def fetch(assignment: Assignment, wanted: Callable[[], bool]) -> Material:
        gate.stop_here()
        return RED_PICTURE

    model = ScriptedModel()
    with running(model, fetch=fetch) as roster:
        waiting, other = give(roster, seed=1, image=PICTURE), give(roster, seed=2)
        assert isinstance(the_end(roster, other), Rendered)
        gate.wait_reached()
        first, second = (status(roster, waiting).progress_age_s for _ in range(2))
        assert status(roster, waiting).stage is Stage.ASSIGNED
        assert second > first, "nothing of it moves"
        gate.opened.set()
        assert isinstance(the_end(roster, waiting), Rendered)
    assert [seed for act, seed in model.moves if act is Act.BEGIN] == [2, 1]


def test_a_picture_that_cannot_be_had_ends_its_render_before_it_costs_anything() -> None:
    def fetch(assignment: Assignment, wanted: Callable[[], bool]) -> Material:
        raise RenderFailed("image_unreadable", "it is no image", retryable=False)

    model = ScriptedModel()
    with running(model, fetch=fetch) as roster:
        broke = the_end(roster, give(roster, image=PICTURE))
        assert isinstance(broke, Broke)
        assert (broke.failure.code, broke.gpu_seconds, roster.gpu_busy_s) == ("image_unreadable", 0.0, 0.0)
        assert isinstance(the_end(roster, give(roster)), Rendered)
        assert roster.schedule.room == 2


def leave(roster: Roster, token: UUID) -> None:
    roster.evict(token, "evicted")


@pytest.mark.parametrize("give_up", [Roster.cancel, leave])
def test_a_fetch_that_nobody_waits_for_any_more_hears_of_it_and_changes_nothing(
    give_up: Callable[[Roster, UUID], object],
) -> None:
    gate = Gate()
    heard: list[bool] = []

    def fetch(assignment: Assignment, wanted: Callable[[], bool]) -> Material:
        heard.append(wanted())
        gate.stop_here()
        heard.append(wanted())
        return RED_PICTURE

    model = ScriptedModel()
    with running(model, fetch=fetch) as roster:
        token = give(roster, image=PICTURE)
        gate.wait_reached()
        give_up(roster, token)
        gate.opened.set()
        until(lambda: len(heard) == 2)
        assert status(roster, token).end == Stopped()
    assert heard == [True, False]
    assert model.moves == []


def test_a_broken_model_leaves_no_thread_waiting_for_pictures() -> None:
    """`running` joins the engine's threads: those that wait for a picture to fetch must hear of the end as well."""

    def fail(act: Act, spec: RenderSpec, step: int) -> None:
        raise RuntimeError("CUDA error")

    roster = Roster(Meter(FAMILIES["tiny-2b"]), Changes())
    engine = Engine(roster, parts(ScriptedModel(fail, broken=RuntimeError("lost"))), logs.get("test"))
    give(roster)
    with pytest.raises(RuntimeError, match="lost"):
        engine.run()

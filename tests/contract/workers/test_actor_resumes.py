"""Renders that are interrupted: preempted, evicted, resumed elsewhere, they give the frames of undisturbed ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from orchestrator.adapters.s3 import S3Objects
from orchestrator.domain.catalog import Profile
from orchestrator.domain.job import Checkpoint, Continuity, Incident
from orchestrator.domain.protocol import HandedBack, Rendered
from tests.support.builders import a_spec
from tests.support.models import Checkpoint as Path_of
from tests.support.models import Loaded, a_model, denoised
from tests.support.renders import Frames, Gated, given
from tests.support.workers import CALLER, Gate, a_plan, an_actor, an_assignment, assigned, ended, ready
from workers.actor import RenderActor
from workers.bucket import checkpoints, inputs
from workers.cogvideox.model import CogVideoX

STEPS = 5
BULK, URGENT = 20, 0


@pytest.fixture(scope="module", params=["tiny-2b", "tiny-5b"])
def family(request: pytest.FixtureRequest) -> str:
    """One of each scheduler: the second one's steps look back at the step before."""
    return str(request.param)


@pytest.fixture(scope="module")
def model(family: str, loaded: Loaded) -> CogVideoX:
    return loaded(family)


def stored(objects: S3Objects, model: Any) -> dict[str, Any]:
    return {
        "fetch": partial(inputs.fetch, objects, model.numerics),
        "save": partial(checkpoints.save, objects),
    }


@pytest.mark.parametrize("profile", [Profile.EXACT, Profile.FAST])
async def test_a_preempted_render_gives_the_frames_of_an_undisturbed_one(model: CogVideoX, profile: Profile) -> None:
    changes = {"num_inference_steps": STEPS, "profile": profile}
    expected = {seed: model.decode(denoised(model, a_spec(seed=seed, **changes))) for seed in (1, 2)}
    gate, frames = Gate(), Frames()
    with an_actor(a_plan(), given(Gated(model, gate, at=2, seed=1), frames)) as actor:
        bulk = await assigned(actor, priority=BULK, seed=1, **changes)
        gate.wait_reached()
        urgent = await assigned(actor, priority=URGENT, seed=2, **changes)
        gate.opened.set()
        for assignment in (urgent, bulk):
            assert isinstance((await ended(actor, assignment.token)).end, Rendered)
    assert frames.told[1].incidents == (Incident.PREEMPTED,)
    assert list(frames.by_seed) == [2, 1], "the urgent one is there first"
    for seed, undisturbed in expected.items():
        assert np.array_equal(frames.by_seed[seed], undisturbed)


async def evicted(actor: RenderActor, gate: Gate, **changes: Any) -> Checkpoint:
    """Assign a render, evict it where the gate stops it, and return where it left off."""
    assignment = await assigned(actor, **changes)
    gate.wait_reached()
    await actor.evict(CALLER, assignment.token)
    gate.opened.set()
    end = (await ended(actor, assignment.token)).end
    assert isinstance(end, HandedBack)
    assert end.checkpoint is not None
    return end.checkpoint


async def resumed(actor: RenderActor, checkpoint: Checkpoint, **changes: Any) -> None:
    incarnation = (await ready(actor)).worker.incarnation
    assignment = replace(an_assignment(incarnation, **changes), checkpoint=checkpoint, token=uuid4(), claim=2)
    await actor.assign(CALLER, assignment)
    assert isinstance((await ended(actor, assignment.token)).end, Rendered)


@pytest.mark.parametrize("at", [0, 1, STEPS - 1])
async def test_a_render_that_left_one_worker_at_any_step_gives_the_same_frames_on_another(
    model: CogVideoX, family: str, tiny_checkpoint: Path_of, objects: S3Objects, at: int
) -> None:
    changes = {"model": family, "num_inference_steps": STEPS, "seed": 3}
    expected = model.decode(denoised(model, a_spec(**changes)))
    gate, frames = Gate(), Frames()
    with an_actor(a_plan(family), given(Gated(model, gate, at=at, seed=3), frames, **stored(objects, model))) as first:
        checkpoint = await evicted(first, gate, **changes)
    assert checkpoint.step == at + 1
    another = a_model(tiny_checkpoint(family), family)
    with an_actor(a_plan(family), given(another, frames, **stored(objects, another))) as second:
        await resumed(second, checkpoint, **changes)
    assert (frames.told[3].continuity, frames.told[3].resumed_at) == (Continuity.RESUMED, at + 1)
    assert frames.told[3].numerics == checkpoint.numerics == model.numerics(a_spec(**changes))
    assert np.array_equal(frames.by_seed[3], expected)


@pytest.mark.parametrize(
    ("resume_anywhere", "continuity", "resumed_at"),
    [(False, Continuity.STARTED_OVER, 0), (True, Continuity.RESUMED_INEXACTLY, 2)],
)
async def test_under_other_numerics_a_render_goes_on_only_if_it_may_and_says_what_it_did(
    loaded: Loaded, objects: S3Objects, resume_anywhere: bool, continuity: Continuity, resumed_at: int
) -> None:
    model, gate, frames = loaded("tiny-5b"), Gate(), Frames()
    changes = {"num_inference_steps": 3, "seed": 4, "resume_anywhere": resume_anywhere}
    with an_actor(a_plan(), given(Gated(model, gate, at=1, seed=4), frames, **stored(objects, model))) as actor:
        checkpoint = await evicted(actor, gate, **changes)

    class Elsewhere(Gated):
        def numerics(self, spec: Any) -> str:
            return "fedcba9876543210"

    elsewhere = Elsewhere(model, Gate(), at=-1)
    with an_actor(a_plan(), given(elsewhere, frames, **stored(objects, elsewhere))) as actor:
        await resumed(actor, checkpoint, **changes)
    assert (frames.told[4].continuity, frames.told[4].resumed_at) == (continuity, resumed_at)
    assert frames.told[4].incidents == ()
    marked = "+mixed" if resume_anywhere else ""
    assert frames.told[4].numerics == f"fedcba9876543210{marked}"


@pytest.mark.parametrize(
    "ruin",
    [
        pytest.param(lambda objects, key: objects.put(key, b"half a file", "application/octet-stream"), id="changed"),
        pytest.param(lambda objects, key: objects.delete([key]), id="gone"),
    ],
)
async def test_a_checkpoint_that_is_not_what_was_stored_is_not_trusted(
    loaded: Loaded, objects: S3Objects, ruin: Callable[[S3Objects, str], object]
) -> None:
    model, gate, frames = loaded("tiny-5b"), Gate(), Frames()
    changes = {"num_inference_steps": 3, "seed": 5}
    with an_actor(a_plan(), given(Gated(model, gate, at=1, seed=5), frames, **stored(objects, model))) as actor:
        checkpoint = await evicted(actor, gate, **changes)
        ruin(objects, checkpoint.artifact.key)
        await resumed(actor, checkpoint, **changes)
    assert frames.told[5].continuity is Continuity.STARTED_OVER
    assert frames.told[5].incidents == (Incident.CHECKPOINT_UNUSABLE,)
    assert np.array_equal(frames.by_seed[5], model.decode(denoised(model, a_spec(**changes))))

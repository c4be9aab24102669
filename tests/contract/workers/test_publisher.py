"""From a render's frames to its objects, in a worker: what a cancel, a refusal or a full disk leaves behind."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from orchestrator.adapters.moderation import Moderation
from orchestrator.adapters.s3 import S3Objects
from orchestrator.config import ModerationSettings
from orchestrator.domain.delivery import Delivery
from orchestrator.domain.protocol import Broke, Rendered, Stage, Stopped
from orchestrator.ports import WorkerPlan
from tests.support.finishing import plain_finisher
from tests.support.workers import CALLER, ScriptedModel, a_plan, an_actor, assigned, ended, parts, until
from workers.assembly import publisher
from workers.engine.parts import Parts

NO_REVIEW = Moderation(ModerationSettings())
# Minutes of work for one core.
LARGE = Delivery(width=3840, height=2160, num_frames=360, fps=60)


def allow(facts: dict[str, Any]) -> dict[str, Any]:
    assert Path(facts["video"]).read_bytes()[4:8] == b"ftyp"
    return {"allowed": True}


def refuse(facts: dict[str, Any]) -> dict[str, Any]:
    return {"allowed": False, "reason": "not this one"}


class Worker:
    """An actor with a scripted model and the real way of its videos into a bucket."""

    def __init__(self, objects: S3Objects, moderation: Moderation) -> None:
        self._objects = objects
        self._moderation = moderation
        self.scratch = Path()

    def assemble(self, plan: WorkerPlan, scratch: Path) -> Parts[Any]:
        self.scratch = scratch
        return parts(ScriptedModel(), publisher(self._objects, plain_finisher(), self._moderation, scratch))

    def left_behind(self) -> list[str]:
        return [path.name for path in self.scratch.iterdir() if path.name != "lock"]


async def test_a_render_cancelled_while_it_is_finished_stops_soon_and_leaves_nothing(objects: S3Objects) -> None:
    worker = Worker(objects, NO_REVIEW)
    with an_actor(a_plan(), worker.assemble) as actor:
        assignment = await assigned(actor, num_frames=49, width=720, height=480, fps=8, delivery=LARGE)
        await until(actor, lambda status: (worker.scratch / assignment.token.hex / "cover.png").exists())
        (render,) = (await actor.poll(CALLER, 0, 0)).renders
        assert (render.stage, render.end) == (Stage.FINISHING, None)
        await actor.cancel(CALLER, assignment.token)
        async with asyncio.timeout(10):
            status = await ended(actor, assignment.token)
        assert isinstance(status.end, Stopped)
        assert worker.left_behind() == []
    assert list(objects.list_keys("")) == []


async def test_a_finishing_render_is_seen_to_move(objects: S3Objects) -> None:
    """Each change wakes the poll: a watchdog that saw none would kill the worker."""
    with an_actor(a_plan(), Worker(objects, NO_REVIEW).assemble) as actor:
        wanted = Delivery(width=1440, height=960, num_frames=49, fps=8)
        assignment = await assigned(actor, num_frames=49, width=720, height=480, delivery=wanted)
        ages = []
        status = await until(actor, lambda status: bool(status.renders))
        while status.renders[0].end is None:
            if status.renders[0].stage is Stage.FINISHING:
                ages.append(status.renders[0].progress_age_s)
            status = await actor.poll(CALLER, status.version, 5)
        end = (await ended(actor, assignment.token)).end
    assert isinstance(end, Rendered)
    assert (end.result.width, end.result.height, end.result.num_frames) == (1440, 960, 49)
    assert len(ages) > 1
    assert max(ages) < 2


async def test_a_reviewed_video_is_published_with_its_stills(objects: S3Objects) -> None:
    review = Moderation(ModerationSettings(entry_point=f"{__name__}:allow", video=True))
    worker = Worker(objects, review)
    with an_actor(a_plan(), worker.assemble) as actor:
        assignment = await assigned(actor)
        end = (await ended(actor, assignment.token)).end
        assert isinstance(end, Rendered)
        assert len(end.result.objects) == 4
        for artifact in end.result.objects:
            objects.verify(artifact)
        assert worker.left_behind() == []


async def test_a_video_that_is_refused_is_not_uploaded_and_not_rendered_again(objects: S3Objects) -> None:
    review = Moderation(ModerationSettings(entry_point=f"{__name__}:refuse", video=True))
    worker = Worker(objects, review)
    with an_actor(a_plan(), worker.assemble) as actor:
        assignment = await assigned(actor)
        end = (await ended(actor, assignment.token)).end
        assert isinstance(end, Broke)
        assert (end.failure.code, end.failure.retryable) == ("content_policy_violation", False)
        assert "not this one" in end.failure.message
        assert worker.left_behind() == []
    assert list(objects.list_keys("")) == []

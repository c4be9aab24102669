"""What the sweeper may delete and what it must not, on real PostgreSQL and real S3."""

from __future__ import annotations

import pytest

from orchestrator.adapters.s3 import S3Objects
from orchestrator.config import RetentionSettings
from orchestrator.domain.errors import ObjectsUnavailable
from orchestrator.domain.job import Checkpoint, Claim, Failure, NewJob
from orchestrator.domain.objects import checkpoint_prefix, claim_prefix, job_prefix
from orchestrator.domain.outcome import Ending, Lost, Released, settle
from orchestrator.domain.protocol import Broke, HandedBack, Rendered, Stopped
from orchestrator.domain.retry import RetryPolicy
from orchestrator.objects.videos import Retention
from orchestrator.ports import Progress, Settled
from orchestrator.store import Store
from tests.support.builders import WORKER, a_job, a_result, prefix_of

AT_ONCE = RetryPolicy(base_s=0, cap_s=0)
NEVER_S, NOW_S = 10**6, 10**-6
LOSERS_ONLY = RetentionSettings(jobs_s=NEVER_S, losers_s=NOW_S)
EVERYTHING = RetentionSettings(jobs_s=NOW_S, losers_s=NOW_S)
NOTHING_YET = RetentionSettings(jobs_s=NEVER_S, losers_s=NEVER_S)

LOST = Lost(failure=Failure(code="worker_lost", message="the worker vanished"))
RELEASED = Released(reason="its worker does not hold it")
BROKEN = Broke(failure=Failure(code="bad", message="no retry mends this", retryable=False))


class Scene:
    """One worker that claims jobs and uploads, whatever becomes of it."""

    def __init__(self, store: Store, objects: S3Objects) -> None:
        self.store = store
        self.objects = objects

    async def submit(self) -> NewJob:
        job = a_job()
        await self.store.submit(job)
        return job

    async def claim(self) -> Claim:
        """Claim the one job that is ready and upload for it."""
        await self.store.wake_due()
        (claim,) = await self.store.claim("small", "default", [WORKER])
        for name in ("video.mp4", "cover.png"):
            self.objects.put(f"{prefix_of(claim)}{name}", b"bytes", "video/mp4")
        return claim

    def checkpoints(self, claim: Claim, step: int) -> Checkpoint:
        """Store a checkpoint of the claim, as its worker does."""
        key = f"{checkpoint_prefix(claim.job_id, claim.number)}{step}.safetensors"
        artifact = self.objects.put(key, b"latents", "application/octet-stream")
        return Checkpoint(artifact=artifact, step=step, numerics="a" * 16)

    async def end(self, claim: Claim, ending: Ending | None = None) -> None:
        ending = ending or Rendered(result=a_result(prefix_of(claim)))
        (found,) = await self.store.settle([settle(claim, ending, AT_ONCE, 0.0)])
        assert found.settled is Settled.APPLIED

    async def sweep(self, settings: RetentionSettings) -> int:
        return await Retention(self.store, self.objects, settings).run_once()

    def keys(self, job: NewJob) -> list[str]:
        """The job's objects, without its prefix."""
        return [key.removeprefix(job_prefix(job.id)) for key in self.objects.list_keys(job_prefix(job.id))]


@pytest.fixture
async def scene(store: Store, objects: S3Objects) -> Scene:
    await store.beat("default", {WORKER: "small"})
    return Scene(store, objects)


async def test_losing_claims_lose_their_objects_and_the_winner_keeps_its_own(scene: Scene) -> None:
    job = await scene.submit()
    await scene.end(await scene.claim(), RELEASED)
    winner = await scene.claim()
    await scene.end(winner)
    scene.objects.put(f"{claim_prefix(job.id, 22)}video.mp4", b"", "video/mp4")  # begins with the winner's number
    assert await scene.sweep(NOTHING_YET) == 0
    assert len(scene.keys(job)) == 5
    assert await scene.sweep(LOSERS_ONLY) == 1
    assert scene.keys(job) == ["2/cover.png", "2/video.mp4"]
    assert await scene.store.get(job.id, job.tenant) is not None
    assert await scene.sweep(LOSERS_ONLY) == 0, "a swept job is not listed again"


async def test_a_job_that_nobody_won_keeps_no_objects(scene: Scene) -> None:
    job = await scene.submit()
    await scene.end(await scene.claim(), BROKEN)
    await scene.sweep(LOSERS_ONLY)
    assert scene.keys(job) == []
    assert await scene.store.get(job.id, job.tenant) is not None


async def test_a_running_claim_is_never_touched(scene: Scene) -> None:
    job = await scene.submit()
    await scene.end(await scene.claim(), LOST)
    await scene.claim()
    assert await scene.sweep(EVERYTHING) == 0
    assert scene.keys(job) == ["1/cover.png", "1/video.mp4", "2/cover.png", "2/video.mp4"]


async def test_a_job_deleted_while_it_runs_is_swept_once_it_has_stopped(scene: Scene) -> None:
    job = await scene.submit()
    claim = await scene.claim()
    assert await scene.store.delete(job.id, job.tenant)
    assert await scene.sweep(NOTHING_YET) == 0
    assert len(scene.keys(job)) == 2
    await scene.end(claim, Stopped())
    assert await scene.sweep(NOTHING_YET) == 1
    assert scene.keys(job) == []
    assert await scene.sweep(NOTHING_YET) == 0


async def test_what_a_deleted_job_s_worker_uploads_too_late_is_swept_too(scene: Scene) -> None:
    job = await scene.submit()
    claim = await scene.claim()
    assert await scene.store.delete(job.id, job.tenant)
    await scene.end(claim, LOST)
    assert await scene.sweep(NOTHING_YET) == 1
    scene.objects.put(f"{prefix_of(claim)}preview.webp", b"late", "image/webp")
    assert await scene.sweep(LOSERS_ONLY) == 1
    assert scene.keys(job) == []
    assert await scene.sweep(LOSERS_ONLY) == 0, "its tombstone is gone"


async def test_a_deleted_video_goes_at_the_next_sweep(scene: Scene) -> None:
    kept, deleted = await scene.submit(), await scene.submit()
    await scene.end(await scene.claim())
    await scene.end(await scene.claim())
    assert await scene.store.delete(deleted.id, deleted.tenant)
    assert await scene.sweep(NOTHING_YET) == 1
    assert scene.keys(deleted) == []
    assert len(scene.keys(kept)) == 2


async def test_an_old_job_goes_with_its_objects(scene: Scene) -> None:
    job = await scene.submit()
    await scene.end(await scene.claim())
    assert await scene.sweep(EVERYTHING) == 1
    assert scene.keys(job) == []
    assert await scene.store.get(job.id, job.tenant) is None


async def test_one_run_sweeps_more_than_one_batch(scene: Scene) -> None:
    jobs = [await scene.submit() for _ in range(5)]
    for _ in jobs:
        await scene.end(await scene.claim())
    assert await Retention(scene.store, scene.objects, EVERYTHING, batch=2).run_once() == 5
    assert [scene.keys(job) for job in jobs] == [[]] * 5


async def test_a_job_that_s3_will_not_delete_does_not_hold_up_the_others(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [await scene.submit() for _ in range(4)]
    for _ in jobs:
        await scene.end(await scene.claim())
    stuck = jobs[0]
    real = scene.objects.delete

    def delete(keys: list[str]) -> None:
        if any(key.startswith(job_prefix(stuck.id)) for key in keys):
            raise ObjectsUnavailable("locked")
        real(keys)

    monkeypatch.setattr(scene.objects, "delete", delete)
    for _ in range(100):
        await scene.sweep(EVERYTHING)
        if not any(scene.keys(job) for job in jobs[1:]):
            break
    assert [len(scene.keys(job)) for job in jobs] == [2, 0, 0, 0]
    assert await scene.store.get(stuck.id, stuck.tenant) is not None


async def test_checkpoints_vanish_when_their_job_ends_and_only_the_video_s_objects_remain(scene: Scene) -> None:
    job = await scene.submit()
    first = await scene.claim()
    await scene.end(first, HandedBack(reason="drain", checkpoint=scene.checkpoints(first, 2)))
    second = await scene.claim()
    assert await scene.sweep(LOSERS_ONLY) == 0, "the job lives, and goes on there"
    stored = scene.checkpoints(second, 3)
    moved = Progress(job_id=job.id, token=second.token, stage="denoising", step=3, checkpoint=stored)
    await scene.store.record_progress([moved])
    await scene.end(second)
    assert await scene.sweep(NOTHING_YET) == 1
    assert scene.keys(job) == ["2/cover.png", "2/video.mp4"]
    ended = await scene.store.get(job.id, job.tenant)
    assert ended is not None
    assert ended.checkpoint is None
    assert await scene.sweep(NOTHING_YET) == 0, "a swept job is not listed again"


async def test_what_a_lost_worker_uploads_after_its_job_s_checkpoints_went_is_swept_too(scene: Scene) -> None:
    job = await scene.submit()
    lost = await scene.claim()
    stored = scene.checkpoints(lost, 2)
    await scene.store.record_progress(
        [Progress(job_id=job.id, token=lost.token, stage="denoising", step=2, checkpoint=stored)]
    )
    await scene.end(lost, LOST)
    await scene.end(await scene.claim())
    assert await scene.sweep(NOTHING_YET) == 1
    scene.checkpoints(lost, 3)
    assert await scene.sweep(LOSERS_ONLY) == 1
    assert scene.keys(job) == ["2/cover.png", "2/video.mp4"]


@pytest.mark.parametrize("how", ["failed", "cancelled"])
async def test_the_checkpoints_of_a_job_without_a_video_vanish_too(scene: Scene, how: str) -> None:
    job = await scene.submit()
    claim = await scene.claim()
    back = HandedBack(reason="drain", checkpoint=scene.checkpoints(claim, 2))
    await scene.end(claim, back)
    if how == "failed":
        await scene.end(await scene.claim(), BROKEN)  # its checkpoint may be to blame: nothing goes on there
    else:
        await scene.store.request_cancel(job.id, job.tenant)
    assert await scene.sweep(NOTHING_YET) == 1
    assert scene.keys(job) == []

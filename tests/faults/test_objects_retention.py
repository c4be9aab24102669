"""The sweeper while S3 is away: nothing counts as swept before its objects are gone."""

from __future__ import annotations

from orchestrator.adapters.s3 import S3Objects
from orchestrator.config import RetentionSettings
from orchestrator.domain.outcome import settle
from orchestrator.domain.protocol import Rendered
from orchestrator.domain.retry import RetryPolicy
from orchestrator.objects.videos import Retention
from orchestrator.store import Store
from tests.support.builders import WORKER, a_job, a_result, prefix_of
from tests.support.s3 import S3Server


async def test_what_could_not_be_deleted_is_deleted_later(store: Store, own_s3_server: S3Server) -> None:
    objects = S3Objects(own_s3_server.new_bucket(max_attempts=1))
    job = a_job()
    await store.beat("default", {WORKER: "small"})
    await store.submit(job)
    (claim,) = await store.claim("small", "default", [WORKER])
    objects.put(f"{prefix_of(claim)}video.mp4", b"moov", "video/mp4")
    await store.settle([settle(claim, Rendered(result=a_result(prefix_of(claim))), RetryPolicy(), 0.0)])
    retention = Retention(store, objects, RetentionSettings(jobs_s=1e-6, losers_s=1e-6))

    own_s3_server.kill()
    assert await retention.run_once() == 0
    assert await store.get(job.id, job.tenant) is not None
    own_s3_server.start()
    assert list(objects.list_keys("")) == [f"{prefix_of(claim)}video.mp4"]
    assert await retention.run_once() == 1
    assert await store.get(job.id, job.tenant) is None
    assert list(objects.list_keys("")) == []

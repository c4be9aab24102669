"""Uploads through real trouble: S3 killed on the way, a slow link, flipped bits. A finished render is not lost."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from orchestrator.adapters.s3 import S3Objects
from orchestrator.config import S3Settings
from orchestrator.domain.errors import IntegrityError, ObjectsRefused, ObjectsUnavailable, RenderFailed
from orchestrator.domain.job import VideoResult
from orchestrator.domain.objects import result_key
from orchestrator.domain.protocol import Assignment
from orchestrator.objects import results
from tests.support.builders import a_claim, prefix_of
from tests.support.disks import small_disk
from tests.support.finishing import PlainWatch
from tests.support.proxy import Proxy
from tests.support.s3 import S3Server
from workers.bucket.artifacts import publish
from workers.finish import Finished

MIB = 2**20
CLAIM = a_claim(job_id=uuid4(), number=3)


@pytest.fixture
def finished(tmp_path: Path) -> Finished:
    """A video of three parts: what is inside does not matter to an upload."""
    sizes = {"video.mp4": 20 * MIB, "cover.png": 1000, "thumbnail.webp": 500, "spritesheet.jpg": 700}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(os.urandom(size))
    return Finished(*(tmp_path / name for name in sizes), width=96, height=64, num_frames=9, fps=8)


def publish_to(
    objects: S3Objects, finished: Finished, *, on_progress: Callable[[], None] = lambda: None, patience_s: float = 30
) -> VideoResult:
    return publish(objects, Assignment.of(CLAIM), finished, PlainWatch(moved=on_progress), patience_s=patience_s)


def through(proxy: Proxy, settings: S3Settings) -> S3Objects:
    return S3Objects(settings.model_copy(update={"endpoint_url": proxy.url}))


def test_a_killed_s3_that_comes_back_costs_no_render(own_s3_server: S3Server, finished: Finished) -> None:
    """The kill takes the open upload with it, so the file has to go up again from its first part."""
    settings = own_s3_server.new_bucket(max_attempts=2)
    moved = threading.Event()
    begun: list[None] = []

    def crash() -> None:
        moved.wait()
        own_s3_server.kill()
        own_s3_server.start()

    with Proxy(own_s3_server.port, bytes_per_s=16 * MIB).running() as proxy:
        objects = through(proxy, settings)
        objects._client.meta.events.register("before-call.s3.CreateMultipartUpload", lambda **_: begun.append(None))
        crashing = threading.Thread(target=crash)
        crashing.start()
        result = publish_to(objects, finished, on_progress=moved.set)
        crashing.join()
    assert len(begun) >= 2
    objects = S3Objects(settings)
    assert results.recover(objects, CLAIM) == result
    whole = {artifact.key for artifact in result.objects} | {result_key(CLAIM.job_id, CLAIM.number)}
    assert set(objects.list_keys("")) == whole


def test_an_s3_that_stays_away_fails_the_attempt_with_a_reason(own_s3_server: S3Server, finished: Finished) -> None:
    settings = own_s3_server.new_bucket(max_attempts=1)
    own_s3_server.kill()
    with pytest.raises(RenderFailed, match="could not be stored") as failed:
        publish_to(S3Objects(settings), finished, patience_s=1)
    assert (failed.value.code, failed.value.retryable) == ("upload_failed", True)


def test_after_a_crash_between_upload_and_result_there_is_nothing_to_publish(
    own_s3_server: S3Server, finished: Finished
) -> None:
    settings = own_s3_server.new_bucket()
    objects = S3Objects(settings)
    objects.upload(f"{prefix_of(CLAIM)}video.mp4", finished.video, "video/mp4")
    own_s3_server.kill()
    with pytest.raises(ObjectsUnavailable):
        results.recover(S3Objects(settings.model_copy(update={"max_attempts": 1})), CLAIM)
    own_s3_server.start()
    assert results.recover(objects, CLAIM) is None


def test_a_part_that_changes_on_its_way_is_found_by_reading_back(s3_server: S3Server, finished: Finished) -> None:
    settings = s3_server.new_bucket()
    with Proxy(s3_server.port, corruptions=1).running() as proxy:
        objects = through(proxy, settings)
        with pytest.raises(IntegrityError, match=r"video\.mp4 reads back as 20971520 bytes"):
            objects.upload("video.mp4", finished.video, "video/mp4")
        assert proxy.corruptions == 0


def test_a_part_that_changed_once_is_sent_again(s3_server: S3Server, finished: Finished) -> None:
    settings = s3_server.new_bucket()
    with Proxy(s3_server.port, corruptions=1).running() as proxy:
        result = publish_to(through(proxy, settings), finished)
    S3Objects(settings).verify(result.video)


def test_a_link_that_always_corrupts_leaves_no_result(s3_server: S3Server, finished: Finished) -> None:
    settings = s3_server.new_bucket()
    with Proxy(s3_server.port, corruptions=10**6).running() as proxy, pytest.raises(RenderFailed):
        publish_to(through(proxy, settings), finished)
    assert results.recover(S3Objects(settings), CLAIM) is None


def test_a_slow_upload_is_seen_to_live(s3_server: S3Server, finished: Finished) -> None:
    """Without progress for long, the watchdog would take it for hung."""
    settings = s3_server.new_bucket()
    beats = [time.monotonic()]
    with Proxy(s3_server.port, bytes_per_s=8 * MIB).running() as proxy:
        publish_to(through(proxy, settings), finished, on_progress=lambda: beats.append(time.monotonic()))
    assert len(beats) > 50
    whole = beats[-1] - beats[0]
    thirds = {int(3 * (beat - beats[0]) / whole) for beat in beats[1:-1]}
    assert thirds == {0, 1, 2}, "it beats all along, not only at the ends"


def test_a_read_that_breaks_off_goes_on_where_it_broke(own_s3_server: S3Server, finished: Finished) -> None:
    settings = own_s3_server.new_bucket()
    objects = S3Objects(settings)
    objects.upload("video.mp4", finished.video, "video/mp4")
    chunks = objects.stream("video.mp4")
    read = next(chunks)
    own_s3_server.kill()
    own_s3_server.start()
    assert read + b"".join(chunks) == finished.video.read_bytes()


def test_an_s3_whose_disk_is_full_failed_and_refused_nothing(own_s3_server: S3Server) -> None:
    """What it refuses is ours to mend and is not tried again; a disk is mended by somebody else, and it is."""
    objects = S3Objects(own_s3_server.new_bucket(max_attempts=1))
    own_s3_server.kill()
    with small_disk(own_s3_server.data_dir, 512):
        own_s3_server.start()
        try:
            objects.ensure_bucket()
            with pytest.raises(ObjectsUnavailable, match="S3 failed with a") as caught:
                objects.put("a", bytes(MIB), "video/mp4")
            assert not isinstance(caught.value, ObjectsRefused)
            assert objects.put("b", b"small", "video/mp4").size == 5
        finally:
            own_s3_server.kill()

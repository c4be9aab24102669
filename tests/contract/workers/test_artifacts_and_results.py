"""From a worker's files to `result.json` and back: what one publishes, the control plane finds."""

from __future__ import annotations

import json
from inspect import signature
from pathlib import Path
from uuid import uuid4

import pytest

from orchestrator.adapters.s3 import S3Objects
from orchestrator.config import S3Settings
from orchestrator.domain.job import Claim, Continuity, Incident, VideoResult
from orchestrator.domain.objects import result_key
from orchestrator.domain.protocol import Assignment
from orchestrator.objects import results
from orchestrator.policy.watchdog import UPLOAD_TRIED_S
from tests.support.builders import a_claim, prefix_of
from tests.support.finishing import PlainWatch, finish
from tests.support.frames import moving
from tests.support.s3 import S3Server
from workers.bucket.artifacts import publish

WATCH = PlainWatch(
    stages={"denoising": 1.25, "decoding": 0.25},
    numerics="0123456789abcdef+batched",
    continuity=Continuity.RESUMED_INEXACTLY,
    resumed_at=17,
    incidents=(Incident.PREEMPTED, Incident.TILED_DECODE),
)


@pytest.fixture
def claim() -> Claim:
    return a_claim(job_id=uuid4(), number=7)


@pytest.fixture
def published(objects: S3Objects, claim: Claim, tmp_path: Path) -> VideoResult:
    finished = finish(moving(9, 64, 96), tmp_path)
    return publish(objects, Assignment.of(claim), finished, WATCH)


def test_an_upload_is_tried_for_as_long_as_the_settings_make_the_watchdog_wait() -> None:
    assert signature(publish).parameters["patience_s"].default == UPLOAD_TRIED_S


def test_a_claims_objects_lie_under_its_own_prefix(objects: S3Objects, claim: Claim, published: VideoResult) -> None:
    prefix = f"videos/{claim.job_id.hex}/7/"
    kinds = {
        "cover.png": "image/png",
        "spritesheet.jpg": "image/jpeg",
        "thumbnail.webp": "image/webp",
        "video.mp4": "video/mp4",
    }
    assert set(objects.list_keys("")) == {f"{prefix}{name}" for name in (*kinds, "result.json")}
    assert {artifact.key: artifact.content_type for artifact in published.objects} == {
        prefix + name: kind for name, kind in kinds.items()
    }
    assert (published.width, published.height, published.num_frames, published.fps) == (96, 64, 9, 8)


def test_the_result_is_written_after_everything_it_names(objects: S3Objects, claim: Claim, tmp_path: Path) -> None:
    order: list[str] = []
    objects._client.meta.events.register(
        "before-call.s3.PutObject", lambda params, **_: order.append(params["url_path"])
    )
    finished = finish(moving(9, 64, 96), tmp_path)
    publish(objects, Assignment.of(claim), finished, PlainWatch())
    assert len(order) == 5
    assert order[-1].endswith("/result.json")


def test_a_published_video_is_recovered_whole(objects: S3Objects, claim: Claim, published: VideoResult) -> None:
    assert results.recover(objects, claim) == published


def test_a_result_says_how_its_render_went(published: VideoResult) -> None:
    for told in ("gpu_seconds", "stages", "numerics", "continuity", "resumed_at", "incidents"):
        assert getattr(published, told) == getattr(WATCH, told)
    assert VideoResult.from_dict(json.loads(json.dumps(published.to_dict()))) == published


def test_a_claim_without_a_result_has_nothing_to_recover(objects: S3Objects, published: VideoResult) -> None:
    assert results.recover(objects, a_claim(job_id=uuid4())) is None


def test_a_result_is_recovered_for_its_own_claim_only(objects: S3Objects, claim: Claim, published: VideoResult) -> None:
    assert results.recover(objects, a_claim(job_id=claim.job_id, number=8)) is None
    copied = result_key(claim.job_id, 8)
    objects.put(copied, objects.get(result_key(claim.job_id, 7)), results.CONTENT_TYPE)
    assert results.recover(objects, a_claim(job_id=claim.job_id, number=8)) is None


@pytest.mark.parametrize("name", ["video.mp4", "cover.png", "thumbnail.webp", "spritesheet.jpg"])
@pytest.mark.parametrize("damage", ["missing", "cut", "changed"])
def test_a_damaged_object_is_rendered_again_instead_of_published(
    objects: S3Objects,
    claim: Claim,
    published: VideoResult,
    s3_server: S3Server,
    s3_settings: S3Settings,
    name: str,
    damage: str,
) -> None:
    key = prefix_of(claim) + name
    data = objects.get(key)
    match damage:
        case "missing":
            objects.delete([key])
        case "cut":
            objects.put(key, data[:-1], "video/mp4")
        case "changed":
            objects.put(key, data[:-1] + bytes([data[-1] ^ 1]), "video/mp4")
    assert results.recover(objects, claim) is None


def test_half_a_result_counts_as_none(objects: S3Objects, claim: Claim, published: VideoResult) -> None:
    key = result_key(claim.job_id, claim.number)
    whole = objects.get(key)
    objects.put(key, whole[: len(whole) // 2], results.CONTENT_TYPE)
    assert results.recover(objects, claim) is None
    objects.put(key, b"\xff\x00 not json", results.CONTENT_TYPE)
    assert results.recover(objects, claim) is None
    objects.put(key, whole, results.CONTENT_TYPE)
    assert results.recover(objects, claim) == published

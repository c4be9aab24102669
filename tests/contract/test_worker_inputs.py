"""The picture of a render, out of a real bucket: the bytes that were accepted or a reason, whatever befalls S3."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from orchestrator.adapters.s3 import S3Objects
from orchestrator.config import S3Settings
from orchestrator.domain.errors import RenderFailed
from orchestrator.domain.job import Artifact
from orchestrator.domain.protocol import Assignment
from tests.support.s3 import S3Server
from tests.support.workers import an_assignment
from workers.inputs import fetch

KEY = "inputs/picture"


def a_png() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


def stored(objects: S3Objects, data: bytes) -> Assignment:
    return an_assignment(image=objects.put(KEY, data, "image/png"))


def always() -> bool:
    return True


def broke(objects: S3Objects, assignment: Assignment, **options: float) -> tuple[str, bool]:
    with pytest.raises(RenderFailed) as failed:
        fetch(objects, assignment, always, **options)
    return failed.value.code, failed.value.retryable


def test_the_picture_comes_as_it_was_stored(objects: S3Objects) -> None:
    picture = fetch(objects, stored(objects, a_png()), always)
    assert picture is not None
    assert np.array_equal(picture, np.asarray(Image.open(io.BytesIO(a_png()))))


def test_an_object_that_is_not_what_was_accepted_is_not_rendered(
    objects: S3Objects, s3_server: S3Server, s3_settings: S3Settings
) -> None:
    assignment = stored(objects, a_png())
    s3_server.file(s3_settings, KEY).write_bytes(a_png()[:-1] + b"?")
    assert broke(objects, assignment) == ("image_unavailable", True)


def test_an_object_that_is_gone_is_a_failure_at_once(objects: S3Objects) -> None:
    missing = Artifact(key="inputs/none", size=1, sha256="0" * 64, content_type="image/png")
    assert broke(objects, an_assignment(image=missing)) == ("image_unavailable", True)


def test_an_object_that_is_no_image_fails_for_good(objects: S3Objects) -> None:
    assert broke(objects, stored(objects, b"not an image")) == ("image_unreadable", False)


def fetching(objects: S3Objects, assignment: Assignment, wanted: Callable[[], bool]) -> tuple[threading.Thread, list]:
    got: list[np.ndarray | None] = []
    thread = threading.Thread(target=lambda: got.append(fetch(objects, assignment, wanted)))
    thread.start()
    return thread, got


def test_an_s3_that_comes_back_is_waited_for(own_s3_server: S3Server) -> None:
    objects = S3Objects(own_s3_server.new_bucket(max_attempts=1, connect_timeout_s=1))
    assignment = stored(objects, a_png())
    tried = threading.Semaphore(0)

    def wanted() -> bool:
        tried.release()
        return True

    own_s3_server.kill()
    thread, got = fetching(objects, assignment, wanted)
    for _ in range(2):
        assert tried.acquire(timeout=30)
    own_s3_server.start()
    thread.join(30)
    assert [picture.shape for picture in got if picture is not None] == [(64, 96, 3)]


def test_an_s3_that_stays_away_is_waited_for_no_longer_than_patience_or_interest_last(own_s3_server: S3Server) -> None:
    objects = S3Objects(own_s3_server.new_bucket(max_attempts=1, connect_timeout_s=1))
    assignment = stored(objects, a_png())
    own_s3_server.kill()
    started = time.monotonic()
    assert broke(objects, assignment, patience_s=0.5) == ("image_unavailable", True)
    answers = iter([True, True, False])
    assert fetch(objects, assignment, lambda: next(answers)) is None
    assert time.monotonic() - started < 30

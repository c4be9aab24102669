"""What a render begins with, out of a real bucket: its checkpoint, its picture or a reason, whatever befalls S3."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from orchestrator.adapters.s3 import S3Objects
from orchestrator.config import S3Settings
from orchestrator.domain.errors import RenderFailed
from orchestrator.domain.job import Artifact, Checkpoint, Continuity, RenderSpec
from orchestrator.domain.protocol import Assignment
from tests.support.s3 import S3Server
from tests.support.workers import an_assignment
from workers.bucket import checkpoints
from workers.bucket.inputs import fetch
from workers.engine.parts import Material, Snapshot

KEY = "inputs/picture"


def a_png() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


def stored(objects: S3Objects, data: bytes) -> Assignment:
    return an_assignment(image=objects.put(KEY, data, "image/png"))


def always() -> bool:
    return True


def here(spec: RenderSpec) -> str:
    """The fingerprint of whatever is rendered here."""
    return "0123456789abcdef"


def begin_with(
    objects: S3Objects, assignment: Assignment, wanted: Callable[[], bool] = always, **options: float
) -> Material | None:
    return fetch(objects, here, assignment, wanted, **options)


def broke(objects: S3Objects, assignment: Assignment, **options: float) -> tuple[str, bool]:
    with pytest.raises(RenderFailed) as failed:
        begin_with(objects, assignment, **options)
    return failed.value.code, failed.value.retryable


def test_the_picture_comes_as_it_was_stored(objects: S3Objects) -> None:
    material = begin_with(objects, stored(objects, a_png()))
    assert material is not None
    assert np.array_equal(material.picture, np.asarray(Image.open(io.BytesIO(a_png()))))
    assert (material.snapshot, material.continuity) == (None, Continuity.WHOLE)


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
    got: list[Material | None] = []
    thread = threading.Thread(target=lambda: got.append(begin_with(objects, assignment, wanted)))
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
    (material,) = got
    assert material is not None
    assert material.picture is not None
    assert material.picture.shape == (64, 96, 3)


def test_an_s3_that_stays_away_is_waited_for_no_longer_than_patience_or_interest_last(own_s3_server: S3Server) -> None:
    objects = S3Objects(own_s3_server.new_bucket(max_attempts=1, connect_timeout_s=1))
    assignment = stored(objects, a_png())
    own_s3_server.kill()
    started = time.monotonic()
    assert broke(objects, assignment, patience_s=0.5) == ("image_unavailable", True)
    answers = iter([True, True, False])
    assert begin_with(objects, assignment, lambda: next(answers)) is None
    assert time.monotonic() - started < 30


def checkpointed(objects: S3Objects, numerics: str, **changes: object) -> Assignment:
    """A render with a picture that has left a checkpoint at step 2, made under `numerics`."""
    assignment = replace(stored(objects, a_png()), claim=2)
    snapshot = Snapshot(step=2, numerics=numerics, tensors={"latents": torch.arange(3.0)})
    checkpoint = checkpoints.save(objects, replace(assignment, claim=1), snapshot)
    return replace(assignment, spec=replace(assignment.spec, **changes), checkpoint=checkpoint)


@pytest.mark.parametrize(
    ("numerics", "changes", "continuity"),
    [
        (here(an_assignment().spec), {}, Continuity.RESUMED),
        (here(an_assignment().spec) + "+batched", {}, Continuity.RESUMED_INEXACTLY),
        ("f" * 16, {"resume_anywhere": True}, Continuity.RESUMED_INEXACTLY),
    ],
)
def test_a_checkpoint_that_may_be_gone_on_from_comes_without_the_picture(
    objects: S3Objects, numerics: str, changes: dict[str, object], continuity: Continuity
) -> None:
    assignment = checkpointed(objects, numerics, **changes)
    objects.delete([KEY])
    material = begin_with(objects, assignment)
    assert material is not None
    assert (material.picture, material.continuity) == (None, continuity)
    assert material.snapshot is not None
    assert (material.snapshot.step, material.snapshot.numerics) == (2, numerics)
    assert material.snapshot.tensors["latents"].tolist() == [0, 1, 2]


def test_a_checkpoint_of_other_numerics_starts_over_from_the_picture(objects: S3Objects) -> None:
    material = begin_with(objects, checkpointed(objects, "f" * 16))
    assert material is not None
    assert (material.snapshot, material.continuity) == (None, Continuity.STARTED_OVER)
    assert material.picture is not None


@pytest.mark.parametrize("image", [True, False])
def test_a_checkpoint_that_cannot_be_read_starts_over(objects: S3Objects, image: bool) -> None:
    assignment = checkpointed(objects, here(an_assignment().spec))
    if not image:
        assignment = replace(assignment, spec=replace(assignment.spec, image=None))
    assert isinstance(assignment.checkpoint, Checkpoint)
    objects.put(assignment.checkpoint.artifact.key, b"something else", "application/octet-stream")
    material = begin_with(objects, assignment)
    assert material is not None
    assert (material.snapshot, material.continuity) == (None, Continuity.STARTED_OVER)
    assert (material.picture is not None) is image


def test_a_checkpoint_that_s3_does_not_give_is_not_given_up(own_s3_server: S3Server) -> None:
    """It may be minutes of a GPU: the attempt fails, and the next one asks again."""
    objects = S3Objects(own_s3_server.new_bucket(max_attempts=1, connect_timeout_s=1))
    assignment = checkpointed(objects, here(an_assignment().spec))
    own_s3_server.kill()
    assert broke(objects, assignment, patience_s=0.5) == ("checkpoint_unavailable", True)


def test_what_needs_nothing_begins_with_nothing(objects: S3Objects) -> None:
    assert begin_with(objects, an_assignment()) == Material()


def test_an_adapter_that_cannot_be_had_is_known_before_the_render_begins(objects: S3Objects) -> None:
    def unavailable(spec: RenderSpec) -> str:
        raise RenderFailed("adapter_unavailable", f"adapter {spec.adapter!r} cannot be had here")

    with pytest.raises(RenderFailed, match="'oil'"):
        fetch(objects, unavailable, an_assignment(adapter="oil"), always)

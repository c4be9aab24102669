"""What a render begins with, out of the bucket: the checkpoint that it goes on from, or the picture it begins at."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from orchestrator.domain.errors import IntegrityError, NotFound, ObjectsUnavailable, RenderFailed
from orchestrator.domain.failure import FailureCode
from orchestrator.domain.job import Artifact, Checkpoint, Continuity, RenderSpec
from orchestrator.domain.protocol import Assignment
from orchestrator.domain.retry import BELOW, Backoff
from orchestrator.ports.objects import ClaimObjects
from orchestrator.telemetry import logs
from workers.bucket import checkpoints, picture
from workers.engine.parts import Material, Snapshot
from workers.engine.resume import continuity

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")

# Waiting holds no GPU, and what else this worker could render waits for the same S3.
_PATIENCE_S = 480.0
_BACKOFF = Backoff(base_s=0.5, cap_s=5.0, spread=BELOW)

_log = logs.get("inputs")


def fetch(
    objects: ClaimObjects,
    numerics: Callable[[RenderSpec], str],
    assignment: Assignment,
    wanted: Callable[[], bool],
    *,
    patience_s: float = _PATIENCE_S,
) -> Material | None:
    """The checkpoint that the assignment can go on from, or else its picture; None once it is no longer `wanted`.

    `numerics` is the fingerprint of a spec rendered here. Outlasts an S3 that is away for up to `patience_s` at a time.
    Raises what `numerics` raises, and `RenderFailed`: `checkpoint_unavailable` or `image_unavailable` when it stays
    away, the latter also when the picture is gone or another one, `image_unreadable` when the object is no image.
    """
    patience = _Patience(wanted, patience_s, assignment)
    # Asked for every render: to say it takes the spec's adapter, which the GPU must not wait for later.
    fingerprint = numerics(assignment.spec)
    checkpoint, began = assignment.checkpoint, Continuity.WHOLE
    try:
        if checkpoint is not None:
            began = continuity(checkpoint, assignment.spec, fingerprint)
            snapshot = None if began is Continuity.STARTED_OVER else _snapshot(objects, checkpoint, patience)
            if snapshot is not None:
                return Material(snapshot=snapshot, continuity=began)
            began = Continuity.STARTED_OVER
        return Material(picture=_picture(objects, assignment.spec, patience), continuity=began)
    except _Unwanted:
        return None


def _snapshot(objects: ClaimObjects, checkpoint: Checkpoint, patience: _Patience) -> Snapshot | None:
    """The checkpoint's, or None when it is unusable."""
    try:
        return patience.read(
            "checkpoint", FailureCode.CHECKPOINT_UNAVAILABLE, partial(checkpoints.load, objects, checkpoint)
        )
    except RenderFailed as error:
        if error.code is not FailureCode.CHECKPOINT_UNUSABLE:
            raise
        _log.warning("checkpoint_unusable", error=error.message, **patience.fields)
        return None


def _picture(objects: ClaimObjects, spec: RenderSpec, patience: _Patience) -> NDArray[np.uint8] | None:
    """The spec's picture, [height, width, 3] RGB of its size, or None when it has none."""
    if spec.image is None:
        return None
    data = patience.read("image", FailureCode.IMAGE_UNAVAILABLE, partial(_accepted, objects, spec.image))
    return picture.fit(data, spec.width, spec.height)


def _accepted(objects: ClaimObjects, image: Artifact) -> bytes:
    """The very bytes that were accepted with the request."""
    try:
        data = objects.get(image.key)
        if hashlib.sha256(data).hexdigest() != image.sha256:
            raise IntegrityError(f"{image.key} is not what was stored there")
    except (NotFound, IntegrityError) as error:
        raise RenderFailed(FailureCode.IMAGE_UNAVAILABLE, f"the image could not be read: {error}") from error
    return data


class _Unwanted(Exception):
    """Nobody wants the render any more."""


class _Patience:
    """Reads again while S3 does not answer, for as long as somebody wants what is read."""

    def __init__(self, wanted: Callable[[], bool], patience_s: float, assignment: Assignment) -> None:
        self._wanted = wanted
        self._patience_s = patience_s
        self.fields = {"job": assignment.job_id.hex, "attempt": assignment.claim}

    def read(self, what: str, unavailable: FailureCode, read: Callable[[], T]) -> T:
        """What `read` returns. Raises what it raises, and `RenderFailed` (`unavailable`) after the patience."""
        deadline = time.monotonic() + self._patience_s
        failures = 0
        while self._wanted():
            try:
                return read()
            except ObjectsUnavailable as error:
                if time.monotonic() > deadline:
                    raise RenderFailed(unavailable, f"the {what} could not be read: {error}") from error
                failures += 1
                _log.warning("input_tried_again", what=what, error=str(error), **self.fields)
            time.sleep(_BACKOFF.delay_s(failures, random.random()))
        raise _Unwanted

"""The picture that a render begins at, out of the bucket: the very bytes that were accepted, or a reason."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from orchestrator import logs
from orchestrator.domain.errors import IntegrityError, NotFound, ObjectsUnavailable, RenderFailed
from orchestrator.domain.job import Artifact
from orchestrator.domain.protocol import Assignment
from orchestrator.ports import ObjectStore
from workers import picture

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Waiting holds no GPU, and what else this worker could render waits for the same S3.
_PATIENCE_S = 480.0
_LONGEST_PAUSE_S = 5.0

_log = logs.get("inputs")


def fetch(
    objects: ObjectStore, assignment: Assignment, wanted: Callable[[], bool], *, patience_s: float = _PATIENCE_S
) -> NDArray[np.uint8] | None:
    """The assignment's picture, [height, width, 3] RGB of its spec's size; None once it is no longer `wanted`.

    Outlasts an S3 that is away for up to `patience_s`. Raises `RenderFailed`: `image_unavailable` when it stays away or
    has no such object, or another one, `image_unreadable` when the object is no image.
    """
    spec = assignment.spec
    assert spec.image is not None
    data = _read(objects, spec.image, wanted, patience_s, job=assignment.job_id.hex, attempt=assignment.claim)
    return None if data is None else picture.fit(data, spec.width, spec.height)


def _read(
    objects: ObjectStore, image: Artifact, wanted: Callable[[], bool], patience_s: float, **fields: object
) -> bytes | None:
    deadline = time.monotonic() + patience_s
    pause_s = 0.5
    while wanted():
        try:
            data = objects.get(image.key)
            if hashlib.sha256(data).hexdigest() != image.sha256:
                raise IntegrityError(f"{image.key} is not what was stored there")
            return data
        except (NotFound, IntegrityError) as error:
            raise RenderFailed("image_unavailable", f"the image could not be read: {error}") from error
        except ObjectsUnavailable as error:
            if time.monotonic() > deadline:
                raise RenderFailed("image_unavailable", f"the image could not be read: {error}") from error
            _log.warning("picture_tried_again", error=str(error), **fields)
        time.sleep(pause_s * random.uniform(0.5, 1.0))
        pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)
    return None

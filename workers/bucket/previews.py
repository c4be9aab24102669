"""One small picture of a render that goes on, for whoever waits for it."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from orchestrator.domain.job import Artifact
from orchestrator.domain.objects import preview_key
from orchestrator.domain.protocol import Assignment
from orchestrator.ports.objects import ClaimObjects
from workers.finish.watermark import Watermark

# The longest side in pixels, and WebP's quality: some 20 kB.
_SIDE = 512
_QUALITY = 75


def show(objects: ClaimObjects, assignment: Assignment, frame: npt.NDArray[np.uint8]) -> Artifact:
    """Put a frame, [height, width, 3] RGB, beside the claim's other objects as `preview.webp`, marked if the video is.

    Raises what `ObjectStore.put` raises.
    """
    image = Image.fromarray(frame)
    image.thumbnail((_SIDE, _SIDE))
    if assignment.spec.delivery.watermark:
        image = Image.fromarray(Watermark(*image.size)(np.asarray(image)))
    encoded = io.BytesIO()
    image.save(encoded, "WEBP", quality=_QUALITY)
    key = preview_key(assignment.job_id, assignment.claim)
    return objects.put(key, encoded.getvalue(), "image/webp")

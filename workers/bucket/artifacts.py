"""A finished render into S3: the video, its stills, and `result.json` last."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from orchestrator.domain.errors import IntegrityError, NotFound, ObjectsUnavailable, RenderFailed
from orchestrator.domain.failure import FailureCode
from orchestrator.domain.job import Artifact, VideoResult
from orchestrator.domain.objects import claim_prefix, result_key
from orchestrator.domain.protocol import Assignment
from orchestrator.domain.retry import BELOW, Backoff
from orchestrator.objects import results
from orchestrator.policy.watchdog import UPLOAD_TRIED_S
from orchestrator.ports.objects import ClaimObjects
from orchestrator.telemetry import logs
from workers.engine.parts import Watch
from workers.finish import Finished

T = TypeVar("T")

_BACKOFF = Backoff(base_s=1.0, cap_s=20.0, spread=BELOW)
# One corrupt upload can be chance; three are a broken link or memory, and another node should render.
_MAX_CORRUPT = 3

_log = logs.get("artifacts")


def publish(
    objects: ClaimObjects,
    assignment: Assignment,
    finished: Finished,
    watch: Watch,
    *,
    patience_s: float = UPLOAD_TRIED_S,
) -> VideoResult:
    """Upload a claim's objects, each read back and compared, and say what they are. The local files stay.

    Outlasts an S3 that is away for up to `patience_s` at a time. `watch` knows how the render went; it is told from
    several threads as bytes move, and nothing while nothing moves. Raises `RenderFailed` (`upload_failed`) when S3
    stays away or keeps corrupting.
    """
    prefix = claim_prefix(assignment.job_id, assignment.claim)

    def patiently(upload: Callable[[], T]) -> T:
        return _patiently(upload, patience_s, job=assignment.job_id.hex, attempt=assignment.claim)

    def store(path: Path, content_type: str) -> Artifact:
        return patiently(lambda: objects.upload(prefix + path.name, path, content_type, on_progress=watch.moved))

    result = VideoResult(
        video=store(finished.video, "video/mp4"),
        cover=store(finished.cover, "image/png"),
        thumbnail=store(finished.thumbnail, "image/webp"),
        spritesheet=store(finished.spritesheet, "image/jpeg"),
        width=finished.width,
        height=finished.height,
        num_frames=finished.num_frames,
        fps=finished.fps,
        gpu_seconds=watch.gpu_seconds,
        stages=watch.stages,
        numerics=watch.numerics,
        continuity=watch.continuity,
        resumed_at=watch.resumed_at,
        incidents=watch.incidents,
        prompt_tokens=watch.prompt_tokens,
    )
    document = results.dump(assignment.job_id, assignment.claim, result)
    patiently(lambda: objects.put(result_key(assignment.job_id, assignment.claim), document, results.CONTENT_TYPE))
    watch.moved()
    return result


def _patiently(upload: Callable[[], T], patience_s: float, **fields: object) -> T:
    """Try until it succeeds, corrupts too often, or has failed for `patience_s` in a row."""
    first_failure: float | None = None
    failures = corrupt = 0
    while True:
        try:
            return upload()
        except (ObjectsUnavailable, IntegrityError, NotFound) as error:  # not found: gone when read back
            now = time.monotonic()
            if first_failure is None:
                first_failure = now
            failures += 1
            corrupt += isinstance(error, IntegrityError)
            if corrupt >= _MAX_CORRUPT or now - first_failure > patience_s:
                raise RenderFailed(
                    FailureCode.UPLOAD_FAILED, f"the finished video could not be stored: {error}"
                ) from error
            _log.warning("upload_tried_again", failures=failures, error=str(error), **fields)
        time.sleep(_BACKOFF.delay_s(failures, random.random()))

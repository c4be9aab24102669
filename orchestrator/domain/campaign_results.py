"""What is kept of a row once its job has ended: pure, and all that the manifest needs, however long the job is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from orchestrator.domain.campaign import Outcome, RowError
from orchestrator.domain.job import Job
from orchestrator.domain.manifest import flags_of
from orchestrator.domain.states import JobState

# A row whose job is gone: its owner has deleted the video.
_GONE = {"code": "deleted", "message": "the video was deleted"}
_CANCELLED = {"code": "cancelled", "message": "the video was cancelled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a row's job ended."""

    place: int
    outcome: Outcome
    result: Mapping[str, Any]
    # What all attempts of this job used.
    gpu_seconds: float

    @property
    def flagged(self) -> bool:
        return self.outcome is Outcome.SUCCEEDED and bool(self.result.get("flags"))


def ended(place: int, job_id: UUID, job: Job | None, *, version: int, gpu_seconds: float, attempts: int) -> Ended:
    """What becomes of the row at `place`, whose job has ended, or is gone (None).

    `version` is the template's; `gpu_seconds` and `attempts` are those of all the job's attempts.
    """
    kept: dict[str, Any] = {
        "job": job_id.hex, "version": version, "gpu_seconds": gpu_seconds, "attempts": attempts,
    }  # fmt: skip
    if job is None:
        return Ended(place=place, outcome=Outcome.FAILED, result=kept | {"error": _GONE}, gpu_seconds=gpu_seconds)
    kept |= _asked(job)
    match job.state:
        case JobState.SUCCEEDED:
            kept |= _made(job)
            outcome = Outcome.SUCCEEDED
        case JobState.CANCELLED:
            kept["error"] = _CANCELLED
            outcome = Outcome.CANCELLED
        case _:
            failure = job.failure
            assert failure is not None, "a job that failed says why"
            kept["error"] = {"code": failure.code, "message": failure.message}
            outcome = Outcome.FAILED
    return Ended(place=place, outcome=outcome, result=kept, gpu_seconds=gpu_seconds)


def refused(error: RowError) -> dict[str, Any]:
    """The result of a row that got no job."""
    why = {"code": error.code, "message": error.message, "param": error.param}
    return {"error": {name: text for name, text in why.items() if text is not None}, "gpu_seconds": 0.0, "attempts": 0}


def followed(earlier: Mapping[str, Any] | None, end: Ended) -> Ended:
    """The end of a row that was rendered before: attempts and GPU seconds add up, and a draft stays known.

    What is rendered again in spite of a video is promoted. That video is its draft, however the promotion ends; where
    that was called off, it is all that the row has.
    """
    if not earlier:
        return end
    summed = {name: earlier.get(name, 0) + end.result.get(name, 0) for name in ("gpu_seconds", "attempts")}
    if "key" in earlier and end.outcome is Outcome.CANCELLED:
        return replace(end, outcome=Outcome.SUCCEEDED, result={**earlier, **summed})
    draft = earlier.get("draft")
    if "key" in earlier:
        draft = {name: earlier[name] for name in ("job", "key", "sha256") if name in earlier}
    return replace(end, result={**end.result, **summed, **({"draft": draft} if draft else {})})


def _asked(job: Job) -> dict[str, Any]:
    spec = job.spec
    return {
        "seed": spec.seed, "model": spec.model, "profile": str(spec.profile), "revision": job.request.get("revision"),
    }  # fmt: skip


def _made(job: Job) -> dict[str, Any]:
    result = job.result
    assert result is not None, "a job that succeeded has a result"
    flags = flags_of(result.incidents)
    return {
        "key": result.video.key,
        "sha256": result.video.sha256,
        "size": result.video.size,
        "cover": result.cover.key,
        "numerics": result.numerics,
        "continuity": str(result.continuity),
        "incidents": [str(incident) for incident in result.incidents],
        **({"flags": list(flags)} if flags else {}),
    }

"""`result.json`, the last object of a claim: its form, and how a lost claim's video is found again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from pydantic import ConfigDict, TypeAdapter

from orchestrator.domain.errors import IntegrityError, NotFound
from orchestrator.domain.job import Claim, VideoResult
from orchestrator.domain.objects import claim_prefix, result_key
from orchestrator.ports import ObjectStore
from orchestrator.telemetry import logs

CONTENT_TYPE = "application/json"

_log = logs.get("results")


@dataclass(frozen=True)
class _Document:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, allow_inf_nan=False)

    job: UUID
    claim: int
    result: VideoResult


_DOCUMENT = TypeAdapter(_Document)


def dump(job_id: UUID, claim: int, result: VideoResult) -> bytes:
    """The document as UTF-8 JSON. Raises `ValueError` for a figure that JSON cannot say (NaN, infinity)."""
    document = {"job": str(job_id), "claim": claim, "result": result.to_dict()}
    return json.dumps(document, allow_nan=False, indent=1).encode()


def parse(data: bytes, job_id: UUID, claim: int) -> VideoResult:
    """Read `dump` back. Raises `ValueError` unless it is whole, well-formed and about this very claim."""
    document = _DOCUMENT.validate_json(data)
    prefix = claim_prefix(job_id, claim)
    ours = all(artifact.key.startswith(prefix) for artifact in document.result.objects)
    if (document.job, document.claim) != (job_id, claim) or not ours:
        raise ValueError(f"it belongs to claim {document.claim} of job {document.job.hex}, or names foreign objects")
    return document.result


def recover(objects: ObjectStore, claim: Claim) -> VideoResult | None:
    """The finished video of a claim whose worker is lost, or None when there is none that is complete.

    Reads the objects back in full: this happens rarely, and what it returns is published without another look.
    Blocks; raises `ObjectsUnavailable` when S3 does not answer, for then nobody knows.
    """
    try:
        result = parse(objects.get(result_key(claim.job_id, claim.number)), claim.job_id, claim.number)
        for artifact in result.objects:
            objects.verify(artifact)
    except NotFound as error:
        _log.info("nothing_to_recover", reason=str(error), **logs.fields(claim))
        return None
    except (ValueError, IntegrityError) as error:
        _log.warning("result_unusable", reason=str(error), **logs.fields(claim))
        return None
    return result

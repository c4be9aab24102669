"""Counts what S3 takes and how it fails, in botocore's own events: its repetitions are in it, bodies are not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from orchestrator.telemetry import metrics

if TYPE_CHECKING:
    from botocore.model import OperationModel
    from mypy_boto3_s3 import S3Client

_BEGAN = "cogmill_began"
_NOT_FOUND = 404
_BUSY = frozenset({429, 503})


def measure(client: S3Client) -> None:
    """Have all calls of this client measured. A signed URL calls nobody."""
    events = client.meta.events
    events.register("before-call.s3", _begin)
    events.register("after-call.s3", _end)
    events.register("after-call-error.s3", _unanswered)


def _begin(context: dict[str, Any], **_: object) -> None:
    context[_BEGAN] = time.perf_counter()


def _end(model: OperationModel, context: dict[str, Any], http_response: Any, **_: object) -> None:
    _observe(context, model.name)
    error = error_of(http_response.status_code)
    if error is not None:
        metrics.s3_errors.labels(model.name, error).inc()


def _unanswered(event_name: str, context: dict[str, Any], **_: object) -> None:
    operation = event_name.rpartition(".")[2]
    _observe(context, operation)
    metrics.s3_errors.labels(operation, "unreachable").inc()


def error_of(status: int) -> str | None:
    """What an answer's status is counted as. That there is no such object is an answer, not an error."""
    if status < 400 or status == _NOT_FOUND:
        return None
    if status in _BUSY:
        return "busy"
    return "server" if status >= 500 else "refused"


def _observe(context: dict[str, Any], operation: str) -> None:
    began = context.get(_BEGAN)
    if began is not None:
        metrics.s3_seconds.labels(operation).observe(time.perf_counter() - began)

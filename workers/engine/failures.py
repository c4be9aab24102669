"""Why a render broke, as its owner reads it: from an exception to a `Failure` with a stable code."""

from __future__ import annotations

import errno

from orchestrator.domain.errors import IntegrityError, ObjectsUnavailable, RenderFailed
from orchestrator.domain.failure import FailureCode
from orchestrator.domain.job import Failure

_MAX_MESSAGE = 300


def failure_of(error: Exception) -> Failure:
    """The failure behind an exception. Its code is its own, or says where it came from.

    All but what `RenderFailed` rules out may be tried again: another worker has another GPU and another disk.
    """
    match error:
        case RenderFailed():
            return Failure(code=error.code, message=_plain(error.message), retryable=error.retryable)
        case ObjectsUnavailable() | IntegrityError():
            return Failure(code=FailureCode.UPLOAD_FAILED, message=_plain(f"the video could not be stored: {error}"))
        case OSError(errno=errno.ENOSPC):
            return Failure(code=FailureCode.DISK_FULL, message="the worker's disk is full")
        case _:
            return Failure(
                code=FailureCode.RENDER_ERROR, message=_plain(f"the render failed: {type(error).__name__}: {error}")
            )


def _plain(text: str) -> str:
    """What PostgreSQL and UTF-8 can hold of a text, cut: one NUL would make the whole settlement unwritable."""
    return text.encode("utf-8", "replace").decode().replace("\0", "?")[:_MAX_MESSAGE]

"""A batch's life, and what becomes of each of its lines: values and pure rules.

```
validating -> in_progress -> finalizing -> completed | expired
     \\             \\
      \\             `-> cancelling -> cancelled
       `-> failed, expired (never began), cancelling
```
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from orchestrator.domain.errors import InvalidField, Unsupported
from orchestrator.domain.job import Job
from orchestrator.domain.states import JobState

DEFAULT_WINDOW = "24h"
_WINDOW = re.compile(r"([1-9][0-9]{0,2})([hd])")
_MAX_WINDOW_S = 7 * 24 * 3600


class BatchStatus(StrEnum):
    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        return self in (BatchStatus.FAILED, BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class LineError:
    """Why a file of requests was not accepted."""

    code: str
    message: str
    # The field to blame, by its neutral name.
    param: str | None = None
    # Counts from 1; None is the file as a whole.
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemError:
    """Why one request has no video."""

    code: str
    message: str
    # The field to blame, by its neutral name.
    param: str | None = None


EXPIRED = ItemError(code="batch_expired", message="the batch expired before this request was done")
CANCELLED = ItemError(code="batch_cancelled", message="the batch was cancelled before this request was done")
# A line that we could not deal with, whosever fault that is; the log has more.
BROKEN = ItemError(code="internal_error", message="this request could not be dealt with: internal error")
_VIDEO_CANCELLED = ItemError(code="cancelled", message="the video was cancelled")
_VIDEO_GONE = ItemError(code="deleted", message="the video was deleted")

# Of requests that nobody refused and that were not rendered to an end either.
_UNDONE = frozenset(error.code for error in (EXPIRED, CANCELLED, _VIDEO_CANCELLED, _VIDEO_GONE))


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A request that has been taken in, without its body."""

    line: int
    custom_id: str
    job_id: UUID
    # Why there is no job, or none any more.
    error: ItemError | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A row as its owner may read it."""

    id: str
    tenant: str
    # The one that reads its lines and writes its answers.
    dialect: str
    # The route that its lines name.
    endpoint: str
    # As it was asked for: `24h`.
    completion_window: str
    # Ids of files. The two that it leaves behind are there once it has ended.
    input_file: str
    output_file: str | None
    error_file: str | None
    # The input is deleted when it ends.
    delete_input: bool
    # How long its answers are kept; None is as long as usual.
    output_lifetime_s: float | None
    status: BatchStatus
    # Why the file was not accepted.
    errors: tuple[LineError, ...] | None
    metadata: Mapping[str, str] | None
    # Lines: all of them, and those that ended in a video or without one.
    total: int
    completed: int
    failed: int
    created_at: datetime
    expires_at: datetime
    # When it came to each status; None while it has not.
    in_progress_at: datetime | None
    finalizing_at: datetime | None
    completed_at: datetime | None
    failed_at: datetime | None
    expired_at: datetime | None
    cancelling_at: datetime | None
    cancelled_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The request was rendered, to a video or to a failure."""

    job: Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """The request was not accepted."""

    error: ItemError


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """The request was not rendered to an end."""

    error: ItemError


LineEnd = Answered | Rejected | Undone


def end_of(item: Item, job: Job | None) -> LineEnd:
    """What the owner is told of an item whose job has ended, or was never there, or is deleted (None).

    A video that was finished all the same counts, whatever was meant to become of it.
    """
    if job is not None and job.state is JobState.SUCCEEDED:
        return Answered(job=job)
    if item.error is not None:
        return Undone(error=item.error) if item.error.code in _UNDONE else Rejected(error=item.error)
    if job is None:
        return Undone(error=_VIDEO_GONE)
    return Undone(error=_VIDEO_CANCELLED) if job.state is JobState.CANCELLED else Answered(job=job)


def succeeded(end: LineEnd) -> bool:
    """Whether a line belongs into the output file and not into the one of errors."""
    return isinstance(end, Answered) and end.job.state is JobState.SUCCEEDED


def final_status(status: BatchStatus, *, expired: int) -> BatchStatus:
    """How a batch ends whose lines have all ended, `expired` of them because its time was over."""
    if status is BatchStatus.CANCELLING:
        return BatchStatus.CANCELLED
    return BatchStatus.EXPIRED if expired else BatchStatus.COMPLETED


def window_seconds(window: str) -> float:
    """Seconds of a completion window like `24h` or `2d`. Raises `InvalidField`, or `Unsupported` past a week."""
    match = _WINDOW.fullmatch(window)
    if match is None:
        raise InvalidField(f"must be hours or days like 24h or 2d, not {window[:80]!r}", param="completion_window")
    seconds = int(match[1]) * (3600 if match[2] == "h" else 24 * 3600)
    if seconds > _MAX_WINDOW_S:
        raise Unsupported(f"may be at most 7d, not {window}", param="completion_window")
    return seconds

"""The states of a job and the only table of transitions between them.

    held <-> queued -> running -> succeeded
      \\         |         |----> queued     (retry after a backoff, eviction, release)
       \\        |         |----> failed     (attempts spent, or an error that no retry mends)
        `-------`---------`----> cancelled

What waits is held when its campaign pauses, or has as many jobs in the queue as it may.

The database repeats the table's invariants as CHECK constraints (`store/tables/queue.py`).
"""

from __future__ import annotations

from enum import StrEnum

from orchestrator.domain.errors import IllegalTransition


class JobState(StrEnum):
    """Where a job stands. What is `held` waits for a yes or a time that is not ours to decide."""

    HELD = "held"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """True when the job has ended and no transition leaves this state."""
        return not TRANSITIONS[self]


TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.HELD: frozenset({JobState.QUEUED, JobState.CANCELLED}),
    JobState.QUEUED: frozenset({JobState.HELD, JobState.RUNNING, JobState.CANCELLED}),
    JobState.RUNNING: frozenset({JobState.SUCCEEDED, JobState.QUEUED, JobState.FAILED, JobState.CANCELLED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}


def require(current: JobState, target: JobState) -> JobState:
    """Return `target` if a job may go there from `current`; raise `IllegalTransition` otherwise."""
    if target not in TRANSITIONS[current]:
        raise IllegalTransition(current, target)
    return target

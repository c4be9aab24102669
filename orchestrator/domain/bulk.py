"""Actions on all jobs that match: what can be done to which job, and why it cannot. Pure."""

from __future__ import annotations

from enum import StrEnum

from orchestrator.domain.states import JobState

_WAITING = (JobState.HELD, JobState.QUEUED)


class Verb(StrEnum):
    """What is done to each."""

    CANCEL = "cancel"
    RETRY = "retry"
    PRIORITY = "priority"


class BulkState(StrEnum):
    """How an action stands."""

    RUNNING = "running"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


# The states in which something can be done; what is in another one is passed over.
ACTED_ON = {
    Verb.CANCEL: frozenset({*_WAITING, JobState.RUNNING}),
    Verb.RETRY: frozenset({JobState.FAILED, JobState.CANCELLED}),
    Verb.PRIORITY: frozenset(_WAITING),
}


def passed_over(verb: Verb, state: JobState, *, of_campaign: bool) -> str | None:
    """Why nothing is done to a job that stands so by now; None where it can be."""
    if state not in ACTED_ON[verb]:
        return state.value
    if verb is Verb.RETRY and of_campaign:
        return "row_of_campaign"  # its owner tries failed rows again there, all at once
    return None

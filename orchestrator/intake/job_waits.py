"""Why one job waits: what its campaign, its attempts and its worker add to what is known of pools and turns. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.domain.job import Job
from orchestrator.domain.protocol import Stage
from orchestrator.domain.states import JobState
from orchestrator.domain.waiting import Wait, WaitCode

_HELD = {
    "owner": "its campaign was paused by its owner, and waits to be resumed",
    "budget": "its campaign has used its budget",
    "failures": "too many rows of its campaign failed: it waits for its owner",
    "revision": "what was approved is no longer what would be rendered: its campaign waits for a new approval",
    "quota": "its campaign waits for room in a limit of its tenant",
    "closed_hours": "a pool of its campaign is closed at this hour",
}


def all_waits(job: Job, known: Sequence[Wait], pauses: Sequence[str]) -> list[Wait]:
    """With what is `known` of its pool and its turn, and why its campaign is paused."""
    if job.state is JobState.RUNNING:
        told = "a more urgent video has its worker: it goes on where it was, its frames never having left the GPU"
        return [Wait(WaitCode.PREEMPTED, told)] if job.stage == Stage.PREEMPTED else []
    if job.state is JobState.HELD:
        reasons = [_HELD[pause] for pause in pauses if pause in _HELD]
        held = reasons or ["its campaign or its batch lets no more of its videos into the queue for now"]
        return [*(Wait(WaitCode.HELD, reason) for reason in held), *known]
    return [_again(job, wait) for wait in known]


def _again(job: Job, wait: Wait) -> Wait:
    """What is due later because an attempt failed was not asked for so."""
    if wait.code is not WaitCode.SCHEDULED or not job.failures:
        return wait
    failed = f"{job.failures} of {job.max_attempts} attempts failed"
    return Wait(WaitCode.BACKING_OFF, f"{failed}; the next one comes later: {wait.message}")

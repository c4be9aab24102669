"""The life of one job in spans and events, from what its rows say: what it waited for, and what its attempts did. Pure.

An attempt that made a video knows the seconds of each of its stages, though not when it changed between denoising and
waiting for a more urgent one: these lie one after the other here, with their sums. Of any other attempt only its begin
and its end are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.domain.job import Job
from orchestrator.domain.outcome import AttemptOutcome
from orchestrator.domain.protocol import Stage
from orchestrator.domain.states import JobState
from orchestrator.domain.waiting import Wait, WaitCode
from orchestrator.ports.any_jobs import JobSeen, Try
from orchestrator.ports.job_search import JobWhole

WAITING, RENDERING = "waiting", "rendering"

_HELD = {
    "owner": "its campaign was paused by its owner, and waits to be resumed",
    "budget": "its campaign has used its budget",
    "failures": "too many rows of its campaign failed: it waits for its owner",
    "revision": "what was approved is no longer what would be rendered: its campaign waits for a new approval",
    "quota": "its campaign waits for room in a limit of its tenant",
    "closed_hours": "a pool of its campaign is closed at this hour",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of a job's life."""

    # The claim's number; of waiting, that of the claim that ended it, or would.
    attempt: int
    # `waiting`, `rendering` where no more is known, or the word of a `Stage`.
    stage: str
    begins: datetime
    # None: it goes on.
    ends: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One thing that befell a job."""

    at: datetime
    what: str
    # The claim's number, where it is one's.
    attempt: int | None = None
    # A worker, an outcome or a code.
    detail: str | None = None


def spans(seen: JobSeen, whole: JobWhole) -> list[Span]:
    """From its creation on, in order, without gaps but those in which nothing could be done."""
    job, found, since = seen.job, list[Span](), seen.job.created_at
    for each in seen.tries:
        found.append(Span(attempt=each.number, stage=WAITING, begins=since, ends=each.claimed_at))
        found += _of_attempt(job, each)
        since = each.ended_at
    if job.state is JobState.RUNNING and whole.claimed_at is not None:
        found.append(Span(attempt=job.claims, stage=WAITING, begins=since, ends=whole.claimed_at))
        stage = job.stage or RENDERING
        found.append(Span(attempt=job.claims, stage=stage, begins=whole.claimed_at, ends=None))
    elif not job.state.terminal:
        found.append(Span(attempt=job.claims + 1, stage=WAITING, begins=since, ends=None))
    elif job.finished_at is not None and job.finished_at > since and not _ended_by_attempt(seen):
        found.append(Span(attempt=job.claims + 1, stage=WAITING, begins=since, ends=job.finished_at))
    return found


def happenings(seen: JobSeen, whole: JobWhole) -> list[Happening]:
    """What befell it, in order."""
    job = seen.job
    found = [Happening(at=job.created_at, what="accepted")]
    for each in seen.tries:
        found.append(Happening(at=each.claimed_at, what="claimed", attempt=each.number, detail=each.worker))
        why = each.outcome if each.failure is None else f"{each.outcome}: {each.failure.code}"
        found.append(Happening(at=each.ended_at, what="attempt_ended", attempt=each.number, detail=why))
    if job.state is JobState.RUNNING and whole.claimed_at is not None:
        found.append(Happening(at=whole.claimed_at, what="claimed", attempt=job.claims, detail=seen.worker))
    if whole.cancel_requested_at is not None:
        found.append(Happening(at=whole.cancel_requested_at, what="cancel_requested"))
    if job.finished_at is not None:
        code = None if job.failure is None else job.failure.code
        found.append(Happening(at=job.finished_at, what=job.state.value, detail=code))
    return sorted(found, key=lambda happening: happening.at)


def all_waits(job: Job, known: Sequence[Wait], pauses: Sequence[str]) -> list[Wait]:
    """Why it waits: what its campaign, its own attempts and its worker add to what is known of pools and turns."""
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


def _ended_by_attempt(seen: JobSeen) -> bool:
    return any(each.outcome is not AttemptOutcome.RELEASED and each.number == seen.job.claims for each in seen.tries)


def _of_attempt(job: Job, each: Try) -> Iterator[Span]:
    made = each.outcome is AttemptOutcome.SUCCEEDED and job.result is not None
    took: Mapping[str, float] = job.result.stages if made and job.result is not None else {}
    known = [(stage.value, took[stage.value]) for stage in Stage if took.get(stage.value, 0.0) > 0.0]
    if not known:
        yield Span(attempt=each.number, stage=RENDERING, begins=each.claimed_at, ends=each.ended_at)
        return
    # What is not told of lies before the first of them: the way to the worker.
    begins = max(each.claimed_at, each.ended_at - timedelta(seconds=sum(seconds for _, seconds in known)))
    for stage, seconds in known:
        ends = min(each.ended_at, begins + timedelta(seconds=seconds))
        yield Span(attempt=each.number, stage=stage, begins=begins, ends=ends)
        begins = ends

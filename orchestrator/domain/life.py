"""The life of one job, from what rows say of it: what it waited for and why, each attempt with its stages. Pure.

`course` is what its spans here and its tree (`life_tree.py`) are made of. An attempt that keeps no stages, as those
before migration 0032, may have made a video: then the seconds of each stage are known, though not when it changed from
denoising to waiting for a more urgent one, and they lie one after the other, with their sums.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from orchestrator.domain.job import Failure, Job
from orchestrator.domain.outcome import AttemptOutcome
from orchestrator.domain.protocol import Stage
from orchestrator.domain.states import JobState
from orchestrator.domain.timeline import Timeline, placed
from orchestrator.domain.webhooks import DeliveryState

WAITING, RENDERING = "waiting", "rendering"

# What was due sooner than that after it was asked for did not wait for its time; nor is so much of an attempt a stage.
_AT_ONCE_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A claim that has ended."""

    number: int
    outcome: AttemptOutcome
    cluster: str
    worker: str
    incarnation: str
    gpu_seconds: float
    claimed_at: datetime
    ended_at: datetime
    failure: Failure | None
    timeline: Timeline = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A delivery of the job's end."""

    host: str
    event_type: str
    state: DeliveryState
    attempts: int
    created_at: datetime
    ended_at: datetime | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """All that rows say of a job, at a moment of the database's clock."""

    job: Job
    now: datetime
    # When it may, or might, be claimed next, or could be before its last claim.
    run_at: datetime
    # Who holds it, or had it last, and since when.
    claimed_at: datetime | None
    worker: str | None
    cancel_requested_at: datetime | None
    # The campaign or the batch that it is a row of, and where in which trace it was asked for.
    campaign: str | None
    trace: str | None
    attempts: Sequence[Attempt]
    told: Sequence[Told] = ()
    # Its end is to be told, and nobody has yet.
    untold: bool = False


class Phase(StrEnum):
    """What goes on in a stretch."""

    # It is not due yet.
    PAUSE = "pause"
    WAIT = "wait"
    ATTEMPT = "attempt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A wait or an attempt. Without an end it goes on."""

    phase: Phase
    # The claim's number; of waiting, that of the claim that ended it, or would.
    attempt: int
    begins: datetime
    ends: datetime | None
    # In words: how it ended, or why it took so long.
    note: str
    # Of an attempt that has ended: each stage, from when until when.
    stages: tuple[tuple[str, datetime, datetime], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of a job's life as one bar: waiting, or a stage."""

    attempt: int
    # `waiting`, `rendering` where no more is known, or a stage of a timeline.
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


def course(life: Life) -> Iterator[Stretch]:
    """From its creation on, in order: waits, attempts, and what it does now."""
    job, free_at, why = life.job, life.job.created_at, "its turn"
    for each in life.attempts:
        # Only of the last claim it is known when it might have begun.
        last = each.number == job.claims and job.state is not JobState.QUEUED
        yield from _wait(each.number, free_at, each.claimed_at, why, life.run_at if last else None)
        yield Stretch(
            phase=Phase.ATTEMPT,
            attempt=each.number,
            begins=each.claimed_at,
            ends=each.ended_at,
            note=_how_it_ended(each),
            stages=tuple(_stages(job, each)),
        )
        free_at, why = each.ended_at, _again(each)
    if job.state is JobState.RUNNING and life.claimed_at is not None:
        yield from _wait(job.claims, free_at, life.claimed_at, why, life.run_at)
        yield Stretch(
            phase=Phase.ATTEMPT, attempt=job.claims, begins=life.claimed_at, ends=None, note=_where_it_is(life)
        )
    elif not job.state.terminal:
        reason = job.queue_reason
        why = why if reason is None else f"{why}; now: {reason}"
        yield from _wait(job.claims + 1, free_at, None, why, life.run_at)
    elif not life.attempts or job.claims > life.attempts[-1].number or job.state is JobState.CANCELLED:
        yield from _wait(job.claims + 1, free_at, job.finished_at, f"{why}, until it was {job.state.value}", None)


def spans(life: Life) -> list[Span]:
    """The same as bars, with each stage in the place of its attempt."""
    found = list[Span]()
    for each in course(life):
        if each.phase is Phase.ATTEMPT:
            found += _bars(life.job, each)
        elif found and found[-1].stage == WAITING:
            found[-1] = Span(attempt=each.attempt, stage=WAITING, begins=found[-1].begins, ends=each.ends)
        else:
            found.append(Span(attempt=each.attempt, stage=WAITING, begins=each.begins, ends=each.ends))
    return found


def happenings(life: Life) -> list[Happening]:
    """What befell it, in order."""
    job = life.job
    found = [Happening(at=job.created_at, what="accepted")]
    for each in life.attempts:
        found.append(Happening(at=each.claimed_at, what="claimed", attempt=each.number, detail=each.worker))
        why = each.outcome if each.failure is None else f"{each.outcome}: {each.failure.code}"
        found.append(Happening(at=each.ended_at, what="attempt_ended", attempt=each.number, detail=why))
    if job.state is JobState.RUNNING and life.claimed_at is not None:
        found.append(Happening(at=life.claimed_at, what="claimed", attempt=job.claims, detail=life.worker))
    if life.cancel_requested_at is not None:
        found.append(Happening(at=life.cancel_requested_at, what="cancel_requested"))
    if job.finished_at is not None:
        code = None if job.failure is None else job.failure.code
        found.append(Happening(at=job.finished_at, what=job.state.value, detail=code))
    return sorted(found, key=lambda happening: happening.at)


def because(what: str, failure: Failure | None) -> str:
    """How something ended, with what went wrong."""
    return what if failure is None else f"{what}: {failure.code}, {failure.message}"


def _bars(job: Job, attempt: Stretch) -> Iterator[Span]:
    number, known_until = attempt.attempt, attempt.begins
    for stage, begins, ends in attempt.stages:
        yield Span(attempt=number, stage=stage, begins=begins, ends=ends)
        known_until = ends
    if attempt.ends is None:
        yield Span(attempt=number, stage=job.stage or RENDERING, begins=known_until, ends=None)
    elif not attempt.stages or attempt.ends - known_until > timedelta(seconds=_AT_ONCE_S):
        # Of a worker that was lost, the time until somebody knew.
        yield Span(attempt=number, stage=RENDERING, begins=known_until, ends=attempt.ends)


def _stages(job: Job, attempt: Attempt) -> Iterator[tuple[str, datetime, datetime]]:
    if attempt.timeline:
        yield from placed(attempt.timeline, attempt.claimed_at, attempt.ended_at)
        return
    if attempt.outcome is not AttemptOutcome.SUCCEEDED or job.result is None:
        return
    took = job.result.stages
    known = [(stage.value, took[stage.value]) for stage in Stage if took.get(stage.value, 0.0) > 0.0]
    # What is not told of lies before the first of them: the way to the worker.
    begins = max(attempt.claimed_at, attempt.ended_at - timedelta(seconds=sum(seconds for _, seconds in known)))
    for stage, seconds in known:
        ends = min(attempt.ended_at, begins + timedelta(seconds=seconds))
        yield stage, begins, ends
        begins = ends


def _wait(number: int, since: datetime, until: datetime | None, why: str, due: datetime | None) -> Iterator[Stretch]:
    """What lies between two attempts: first the time that it had to be, then its turn."""
    if due is not None and due - since > timedelta(seconds=_AT_ONCE_S):
        ends = due if until is None or until >= due else until
        yield Stretch(phase=Phase.PAUSE, attempt=number, begins=since, ends=ends, note=f"until its time; {why}")
        since, why = due, "its turn" if ";" not in why else why.partition("; ")[2]
    if until is None or until > since:
        yield Stretch(phase=Phase.WAIT, attempt=number, begins=since, ends=until, note=why)


def _again(attempt: Attempt) -> str:
    """Why there is another attempt."""
    match attempt.outcome:
        case AttemptOutcome.EVICTED:
            return "its turn again, since its worker gave it back"
        case AttemptOutcome.RELEASED:
            return "its turn again, since it had not begun"
        case _:
            return "its turn again, after a failure"


def _how_it_ended(attempt: Attempt) -> str:
    used = f", {attempt.gpu_seconds:.3g} GPU seconds" if attempt.gpu_seconds else ""
    return because(f"{attempt.outcome.value} on {attempt.worker}{used}", attempt.failure)


def _where_it_is(life: Life) -> str:
    job = life.job
    asked = ", to be cancelled" if job.cancel_requested else ""
    return f"running on {life.worker}: {job.stage or 'assigned'}, step {job.step} of {job.steps}{asked}"

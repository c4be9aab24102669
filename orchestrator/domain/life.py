"""The life of a job as a tree: what it waited for and why, each attempt with its stages, and who was told of its end.

Pure, and from rows alone: it needs no traces, and shows what they would.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from orchestrator.domain.job import Failure, Job, public_id
from orchestrator.domain.outcome import AttemptOutcome
from orchestrator.domain.states import JobState
from orchestrator.domain.timeline import Timeline, within
from orchestrator.domain.trace import trace_id_of
from orchestrator.domain.webhooks import DeliveryState

# What was due sooner than that after it was asked for did not wait for its time.
_AT_ONCE_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A claim that has ended."""

    number: int
    outcome: AttemptOutcome
    worker: str
    gpu_seconds: float
    claimed_at: datetime
    ended_at: datetime
    failure: Failure | None
    timeline: Timeline


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
    # The campaign or the batch that it is a row of, and where in which trace it was asked for.
    campaign: str | None
    trace: str | None
    attempts: Sequence[Attempt]
    told: Sequence[Told]
    # Its end is to be told, and nobody has yet.
    untold: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One thing that went on for a while; without an end it still does."""

    name: str
    began_at: datetime
    ended_at: datetime | None
    # In words: how it ended, or why it took so long.
    note: str = ""
    children: tuple[Node, ...] = ()


def tree(life: Life) -> Node:
    """The whole life, in the order of its beginnings."""
    job = life.job
    parts = [*_waits_and_attempts(life), *_tellings(life)]
    return Node(
        name="job",
        began_at=job.created_at,
        ended_at=job.finished_at,
        note=_because(job.state.value, job.failure),
        children=tuple(sorted(parts, key=lambda part: part.began_at)),
    )


def document(life: Life) -> dict[str, Any]:
    """The same as JSON has it: a list, each behind its parent; moments in seconds of Unix time, lengths in seconds."""
    job = life.job
    return {
        "id": public_id(job.id),
        "object": "job.trace",
        "tenant": job.tenant,
        "pool": job.pool,
        "model": job.spec.model,
        "state": job.state.value,
        "campaign": life.campaign,
        "trace_id": trace_id_of(life.trace),
        "spans": [_span(number, parent, node, life.now) for number, (parent, node) in enumerate(_listed(tree(life)))],
    }


def _listed(root: Node) -> list[tuple[int | None, Node]]:
    """Every node, with its parent's place in the list."""
    found: list[tuple[int | None, Node]] = []

    def add(parent: int | None, node: Node) -> None:
        found.append((parent, node))
        here = len(found) - 1
        for child in node.children:
            add(here, child)

    add(None, root)
    return found


def _span(number: int, parent: int | None, node: Node, now: datetime) -> dict[str, Any]:
    return {
        "number": number,
        "parent": parent,
        "name": node.name,
        "began_at": node.began_at.timestamp(),
        "ended_at": None if node.ended_at is None else node.ended_at.timestamp(),
        "seconds": round(max(0.0, ((node.ended_at or now) - node.began_at).total_seconds()), 3),
        "note": node.note,
    }


def _waits_and_attempts(life: Life) -> Iterator[Node]:
    free_at, why = life.job.created_at, "its turn"
    for attempt in life.attempts:
        # Only of the last claim it is known when it might have begun.
        last = attempt.number == life.job.claims and life.job.state is not JobState.QUEUED
        yield from _wait(free_at, attempt.claimed_at, why, life.run_at if last else None)
        yield _attempt(attempt)
        free_at, why = attempt.ended_at, _again(attempt)
    if life.job.state is JobState.RUNNING and life.claimed_at is not None:
        yield from _wait(free_at, life.claimed_at, why, life.run_at)
        yield _running(life, life.claimed_at)
    elif life.job.state in (JobState.HELD, JobState.QUEUED):
        reason = life.job.queue_reason
        yield from _wait(free_at, None, why if reason is None else f"{why}; now: {reason}", life.run_at)
    elif not life.attempts or life.job.claims > life.attempts[-1].number or life.job.state is JobState.CANCELLED:
        yield from _wait(free_at, life.job.finished_at, f"{why}, until it was {life.job.state.value}", None)


def _wait(since: datetime, until: datetime | None, why: str, due: datetime | None) -> Iterator[Node]:
    """What lies between two attempts: first the time that it had to be, then its turn."""
    if due is not None and due - since > timedelta(seconds=_AT_ONCE_S):
        time_came = None if until is not None and until < due else due
        yield Node(name="pause", began_at=since, ended_at=time_came or until, note=f"until its time; {why}")
        since, why = due, "its turn" if ";" not in why else why.partition("; ")[2]
    if until is None or until > since:
        yield Node(name="wait", began_at=since, ended_at=until, note=why)


def _again(attempt: Attempt) -> str:
    """Why there is another attempt."""
    match attempt.outcome:
        case AttemptOutcome.EVICTED:
            return "its turn again, since its worker gave it back"
        case AttemptOutcome.RELEASED:
            return "its turn again, since it had not begun"
        case _:
            return "its turn again, after a failure"


def _attempt(attempt: Attempt) -> Node:
    used = f", {attempt.gpu_seconds:.3g} GPU seconds" if attempt.gpu_seconds else ""
    return Node(
        name=f"attempt {attempt.number}",
        began_at=attempt.claimed_at,
        ended_at=attempt.ended_at,
        note=_because(f"{attempt.outcome.value} on {attempt.worker}{used}", attempt.failure),
        children=tuple(_stages(attempt)),
    )


def _stages(attempt: Attempt) -> Iterator[Node]:
    for name, began, ended in within(attempt.timeline, attempt.claimed_at, attempt.ended_at):
        yield Node(name=name, began_at=began, ended_at=ended)


def _running(life: Life, since: datetime) -> Node:
    job = life.job
    asked = ", to be cancelled" if job.cancel_requested else ""
    note = f"running on {life.worker}: {job.stage or 'assigned'}, step {job.step} of {job.steps}{asked}"
    return Node(name=f"attempt {job.claims}", began_at=since, ended_at=None, note=note)


def _tellings(life: Life) -> Iterator[Node]:
    for told in life.told:
        tries = f"{told.attempts} {'try' if told.attempts == 1 else 'tries'}"
        words = [f"{told.event_type} to {told.host}", told.state.value, tries, *([told.error] if told.error else [])]
        yield Node(name="webhook", began_at=told.created_at, ended_at=told.ended_at, note=", ".join(words))
    if life.untold and life.job.finished_at is not None:
        yield Node(name="webhook", began_at=life.job.finished_at, ended_at=None, note="to be announced")


def _because(what: str, failure: Failure | None) -> str:
    return what if failure is None else f"{what}: {failure.code}, {failure.message}"

"""What a job's watchers hear: a pure function of where it stands and of what they heard last.

Nothing is stored for a watcher. An event's id says how far its hearer has followed the job, so any process can
tell what is new to somebody who comes with an id, and say it from the job's row alone. What came and went between two
readings is not made up for: events tell where a job stands, they are no log.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from orchestrator.domain.job import Job, claim_prefix
from orchestrator.domain.protocol import Stage
from orchestrator.domain.states import JobState

_ID = re.compile(r"(\d{1,9})\.(\d{1,4})\.(\d{1,9})\.([01])", re.ASCII)

# The phases of a claim in their order: the stages of its render, then (with room for more stages) what follows.
_STAGES = {stage.value: number for number, stage in enumerate(Stage, start=1)}
_DENOISING = _STAGES[Stage.DENOISING]
_SETTLED, _HELD, _QUEUED, _ENDED = 90, 91, 92, 93


class Kind(StrEnum):
    """`attempt`: one has begun, or ended. `stage`: the job is somewhere else. `end`: there will be no more events."""

    ATTEMPT = "attempt"
    STAGE = "stage"
    STEP = "step"
    PREVIEW = "preview"
    END = "end"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """How far a job has come, or somebody has followed it. Places of one job are ordered as it goes through them.

    `preview` is 1 once the claim has one. The text of a place is the id of the event that leads there.
    """

    claim: int = 0
    phase: int = 0
    step: int = 0
    preview: int = 0

    def __str__(self) -> str:
        return f"{self.claim}.{self.phase}.{self.step}.{self.preview}"


@dataclass(frozen=True, slots=True)
class Event:
    """One event; `place` is where its hearer has followed the job to."""

    kind: Kind
    place: Place


def parse_id(text: str) -> Place | None:
    """The place that an event's id names; None when it is none."""
    match = _ID.fullmatch(text)
    return Place(*map(int, match.groups())) if match else None


def place_of(job: Job) -> Place:
    """Where a job stands."""
    match job.state:
        case JobState.HELD:
            return Place(job.claims, _HELD)
        case JobState.QUEUED:
            return Place(job.claims, _QUEUED)
        case JobState.RUNNING:
            phase = _STAGES.get(job.stage or Stage.ASSIGNED, _STAGES[Stage.ASSIGNED])
            return Place(job.claims, phase, job.step, int(has_preview(job)))
        case _:
            return Place(job.claims, _ENDED)


def stage_of(job: Job) -> str:
    """The stage of its render, or its state while there is none."""
    return job.stage or Stage.ASSIGNED if job.state is JobState.RUNNING else job.state


def has_preview(job: Job) -> bool:
    """Whether the preview belongs to the render that goes on, and not to an attempt before it."""
    return job.preview is not None and job.preview.key.startswith(claim_prefix(job.id, job.claims))


def gone(known: Place) -> Event:
    """The end of a job that was deleted."""
    return Event(Kind.END, Place(known.claim, _ENDED))


def news(job: Job, known: Place) -> Iterator[Event]:
    """What is new to somebody who has followed the job to `known`, in order; nothing when the job was read too early.

    Whoever takes up again behind any of these events gets just those that follow it.
    """
    now = place_of(job)
    if now <= known:
        return
    at = known
    if now.claim > at.claim:
        at = Place(now.claim)
        yield Event(Kind.ATTEMPT, at)
    if now.claim and at.phase < _SETTLED <= now.phase:
        at = Place(now.claim, _SETTLED)
        yield Event(Kind.ATTEMPT, at)
    stepped = now.step > at.step
    if stepped and now.phase > _DENOISING:  # the last steps came before the stage that it is in now
        at = replace(at, phase=max(at.phase, _DENOISING), step=now.step)
        yield Event(Kind.STEP, at)
    if now.phase > at.phase:
        at = replace(at, phase=now.phase)
        yield Event(Kind.END if now.phase == _ENDED else Kind.STAGE, at)
    if stepped and now.phase <= _DENOISING:
        at = replace(at, step=now.step)
        yield Event(Kind.STEP, at)
    if now.preview > at.preview:
        at = replace(at, preview=1)
        yield Event(Kind.PREVIEW, at)

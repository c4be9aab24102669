"""What a job's watchers hear: a pure function of where it stands and of what they heard last.

Nothing is stored for a watcher. An event's id says how far its hearer has followed the job, so any process can
tell what is new to somebody who comes with an id, and say it from the job's row alone. What came and went between two
readings is not made up for: events tell where a job stands, they are no log.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from enum import StrEnum

from orchestrator.domain.job import Job
from orchestrator.domain.objects import claim_prefix
from orchestrator.domain.protocol import Stage
from orchestrator.domain.states import JobState

_ID = re.compile(r"(\d{1,9})\.([0-4])\.(\d{1,4})\.(\d{1,4})\.(\d{1,9})\.([0-2])\.([01])", re.ASCII)
# Ids of the releases before incidents were told: of them the claim is taken.
_EARLIER_ID = re.compile(r"(\d{1,9})\.\d{1,4}\.\d{1,9}\.[01]", re.ASCII)

# The stages of a render in their order. A preempted one is where it was.
_STAGES = {stage.value: number for number, stage in enumerate(Stage, start=1)}
_ASSIGNED, _DENOISING = _STAGES[Stage.ASSIGNED], _STAGES[Stage.DENOISING]
_STAGES[Stage.PREEMPTED] = _DENOISING

# What follows the render of a claim, and whether it has been told that a denoising render is preempted.
_SETTLED, _HELD, _QUEUED, _ENDED = 1, 2, 3, 4
_PREEMPTED, _GONE_ON = 1, 2


class Kind(StrEnum):
    """What an event tells."""

    # An attempt has begun, or ended.
    ATTEMPT = "attempt"
    # The job is somewhere else.
    STAGE = "stage"
    # More denoise steps are done.
    STEP = "step"
    # There is a frame to look at.
    PREVIEW = "preview"
    # Something befell the render, which goes on.
    INCIDENT = "incident"
    # There will be no more events.
    END = "end"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """How far a job has come, or somebody has followed it. Places of one job are ordered as it goes through them.

    The text of a place is the id of the event that leads there.
    """

    # The job's claims so far.
    claim: int = 0
    # 0 while the claim's render goes on; then `_SETTLED`, and where the job went.
    over: int = 0
    # How many incidents have befallen the render: only with another one may it go back to an earlier stage or step.
    incidents: int = 0
    # The stage's number, as they follow each other.
    stage: int = 0
    # Denoise steps done.
    step: int = 0
    # 1 where it is preempted at its `step`, 2 where that is known to be over.
    pause: int = 0
    # 1 once the claim has one.
    preview: int = 0

    def __str__(self) -> str:
        return ".".join(map(str, astuple(self)))


@dataclass(frozen=True, slots=True)
class Event:
    """One event."""

    kind: Kind
    # Where its hearer has followed the job to.
    place: Place


def parse_id(text: str) -> Place | None:
    """The place that an event's id names; None when it is none."""
    if match := _ID.fullmatch(text):
        return Place(*map(int, match.groups()))
    match = _EARLIER_ID.fullmatch(text)
    return Place(int(match[1])) if match else None


def place_of(job: Job) -> Place:
    """Where a job stands."""
    match job.state:
        case JobState.HELD:
            return Place(job.claims, _HELD)
        case JobState.QUEUED:
            return Place(job.claims, _QUEUED)
        case JobState.RUNNING:
            return Place(
                job.claims,
                incidents=len(job.incidents),
                stage=_STAGES.get(job.stage or Stage.ASSIGNED, _ASSIGNED),
                step=job.step,
                pause=_PREEMPTED if job.stage == Stage.PREEMPTED else 0,
                preview=int(has_preview(job)),
            )
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
    if not now.over:
        yield from _news_of_render(now, at)
        return
    if now.claim and not at.over:
        at = Place(now.claim, _SETTLED)
        yield Event(Kind.ATTEMPT, at)
    if now.over > at.over:
        yield Event(Kind.END if now.over == _ENDED else Kind.STAGE, now)


def _news_of_render(now: Place, at: Place) -> Iterator[Event]:
    """What is new between two places of one claim, both while its render goes on."""
    for number in range(at.incidents + 1, now.incidents + 1):
        back = (at.stage, at.step, at.pause) > (now.stage, now.step, now.pause)
        at = replace(Place(at.claim, preview=at.preview) if back else at, incidents=number)
        yield Event(Kind.INCIDENT, at)
    if now.step > at.step and (now.stage > _DENOISING or now.pause):  # these steps came before the stage that it is in
        at = replace(at, stage=max(at.stage, _DENOISING), step=now.step, pause=0)
        yield Event(Kind.STEP, at)
    if now.stage > at.stage or bool(now.pause) != (at.pause == _PREEMPTED):
        pause = _GONE_ON if now.stage == at.stage and not now.pause else now.pause
        at = replace(at, stage=now.stage, step=min(at.step, now.step), pause=pause)
        yield Event(Kind.STAGE, at)
    if now.step > at.step:
        at = replace(at, step=now.step, pause=0)
        yield Event(Kind.STEP, at)
    if now.preview > at.preview:
        at = replace(at, preview=1)
        yield Event(Kind.PREVIEW, at)

"""What the engine does next: one pure function over what it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class Act(StrEnum):
    """One move. Between two of them the engine may change its mind; within one it cannot."""

    BEGIN = "begin"
    STEP = "step"
    PREVIEW = "preview"
    DECODE = "decode"
    DROP = "drop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A render that needs the GPU: not yet begun, with `steps_left` to denoise, or (0 left) to be decoded.

    One that is not `ready` waits for the picture that it begins at; one that is `preview_due` is far enough to show.
    """

    token: UUID
    ready: bool
    begun: bool
    steps_left: int
    preview_due: bool
    cancelled: bool


@dataclass(frozen=True, slots=True)
class Choice:
    act: Act
    token: UUID


def choose(candidates: Sequence[Candidate], *, finishers_free: int) -> Choice | None:
    """The next move, or None when there is none until something changes. `candidates` are in order of arrival.

    What is cancelled goes first, since it only frees. The render that has begun goes on to its end; it is decoded only
    when a finisher is free to take the frames, so that finished frames never pile up in memory. Whoever is ready begins
    before an earlier one that is not.
    """
    for candidate in candidates:
        if candidate.cancelled:
            return Choice(Act.DROP, candidate.token)
    for candidate in candidates:
        if candidate.begun:
            if candidate.steps_left:
                return Choice(Act.PREVIEW if candidate.preview_due else Act.STEP, candidate.token)
            return Choice(Act.DECODE, candidate.token) if finishers_free else None
    return next((Choice(Act.BEGIN, candidate.token) for candidate in candidates if candidate.ready), None)

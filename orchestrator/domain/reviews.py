"""What people think of a video: an opinion, its versions, and what undoing one goes back to. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from orchestrator.domain.errors import InvalidField, WrongState

MAX_REASON = 500
RATINGS = (1, 5)


class Verdict(StrEnum):
    APPROVE = "approve"
    REJECT = "reject"


class Remedy(StrEnum):
    """What shall become of a video that was rejected."""

    # Rendered again with another seed.
    NEW_SEED = "new_seed"
    # Its row stays without a video.
    DROP = "drop"


class EntryKind(StrEnum):
    """What happened to a review."""

    DECIDED = "decided"
    # Said of a version that was another's by then: it did not count, and is not lost.
    REFUSED = "refused"
    UNDONE = "undone"
    # What was asked for was carried out.
    APPLIED = "applied"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What one says of a video, as a whole; nothing is an opinion, too."""

    rating: int | None = None
    decision: Verdict | None = None
    reason: str | None = None
    action: Remedy | None = None


NOTHING = Opinion()


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """An opinion that holds, and whose it is."""

    job_id: UUID
    # Counts what was said; 0 where nothing was.
    version: int = 0
    opinion: Opinion = NOTHING
    reviewer: str | None = None
    decided_at: datetime | None = None
    # When what was asked for was carried out, and the job that came of it.
    applied_at: datetime | None = None
    applied_as: UUID | None = None
    # Who is about to look at it, for a while.
    held_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A word of a review's history."""

    number: int
    kind: EntryKind
    # That it made; of what was refused, the one that it met.
    version: int
    opinion: Opinion
    reviewer: str
    at: datetime
    # The version that undoing went back to.
    back_to: int | None = None


def checked(opinion: Opinion) -> Opinion:
    """The opinion, complete. Raises `InvalidField` for what contradicts itself."""
    if opinion.rating is not None and not RATINGS[0] <= opinion.rating <= RATINGS[1]:
        raise InvalidField(f"must be between {RATINGS[0]} and {RATINGS[1]}", param="rating")
    if opinion.decision is Verdict.REJECT:
        return replace(opinion, action=opinion.action or Remedy.NEW_SEED)
    if opinion.action is not None:
        raise InvalidField("is for what is rejected", param="action")
    return opinion


def before(entries: Sequence[Entry], version: int) -> tuple[int, Opinion]:
    """What undoing `version` goes back to: a version and its opinion; 0 is nothing said.

    Undoing again goes back further. Raises `WrongState` where nothing is left, or it is not known any more.
    """
    made = {entry.version: entry for entry in entries if entry.kind in (EntryKind.DECIDED, EntryKind.UNDONE)}
    at = _said_at(made, version)
    if at == 0:
        raise WrongState("there is nothing to undo")
    back = _said_at(made, at - 1)
    return back, NOTHING if back == 0 else made[back].opinion


def _said_at(made: Mapping[int, Entry], version: int) -> int:
    """The version whose opinion holds at `version`."""
    while version > 0:
        entry = made.get(version)
        if entry is None:
            raise WrongState("what was said before is not kept any more")
        if entry.back_to is None:
            return version
        version = entry.back_to
    return 0

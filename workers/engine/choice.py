"""What the engine does next: one pure function over what it holds.

What holds, whatever arrives (`tests/unit/workers/test_engine_choice.py`):

- The GPU is given to the most urgent first; among equals to what has begun, and then in order of arrival.
- All begun renders together fit into the memory set aside for them; one alone may always begin.
- Nothing begins past a more urgent render that only waits for memory, and nothing joins a batch past an earlier render
  of another group: both would otherwise wait for ever.
- A begun render is overtaken by at most `MAX_OVERTAKEN` more urgent ones; then it goes on to its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from orchestrator.policy.charge import FINISHERS

# More urgent renders that may begin while a begun one waits: enough for a person's burst, an end in sight for the rest.
MAX_OVERTAKEN: Final = 4

# Renders may step together only when this is equal: everything of them that shapes a step.
BatchKey = tuple[object, ...]


class Act(StrEnum):
    """One move. Between two of them the engine may change its mind; within one it cannot."""

    BEGIN = "begin"
    STEP = "step"
    PREVIEW = "preview"
    CHECKPOINT = "checkpoint"
    DECODE = "decode"
    DROP = "drop"
    EVICT = "evict"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A render that needs the GPU: not yet begun, with `steps_left` to denoise, or (0 left) to be decoded.

    One that is not `ready` waits for what it begins with; one that is `preview_due` is far enough to show. One that is
    `evicted` is to leave with a checkpoint. `overtaken` counts the more urgent ones that have begun since it has.
    `finishing` counts its tenant's renders whose frames are being finished. Begun, it holds `size` bytes of device
    memory. Renders of an equal `group` may step together; None never does.
    """

    token: UUID
    priority: int
    ready: bool
    begun: bool
    steps_left: int
    size: int = 0
    group: BatchKey | None = None
    overtaken: int = 0
    preview_due: bool = False
    checkpoint_due: bool = False
    cancelled: bool = False
    evicted: bool = False
    finishing: int = 0

    @property
    def stalled(self) -> bool:
        """True when it waits for its own tenant's other renders to be finished."""
        return self.begun and self.steps_left == 0 and self.finishing >= FINISHERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What one worker may hold: renders that step together, and bytes of device memory that begun ones share."""

    batch_size: int = 1
    park_bytes: int = 2 << 30


@dataclass(frozen=True, slots=True)
class Choice:
    """`tokens` are one render's, but for a batch that steps."""

    act: Act
    tokens: tuple[UUID, ...]


def choose(candidates: Sequence[Candidate], capacity: Capacity, *, places_free: int) -> Choice | None:
    """The next move, or None when there is none until something changes. `candidates` are in order of arrival.

    What is cancelled or evicted goes first, since it only frees. A denoised render is decoded only when there is a
    place for its frames (`finishers.py`), so that finished frames never pile up in memory; meanwhile the next may step.
    Of equally urgent ones that tenant's comes first of whom the least is being finished. Whoever is ready begins before
    an earlier one that is not.
    """
    for candidate in candidates:
        if candidate.begun and (candidate.cancelled or candidate.evicted):
            return Choice(Act.DROP if candidate.cancelled else Act.EVICT, (candidate.token,))
    nothing_begins = False
    for candidate in sorted(candidates, key=_order):
        if candidate.begun and candidate.steps_left:
            return _step(candidate, candidates, capacity)
        if candidate.begun and places_free and not candidate.stalled:
            return Choice(Act.DECODE, (candidate.token,))
        if not candidate.begun and candidate.ready and not nothing_begins:
            if _may_begin(candidate, candidates, capacity):
                return Choice(Act.BEGIN, (candidate.token,))
            nothing_begins = True
    return None


def _order(one: Candidate) -> tuple[int, bool, bool, int]:
    return one.priority, not one.begun, one.steps_left > 0, 0 if one.steps_left else one.finishing


def interrupts(candidates: Sequence[Candidate], capacity: Capacity) -> int | None:
    """The priority number that a newcomer must be below to be the next to step; None when none would be.

    That is the most urgent one's that has begun and goes on, as long as one more (no larger than the largest) fits into
    memory, it has not been overtaken too often, and nobody waits already to interrupt it.
    """
    begun = [candidate for candidate in candidates if candidate.begun and not candidate.stalled]
    if not begun:
        return None
    most_urgent = min(candidate.priority for candidate in begun)
    largest = max(candidate.size for candidate in begun)
    awaited = any(not candidate.begun and candidate.priority < most_urgent for candidate in candidates)
    overtaken = any(candidate.overtaken >= MAX_OVERTAKEN for candidate in begun)
    return None if awaited or overtaken or not _fits(largest, candidates, capacity) else most_urgent


def joinable(candidates: Sequence[Candidate], capacity: Capacity) -> bool:
    """True when one more would step along at once, if it is of the only group that there is."""
    groups = {candidate.group for candidate in candidates}
    return len(candidates) < capacity.batch_size and len(groups) == 1 and None not in groups


def _step(lead: Candidate, candidates: Sequence[Candidate], capacity: Capacity) -> Choice:
    """What `lead`, which is next, and those that step with it do: take a newcomer along, be seen, be saved, or step."""
    batch = [lead, *(mate for mate in candidates if mate is not lead and mate.begun and _together(lead, mate))]
    del batch[capacity.batch_size :]
    if len(batch) < capacity.batch_size and (newcomer := _joining(lead, candidates, capacity)):
        return Choice(Act.BEGIN, (newcomer.token,))
    for candidate in batch:
        if candidate.preview_due:
            return Choice(Act.PREVIEW, (candidate.token,))
        if candidate.checkpoint_due:
            return Choice(Act.CHECKPOINT, (candidate.token,))
    return Choice(Act.STEP, tuple(candidate.token for candidate in batch))


def _together(lead: Candidate, mate: Candidate) -> bool:
    # Not with a less urgent one: the larger a batch is, the longer its step takes.
    same_group = lead.group is not None and lead.group == mate.group
    return same_group and lead.priority == mate.priority and mate.steps_left > 0


def _joining(lead: Candidate, candidates: Sequence[Candidate], capacity: Capacity) -> Candidate | None:
    """The first to arrive of those that wait and are as urgent as `lead`, if it is one to step with."""
    waiting = (one for one in candidates if not one.begun and one.ready and one.priority <= lead.priority)
    first = next(waiting, None)
    return first if first and _together(lead, first) and _may_begin(first, candidates, capacity) else None


def _may_begin(newcomer: Candidate, candidates: Iterable[Candidate], capacity: Capacity) -> bool:
    overtakes = (one for one in candidates if one.begun and one.priority > newcomer.priority and not one.stalled)
    patient = all(one.overtaken < MAX_OVERTAKEN for one in overtakes)
    return patient and _fits(newcomer.size, candidates, capacity)


def _fits(size: int, candidates: Iterable[Candidate], capacity: Capacity) -> bool:
    held = [candidate.size for candidate in candidates if candidate.begun]
    return not held or sum(held) + size <= capacity.park_bytes

"""Who is next in the queue, caps included: the policy of a claim in plain Python.

`store/claim.py` carries it out in one statement, over rows; tests/simulation/test_fair_share.py holds the statement to
what is said here. Pauses, and workers that are dead by their row, are the statement's alone. Pure: this is what to
read, to argue about and to simulate.

Start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996) over predicted GPU seconds. What one tenant has waiting in
one pool at one priority is a lane. A lane's virtual time is the GPU seconds that it was charged, divided by its weight;
of two lanes the one that had less goes first. Priority goes before fairness.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import nsmallest
from itertools import islice
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A job that is ready to be claimed."""

    id: UUID
    # Predicted GPU seconds.
    cost: float
    # Seconds of any clock. Within a lane the earliest goes first, and among equals the oldest id.
    deadline: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """What one tenant has waiting in one pool at one priority."""

    tenant: str
    # 0 is the most urgent.
    priority: int
    # Twice the weight, twice the GPU seconds.
    weight: float = 1.0
    # GPU seconds that it was charged, divided by its weight.
    vtime: float = 0.0
    # The greatest start tag of its jobs that were claimed.
    served: float = 0.0
    # Had something to give when a claim last looked.
    active: bool = False
    # In any order.
    jobs: tuple[Waiting, ...] = ()

    @property
    def key(self) -> tuple[int, str]:
        return self.priority, self.tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """A job that was given out."""

    tenant: str
    priority: int
    job: Waiting
    # Its start tag: the virtual time at which its lane comes to it.
    tag: float


def claim(
    lanes: Sequence[Lane], slots: int, *, room: Mapping[str, int] | None = None, more_urgent_than: float = math.inf
) -> tuple[list[Pick], list[Lane]]:
    """Give out jobs for so many slots; the jobs, in their order, and every lane as it is afterwards.

    `room` is how many more jobs each capped tenant may run; the others are not in it, and it is None where nobody is
    capped. Lanes of a priority number that is not below `more_urgent_than` are left alone.
    """
    ours = [lane for lane in lanes if lane.priority < more_urgent_than]
    others = [lane for lane in lanes if lane.priority >= more_urgent_than]
    if room is None:
        picks, ours = _look(ours, slots, {})
        return picks, ours + others
    # What one tenant may not take is the others': look again until nothing is found for what is left.
    given: list[Pick] = []
    left = dict(room)
    while len(given) < slots:
        picks, ours = _look(ours, slots - len(given), left)
        if not picks:
            break
        given += picks
        for pick in picks:
            if pick.tenant in left:
                left[pick.tenant] -= 1
    return given, ours + others


def correct(lane: Lane, *, predicted_s: float, used_s: float) -> Lane:
    """A lane whose job has ended: the claim charged the prediction, the lane pays what was used, in GPU seconds."""
    return replace(lane, vtime=lane.vtime + (used_s - predicted_s) / lane.weight)


def _look(lanes: Sequence[Lane], slots: int, room: Mapping[str, int]) -> tuple[list[Pick], list[Lane]]:
    """One look at the queue, as far as it takes to fill the slots if nobody is capped."""
    clocks = _clocks(lanes)
    start = {lane.key: lane.vtime if lane.active else max(lane.vtime, clocks[lane.priority]) for lane in lanes}
    # Among equals a lane that wakes up goes first: busy lanes that keep reaching the clock must not hold it up.
    places = sorted(lanes, key=lambda lane: (lane.priority, start[lane.key], lane.active, lane.tenant))
    front = list(islice((lane for lane in places if lane.jobs and room.get(lane.tenant, 1) > 0), slots))
    offers = [
        ((lane.priority, pick.tag, place), pick)
        for place, lane in enumerate(front)
        for pick in _offers(lane, start[lane.key], slots)
    ]
    seen = places
    if len(front) == slots:
        # Lanes behind the front were not looked at. None comes before the first job of the front's last lane.
        last = (front[-1].priority, start[front[-1].key], slots - 1)
        offers = [(order, pick) for order, pick in offers if order <= last]
        seen = places[: places.index(front[-1]) + 1]
    picks: list[Pick] = []
    taken: defaultdict[str, int] = defaultdict(int)
    for _, pick in sorted(offers, key=lambda offer: offer[0]):
        if len(picks) < slots and taken[pick.tenant] < room.get(pick.tenant, slots):
            picks.append(pick)
            taken[pick.tenant] += 1
    looked = {lane.key: _charged(lane, start[lane.key], lane in front, picks) for lane in seen}
    return picks, [looked.get(lane.key, lane) for lane in lanes]


def _clocks(lanes: Sequence[Lane]) -> dict[int, float]:
    """The virtual time at which a lane of each priority wakes up, so that idling saves nothing up.

    It is the start tag that was served last, or less where finishes gave time back: the least time of an active lane.
    """
    same: defaultdict[int, list[Lane]] = defaultdict(list)
    for lane in lanes:
        same[lane.priority].append(lane)
    return {
        priority: min(
            max(lane.served for lane in of_it),
            min((lane.vtime for lane in of_it if lane.active), default=max(lane.vtime for lane in of_it)),
        )
        for priority, of_it in same.items()
    }


def _offers(lane: Lane, start: float, most: int) -> Iterator[Pick]:
    """A lane's first jobs, each with its start tag."""
    before = 0.0
    for job in nsmallest(most, lane.jobs, key=lambda job: (job.deadline, job.id)):
        yield Pick(tenant=lane.tenant, priority=lane.priority, job=job, tag=start + before / lane.weight)
        before += job.cost


def _charged(lane: Lane, start: float, waits: bool, picks: Sequence[Pick]) -> Lane:
    """A lane that was looked at: it pays for what it won, at once, and is active while it has something to give."""
    won = [pick for pick in picks if (pick.priority, pick.tenant) == lane.key]
    if lane.active == waits and not won:
        return lane
    gone = {pick.job.id for pick in won}
    return replace(
        lane,
        vtime=(lane.vtime if lane.active else start) + sum(pick.job.cost for pick in won) / lane.weight,
        served=max([lane.served, *(pick.tag for pick in won)]),
        active=waits,
        jobs=tuple(job for job in lane.jobs if job.id not in gone),
    )

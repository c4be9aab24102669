"""Who is next in the queue, caps and guarantees included: the policy of a claim in plain Python.

`store/claim.py` carries it out in one statement, over rows; tests/simulation/test_fair_share.py holds the statement to
what is said here. Pauses, and workers that are dead by their row, are the statement's alone. Pure: this is what to
read, to argue about and to simulate.

Start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996) over predicted charges (`charge.py`). What one tenant has
waiting in one pool at one priority is a lane. A lane's virtual time is what it was charged, divided by its weight; of
two lanes the one that had less goes first. Priority goes before fairness.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from orchestrator.domain.request import DEFAULT_PRIORITY
from orchestrator.policy.line import Line, Waiting

__all__ = ["URGENT", "Lane", "Line", "Pick", "Waiting", "claim", "correct"]

# Priority numbers below it, that of a request that says nothing, are more urgent than usual: they go before guarantees.
URGENT = DEFAULT_PRIORITY


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """What one tenant has waiting in one pool at one priority."""

    tenant: str
    # 0 is the most urgent.
    priority: int
    # Twice the weight, twice the share.
    weight: float = 1.0
    # What it was charged, divided by its weight.
    vtime: float = 0.0
    # The greatest start tag of its jobs that were claimed.
    served: float = 0.0
    # Had something to give when a claim last looked.
    active: bool = False
    jobs: Line = field(default_factory=Line)

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
    lanes: Sequence[Lane],
    slots: int,
    *,
    room: Mapping[str, int] | None = None,
    deficits: Mapping[str, int] | None = None,
    more_urgent_than: float = math.inf,
) -> tuple[list[Pick], list[Lane]]:
    """Give out jobs for so many slots; the jobs, in their order, and every lane as it is afterwards.

    `room` is how many more jobs each capped tenant may run here; the others are not in it. `deficits` is how many each
    tenant runs here less than it is guaranteed. Both are None where nobody has such a thing: then one look is enough.
    Lanes of a priority number that is not below `more_urgent_than` are left alone.

    What is more urgent than usual (`URGENT`) goes first, so that a guarantee never holds up what somebody asked for at
    once. Then come tenants below their guarantee, with as many jobs as they lack. What is left is dealt by fair share,
    where what they had by their guarantee counts: it is a floor and no gift.
    """
    ours = [lane for lane in lanes if lane.priority < more_urgent_than]
    others = [lane for lane in lanes if lane.priority >= more_urgent_than]
    if room is None and deficits is None:
        picks, ours = _look(ours, slots, {}, {})
        return picks, ours + others
    # What one tenant may not take is the others': look again until nothing is found for what is left.
    given: list[Pick] = []
    left, lacking = dict(room or {}), dict(deficits or {})
    while len(given) < slots:
        picks, ours = _look(ours, slots - len(given), left, lacking)
        if not picks:
            break
        given += picks
        for pick in picks:
            for counts in (left, lacking):
                if pick.tenant in counts:
                    counts[pick.tenant] -= 1
    return given, ours + others


def correct(lane: Lane, *, predicted_s: float, used_s: float) -> Lane:
    """A lane whose job has ended: the claim charged the prediction, the lane pays the charge of what was used."""
    return replace(lane, vtime=lane.vtime + (used_s - predicted_s) / lane.weight)


def _look(
    lanes: Sequence[Lane], slots: int, room: Mapping[str, int], lacking: Mapping[str, int]
) -> tuple[list[Pick], list[Lane]]:
    """One look at the queue, as far as it takes to fill the slots if nobody is capped or below its guarantee."""
    clocks = _clocks(lanes)
    start = {lane.key: lane.vtime if lane.active else max(lane.vtime, clocks[lane.priority]) for lane in lanes}
    tier = {lane.key: _tier(lane, lacking) for lane in lanes}
    # Among equals a lane that wakes up goes first: busy lanes that keep reaching the clock must not hold it up.
    places = sorted(lanes, key=lambda lane: (tier[lane.key], lane.priority, start[lane.key], lane.active, lane.tenant))
    front = list(islice((lane for lane in places if lane.jobs and room.get(lane.tenant, 1) > 0), slots))
    # Who has fair shares is seen once nobody lacks anything: the next look knows what each has had by then.
    dealt = [lane for lane in front if tier[lane.key] < 2 or all(tier[each.key] != 1 for each in front)]
    offers = [
        ((tier[lane.key], lane.priority, pick.tag, place), pick)
        for place, lane in enumerate(dealt)
        for pick in _offers(lane, start[lane.key], slots)
    ]
    seen = places
    if len(front) == slots:
        # Lanes behind the front were not looked at. None comes before the first job of the front's last lane.
        last = (tier[front[-1].key], front[-1].priority, start[front[-1].key], slots - 1)
        offers = [(order, pick) for order, pick in offers if order <= last]
        seen = places[: places.index(front[-1]) + 1]
    picks: list[Pick] = []
    taken: defaultdict[str, int] = defaultdict(int)
    for (of_tier, *_), pick in sorted(offers, key=lambda offer: offer[0]):
        most = room.get(pick.tenant, slots)
        if of_tier == 1:
            most = min(most, lacking[pick.tenant])
        if len(picks) < slots and taken[pick.tenant] < most:
            picks.append(pick)
            taken[pick.tenant] += 1
    waits = {lane.key for lane in front}
    looked = {lane.key: _charged(lane, start[lane.key], lane.key in waits, picks) for lane in seen}
    return picks, [looked.get(lane.key, lane) for lane in lanes]


def _tier(lane: Lane, lacking: Mapping[str, int]) -> int:
    """0: more urgent than usual; 1: of a tenant below its guarantee; 2: all others."""
    if lane.priority < URGENT:
        return 0
    return 1 if lacking.get(lane.tenant, 0) > 0 else 2


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
    for job in lane.jobs.first(most):
        yield Pick(tenant=lane.tenant, priority=lane.priority, job=job, tag=start + before / lane.weight)
        before += job.cost


def _charged(lane: Lane, start: float, waits: bool, picks: Sequence[Pick]) -> Lane:
    """A lane that was looked at: it pays for what it won, at once, and is active while it has something to give."""
    won = [pick for pick in picks if (pick.priority, pick.tenant) == lane.key]
    if lane.active == waits and not won:
        return lane
    return replace(
        lane,
        vtime=(lane.vtime if lane.active else start) + sum(pick.job.cost for pick in won) / lane.weight,
        served=max([lane.served, *(pick.tag for pick in won)]),
        active=waits,
        jobs=lane.jobs.after(len(won)),  # a lane wins its first ones
    )

"""When work is done on shared workers, as a fluid: rates that change when something begins or ends, no single renders.

What a million rows take is one number here. A pool's workers go to the most urgent priority first; within it they are
shared between tenants by weight (`fair_share.py`), and a tenant's share evenly between what it has there; nobody has
more of them than it may.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# What is left of work that a rounding error has not finished, in GPU seconds.
_NOTHING = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Work of one tenant at one priority, which any number of workers may share."""

    tenant: str
    # 0 is the most urgent.
    priority: int
    # GPU seconds on a worker of speed 1.
    seconds: float
    # The tenant's.
    weight: float = 1.0
    # Workers that it may have at once.
    most: float = math.inf
    # Seconds from now.
    begins_s: float = 0.0
    # It rests while the pool is closed.
    closes: bool = False


@dataclass(frozen=True, slots=True)
class Stage:
    """What a pool has from a moment on."""

    # Seconds from now; the first one begins at 0.
    at_s: float
    # Workers, as a mean: a fraction of one is one that is there now and then.
    workers: float
    # GPU seconds that one of them does in a second.
    speed: float = 1.0
    closed: bool = False


# Of one priority, the most urgent first: the place of each flow, its weight, and the most workers that it may have; who
# reaches that first, as all get more, comes first.
_Ranks = Sequence[Sequence[tuple[int, float, float]]]


def play(flows: Sequence[Flow], stages: Sequence[Stage], *, until_s: float = math.inf) -> list[float]:
    """When each of these is done, in seconds from now; infinite when it never is, or not by `until_s`."""
    ends = [math.inf if flow.seconds > 0 else 0.0 for flow in flows]
    left = [flow.seconds for flow in flows]
    coming = [each for each, flow in enumerate(flows) if flow.seconds > 0 and flow.most > 0]
    coming.sort(key=lambda each: flows[each].begins_s, reverse=True)
    here: list[int] = []
    ranks: dict[bool, _Ranks] = {}
    now, stage = 0.0, 0
    while (here or coming) and now < until_s:
        while coming and flows[coming[-1]].begins_s <= now:
            here.append(coming.pop())
            ranks = {}
        while stage + 1 < len(stages) and stages[stage + 1].at_s <= now:
            stage += 1
        closed = stages[stage].closed
        if closed not in ranks:
            ranks[closed] = ranked(flows, [each for each in here if not (closed and flows[each].closes)])
        rates = share(ranks[closed], stages[stage])
        following = stages[stage + 1].at_s if stage + 1 < len(stages) else math.inf
        if coming:
            following = min(following, flows[coming[-1]].begins_s)
        step = min([following - now, *[left[each] / rate for each, rate in rates]])
        if step == math.inf:
            break
        now = following if step == following - now else now + step
        done = set()
        for each, rate in rates:
            left[each] -= rate * step
            if left[each] <= _NOTHING:
                ends[each] = now
                done.add(each)
        if done:
            here, ranks = [each for each in here if each not in done], {}
    return [end if end <= until_s else math.inf for end in ends]


def ranked(flows: Sequence[Flow], here: Iterable[int]) -> _Ranks:
    """Those of some flows, by their places, that are at each priority."""
    classes: defaultdict[int, list[int]] = defaultdict(list)
    for each in here:
        classes[flows[each].priority].append(each)
    found = []
    for priority in sorted(classes):
        tenants = Counter(flows[each].tenant for each in classes[priority])
        weights = {each: flows[each].weight / tenants[flows[each].tenant] for each in classes[priority]}
        of_it = sorted(classes[priority], key=lambda each: (flows[each].most / weights[each], each))
        found.append([(each, weights[each], flows[each].most) for each in of_it])
    return found


def share(ranks: _Ranks, stage: Stage) -> list[tuple[int, float]]:
    """GPU seconds in a second of those flows, by their places, that have any: what one may not have is the others'."""
    free, speed = stage.workers, stage.speed
    rates: list[tuple[int, float]] = []
    for equals in ranks:
        weights = sum([weight for _, weight, _ in equals])
        for place, (each, weight, most) in enumerate(equals):
            if free <= _NOTHING:
                return rates
            if most * weights >= free * weight:  # then nobody behind it reaches its bound, either
                level = free / weights * speed
                return [*rates, *[(each, weight * level) for each, weight, _ in equals[place:]]]
            rates.append((each, most * speed))
            free, weights = free - most, weights - weight
    return rates

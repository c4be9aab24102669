"""When work is done on shared workers, as a fluid: rates that change when something begins or ends, no single renders.

What a million rows take is one number here. A pool's workers go to the most urgent priority first; within it they are
shared between tenants by weight (`fair_share.py`), and a tenant's share evenly between what it has there, but for what
its deadlines need (`levels.py`); nobody has more of them than it may.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.policy.levels import Part, divided

# What is left of work that a rounding error has not finished, in GPU seconds.
_NOTHING = 1e-6
# What is due is looked at again after such a part of the time until then, and not more often than that; and when there
# are more or fewer workers by such a part.
_AGAIN, _LEAST_S, _OTHERS = 1 / 2, 120.0, 0.25


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
    # Those that it may have at first; each of its renders that ends adds one (`window.slow_start`).
    first: float = math.inf
    # What one of its renders takes, where there is a first.
    render_s: float = 0.0
    # Seconds from now.
    begins_s: float = 0.0
    # When it should be done: beside others of its tenant it has what it needs for that.
    due_s: float = math.inf
    # It rests while the pool is closed.
    closes: bool = False
    # When so many of its seconds are done is noted, in ascending order.
    marks: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What some flows may use together, in their seconds; they rest while nothing is left of it."""

    # By their places.
    flows: frozenset[int]
    room: float
    # Seconds from now, ascending, when it is filled anew, and what with.
    renewals: Sequence[float] = ()
    amount: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What came of some flows, in seconds from now; infinite is never."""

    ends: list[float]
    # When each account was used up for the first time.
    spent: list[float]
    # When each mark of each flow was reached.
    marks: list[list[float]]


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
    return played(flows, stages, until_s=until_s).ends


def played(
    flows: Sequence[Flow], stages: Sequence[Stage], accounts: Sequence[Account] = (), *, until_s: float = math.inf
) -> Played:
    """The same with all that is to be told of it, and within what may be used."""
    ends = [math.inf if flow.seconds > 0 else 0.0 for flow in flows]
    left = [flow.seconds for flow in flows]
    growing = _Growing(flows, stages)
    purses, needs = _Purses(accounts), _Needs(flows)
    marks: list[list[float]] = [[] for _ in flows]
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
        if purses.renewed(now) or needs.changed(now, stages[stage]):
            ranks = {}
        if closed not in ranks:
            may = [each for each in here if not (closed and flows[each].closes) and each not in purses.resting]
            ranks[closed] = ranked(flows, may, growing.mosts, needs.parts(may, left, now, stages[stage]))
        rates = share(ranks[closed], stages[stage])
        following = min(stages[stage + 1].at_s if stage + 1 < len(stages) else math.inf, purses.following)
        following = min(following, needs.following)
        if coming:
            following = min(following, flows[coming[-1]].begins_s)
        floors, following = growing.floors, min(following, now + purses.lasts(rates))
        step = min([following - now, *[(left[each] - floors[each]) / rate for each, rate in rates]])
        if step == math.inf:
            break
        before, now = now, following if step == following - now else now + step
        done = set()
        for each, rate in rates:
            if flows[each].marks:
                _mark(marks[each], flows[each], left[each], rate, before, step)
            left[each] -= rate * step
            if left[each] <= floors[each] + _NOTHING:
                if growing.grown(each):
                    ranks = {}
                    continue
                ends[each] = now
                done.add(each)
        if done:
            here, ranks = [each for each in here if each not in done], {}
        if purses.used(step, now):
            ranks = {}
    for found, flow in zip(marks, flows, strict=True):
        found += [math.inf] * (len(flow.marks) - len(found))
    return Played(ends=[end if end <= until_s else math.inf for end in ends], spent=purses.spent, marks=marks)


def _mark(found: list[float], flow: Flow, left: float, rate: float, now: float, step: float) -> None:
    """Note the marks that a flow comes to within a step."""
    served = flow.seconds - left
    while len(found) < len(flow.marks) and flow.marks[len(found)] <= served + rate * step + _NOTHING:
        found.append(now + max(0.0, flow.marks[len(found)] - served) / rate)


class _Growing:
    """How many workers each flow may have now: with each round of renders that succeeds, twice as many."""

    def __init__(self, flows: Sequence[Flow], stages: Sequence[Stage]) -> None:
        self._flows = flows
        self._workers = max((stage.workers for stage in stages), default=0.0)
        self._level = [flow.first for flow in flows]
        self.mosts = [flow.most for flow in flows]
        # What is left of each when it may have more; 0 for what has all that it may.
        self.floors = [0.0] * len(flows)
        for each in range(len(flows)):
            self._set(each)

    def grown(self, each: int) -> bool:
        """Whether it may have more from now on, instead of being done."""
        if not self.floors[each]:
            return False
        self._level[each] *= 2
        self._set(each)
        return True

    def _set(self, each: int) -> None:
        flow, level = self._flows[each], self._level[each]
        floor = flow.seconds - (level - flow.first + level) * flow.render_s if level < math.inf else 0.0
        if level >= min(flow.most, self._workers) or floor <= _NOTHING:
            self.mosts[each], self.floors[each] = flow.most, 0.0
            if level < flow.most and level < self._workers:  # it ends in this round
                self.mosts[each] = level
        else:
            self.mosts[each], self.floors[each] = level, floor


class _Needs:
    """Which part of its tenant's share each flow has where some of them are due; looked at again as that comes nearer.

    Until then it has as great a part, of a share that may be another one by little.
    """

    def __init__(self, flows: Sequence[Flow]) -> None:
        self._flows = flows
        self._due = any(flow.due_s < math.inf for flow in flows)
        self._here: list[int] = []
        self._stage = Stage(0.0, 0.0)
        self._parts: dict[int, float] = {}
        # When the parts are to be looked at again.
        self.following = math.inf

    def changed(self, now: float, stage: Stage) -> bool:
        """Whether they are to be looked at now."""
        known = self._stage
        other = stage.closed != known.closed or abs(stage.workers - known.workers) > _OTHERS * known.workers
        return self._due and (now >= self.following or other)

    def parts(self, here: list[int], left: Sequence[float], now: float, stage: Stage) -> Mapping[int, float]:
        """Those of flows that have rivals which are due, by their places."""
        if not self._due or (here == self._here and not self.changed(now, stage)):
            return self._parts
        self._here, self._stage, self._parts, self.following = here, stage, {}, math.inf
        flows, speed = self._flows, stage.speed
        groups: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
        for each in here:
            groups[flows[each].priority, flows[each].tenant].append(each)
        rivals = [group for group in groups.values() if len(group) > 1]
        dues = [due for group in rivals for each in group if now < (due := flows[each].due_s) < math.inf]
        if not dues:
            return self._parts
        self.following = now + min(min(dues) - now, max(_LEAST_S, (min(dues) - now) * _AGAIN))
        rates = dict(share(ranked(flows, here), stage))
        for group in rivals:
            total = sum(rates.get(each, 0.0) for each in group)
            if total > _NOTHING:
                in_s = [flows[each].due_s - now for each in group]
                these = [
                    Part(flows[each].most * speed, left[each] / until if until > 0 else 0.0, until)
                    for each, until in zip(group, in_s, strict=True)
                ]
                found = divided(total, these, worker=speed)
                self._parts.update((each, rate / total) for each, rate in zip(group, found, strict=True))
        return self._parts


class _Purses:
    """What is left of accounts, and which flows rest since nothing is."""

    def __init__(self, accounts: Sequence[Account]) -> None:
        self._accounts = accounts
        self._of: defaultdict[int, list[int]] = defaultdict(list)
        for place, account in enumerate(accounts):
            for each in account.flows:
                self._of[each].append(place)
        self._rooms = [account.room for account in accounts]
        self._turns = [0] * len(accounts)
        # When the next one is filled anew.
        self.following = math.inf
        self.spent = [math.inf if account.room > _NOTHING else 0.0 for account in accounts]
        self.resting: frozenset[int] = frozenset()
        # What is taken from each in a second: of those from which anything is.
        self._drains: dict[int, float] = {}
        self._rest()

    def renewed(self, now: float) -> bool:
        """Fill what is due; whether anything was."""
        if now < self.following:
            return False
        for place, account in enumerate(self._accounts):
            while self._turns[place] < len(account.renewals) and account.renewals[self._turns[place]] <= now:
                self._turns[place] += 1
                self._rooms[place] = account.amount
        self._rest()
        return True

    def lasts(self, rates: Sequence[tuple[int, float]]) -> float:
        """Until the next account is used up, at these rates."""
        if not self._of:
            return math.inf
        self._drains = defaultdict(float)
        for each, rate in rates:
            for place in self._of.get(each, ()):
                self._drains[place] += rate
        return min((self._rooms[place] / drain for place, drain in self._drains.items()), default=math.inf)

    def used(self, step: float, now: float) -> bool:
        """Take what was used at those rates; whether an account is used up by that."""
        empty = []
        for place, drain in self._drains.items():
            self._rooms[place] -= drain * step
            if self._rooms[place] <= _NOTHING:
                self.spent[place] = min(self.spent[place], now)
                empty.append(place)
        if empty:
            self._rest()
        return bool(empty)

    def _rest(self) -> None:
        empty = [account for account, room in zip(self._accounts, self._rooms, strict=True) if room <= _NOTHING]
        self.resting = frozenset[int]().union(*(account.flows for account in empty))
        turns = zip(self._accounts, self._turns, strict=True)
        self.following = min((of.renewals[turn] for of, turn in turns if turn < len(of.renewals)), default=math.inf)


def ranked(
    flows: Sequence[Flow],
    here: Iterable[int],
    mosts: Sequence[float] | None = None,
    parts: Mapping[int, float] | None = None,
) -> _Ranks:
    """Those of some flows, by their places, that are at each priority.

    `mosts` is what each may have now; `parts`, of its tenant's share, is an equal one where nothing is said.
    """
    said = parts or {}
    bounds = [flow.most for flow in flows] if mosts is None else mosts
    classes: defaultdict[int, list[int]] = defaultdict(list)
    for each in here:
        classes[flows[each].priority].append(each)
    found = []
    for priority in sorted(classes):
        tenants = Counter(flows[each].tenant for each in classes[priority])
        weights = {
            each: flows[each].weight * said[each] if each in said else flows[each].weight / tenants[flows[each].tenant]
            for each in classes[priority]
        }
        of_it = sorted(classes[priority], key=lambda each: (bounds[each] / weights[each], each))
        found.append([(each, weights[each], bounds[each]) for each in of_it])
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

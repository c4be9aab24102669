"""How many workers of each kind a pool should have now, decided by what waits and when it is due; by no forecast.

What is wanted is a rate: seconds of the reference kind's work in a second. The cheapest kinds that do it come first.
Three rules keep the number still. Within a band around the wanted rate nothing changes: it is met up to `band` below,
and no worker is too many up to `slack` above, so that a demand that varies by a tenth around its mean lets nobody go,
and adds workers at most five times. What is too many has to be so for a while without a break, and only what was too
many all the time goes. And whoever has work stays, unless cheaper workers that are ready do it in time.

An idle worker is kept as long as its start would take, at least: nobody can do better than half of that without
knowing what comes (Karlin, Manasse, Rudolph, Sleator: Competitive snoopy caching, 1988).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from orchestrator.policy.demand import Demand
from orchestrator.policy.kinds import Bounds, Kind, Standing, cheapest_first, cover
from orchestrator.policy.trust import KindMemory, Memory, ScalingRules, judged


@dataclass(frozen=True, slots=True)
class Scale:
    """So many more workers of a kind, or fewer if below zero.

    What goes is first what was requested and never heard of, the oldest first; then what loses the least.
    """

    kind: str
    change: int
    why: str


def wanted_rate(demand: Demand, rules: ScalingRules) -> float:
    """Reference seconds in a second that the pool should do."""
    dated = demand.required_rate * rules.headroom + demand.urgent_s / rules.urgent_within_s
    return max(dated, (demand.backlog_s - demand.due_s) / rules.clear_s)


def decide(
    standings: Sequence[Standing], demand: Demand, bounds: Bounds, rules: ScalingRules, memory: Memory, now: float
) -> tuple[list[Scale], Memory]:
    """What to change, and what to remember until the next decision. `now` is in monotonic seconds.

    Never beyond a kind's `most` or the bounds, in which workers that drain count. A cap that has become lower takes
    hold at once; before `least`, too.
    """
    known, scales = dict[str, KindMemory](), list[Scale]()
    here = list[Standing]()
    for standing in standings:
        name = standing.kind.name
        known[name], late, why = judged(standing, rules, memory.of(name), now)
        withdrawn = [Scale(name, -late, why)] if late else []
        scales += withdrawn
        here.append(_after(standing, withdrawn))
    cut = _within_caps(here, bounds)
    scales += cut
    here = [_after(standing, cut) for standing in here]
    plan = _Plan(here, demand, bounds, rules, known, now)
    grown = plan.growth()
    shrunk, known = plan.shrinkage()
    return [*scales, *grown, *shrunk], Memory(known)


def _after(standing: Standing, scales: Iterable[Scale]) -> Standing:
    """A kind's workers after these withdrawals: what was never heard of goes first, and leaves nothing to drain."""
    fewer = -sum(scale.change for scale in scales if scale.kind == standing.kind.name)
    gone = min(fewer, standing.requested)
    starting = min(fewer - gone, standing.starting)
    ready = fewer - gone - starting
    return replace(
        standing,
        requested=standing.requested - gone,
        starting=standing.starting - starting,
        ready=standing.ready - ready,
        draining=standing.draining + starting + ready,
        ages=sorted(standing.ages, reverse=True)[gone:],
    )


def _within_caps(standings: Sequence[Standing], bounds: Bounds) -> list[Scale]:
    """Let go what is beyond a kind's most or the caps, the dearest first. What drains is as good as gone."""
    over, left = list[Scale](), bounds
    by_price = {kind.name: place for place, kind in enumerate(cheapest_first(each.kind for each in standings))}
    for standing in sorted(standings, key=lambda each: by_price[each.kind.name]):
        kind = standing.kind
        stays = int(min(standing.present, kind.most, left.room(kind)))
        left = left.without(kind, stays)
        if stays < standing.present:
            what = f"at most {kind.most}" if stays == kind.most else "the caps in GPUs and money"
            over.append(Scale(kind.name, stays - standing.present, f"more than {what} allow"))
    return over


class _Plan:
    """One decision under way."""

    def __init__(
        self,
        standings: Sequence[Standing],
        demand: Demand,
        bounds: Bounds,
        rules: ScalingRules,
        known: dict[str, KindMemory],
        now: float,
    ) -> None:
        self._standings = {standing.kind.name: standing for standing in standings}
        self._kinds = cheapest_first(standing.kind for standing in standings)
        self._demand = demand
        self._bounds = bounds
        self._rules = rules
        self._known = known
        self._now = now
        self._rate = wanted_rate(demand, rules)
        self._limits = {kind.name: self._limit(kind) for kind in self._kinds}
        self._spurned = self._spared()
        self._limits |= self._spurned

    def _limit(self, kind: Kind) -> int:
        """As many as may be counted on: of a kind that rests, or that comes too late if it does not, those there."""
        standing = self._standings[kind.name]
        if self._now < self._known[kind.name].rests_until or self._is_risk(kind):
            return min(kind.most, standing.starting + standing.ready)
        return kind.most

    def _is_frail(self, kind: Kind) -> bool:
        return self._known[kind.name].losses.on_trial

    def _spared(self) -> dict[str, int]:
        """Of kinds that were taken back again and again: those that are there, one that is tried after a while, or as
        many as are needed beside all others, since they do more than nothing.
        """
        frail = [kind for kind in self._kinds if self._is_frail(kind)]
        if not frail:
            return {}
        firm = [kind for kind in self._kinds if kind not in frail]
        jobs, bounds = self._demand.jobs, self._bounds
        others = cover(firm, self._limits, rate=self._rate, heads=jobs, bounds=bounds)
        for kind in firm:
            bounds = bounds.without(kind, others[kind.name])
        lacking = self._rate - sum(others[kind.name] * kind.speed for kind in firm)
        beside = cover(frail, self._limits, rate=lacking, heads=jobs - sum(others.values()), bounds=bounds)
        return {
            kind.name: min(self._limits[kind.name], max(kind.least, beside[kind.name], self._sparing(kind)))
            for kind in frail
        }

    def _sparing(self, kind: Kind) -> int:
        standing = self._standings[kind.name]
        there = standing.starting + standing.ready
        return there if self._known[kind.name].losses.is_aside(self._now) else max(1, there)

    def _is_risk(self, kind: Kind) -> bool:
        """Whether there is no time left to wait in vain for a kind that may not come, and then for one that does.

        It depends on time alone, so that it begins once for each deadline.
        """
        firm = [each.start_s for each in self._kinds if not each.may_vanish and each.most > 0]
        due_in_s = self._demand.due_in_s
        if not kind.may_vanish or not firm or due_in_s is None or self._demand.required_rate <= 0:
            return False
        return due_in_s < self._rules.patience_for(kind) + min(firm)

    def _cover(self, factor: float) -> dict[str, int]:
        heads = math.ceil(self._demand.jobs * factor - 1e-9)
        return cover(self._kinds, self._limits, rate=self._rate * factor, heads=heads, bounds=self._bounds)

    def growth(self) -> list[Scale]:
        """What is missing, as far as it would be ready before all is done."""
        grown, left = list[Scale](), self._bounds.less(self._standings.values())
        enough, full = self._cover(1 / (1 + self._rules.band)), self._cover(1.0)
        for kind in self._kinds:
            present = self._standings[kind.name].present
            if self._now < self._known[kind.name].rests_until or present >= enough[kind.name]:
                continue
            more = int(min(full[kind.name] - present, left.room(kind)))
            if present >= kind.least and self._done_in(kind.start_s):
                continue
            if present < kind.least and self._done_in(kind.start_s):
                more = min(more, kind.least - present)
            if more > 0:
                grown.append(Scale(kind.name, more, self._why_more(kind)))
                left = left.without(kind, more)
        return grown

    def _done_in(self, seconds: float) -> bool:
        """Whether those that are there or coming have done all by then."""
        done = 0.0
        for standing in self._standings.values():
            new = standing.requested - len(standing.ages)
            ages = [*standing.ages, *[0.0] * new][: standing.requested]
            working = (standing.ready + standing.starting) * seconds
            coming = sum(max(0.0, seconds - max(0.0, standing.kind.start_s - age)) for age in ages)
            done += (working + coming) * standing.kind.speed
        return done >= self._demand.backlog_s

    def _why_more(self, kind: Kind) -> str:
        demand, standing = self._demand, self._standings[kind.name]
        if standing.present < kind.least:
            return f"at least {kind.least}"
        has = sum(each.present * each.kind.speed for each in self._standings.values())
        why = f"{self._rate:.2f} GPU s per s wanted, {has:.2f} there or coming"
        if demand.due_in_s is not None and demand.required_rate > 0:
            why += f"; {demand.required_rate:.2f} of them are due in {demand.due_in_s:.0f} s"
        resting = [
            each.name
            for each in self._kinds
            if each.price < kind.price and self._now < self._known[each.name].rests_until
        ]
        frail = [each.name for each in self._kinds if each.price < kind.price and each.name in self._spurned]
        risky = [each.name for each in self._kinds if each.price < kind.price and self._is_risk(each)]
        if resting:
            why += f"; {', '.join(resting)} did not come"
        elif frail:
            why += f"; {', '.join(frail)} is taken back too soon"
        elif risky:
            why += f"; too late to wait for {', '.join(risky)}"
        return why

    def shrinkage(self) -> tuple[list[Scale], dict[str, KindMemory]]:
        """What has been too many for long enough, the dearest first."""
        shrunk, known = list[Scale](), dict(self._known)
        loose, jobs = self._cover(1 + self._rules.slack), self._demand.jobs
        present = sum(standing.present for standing in self._standings.values())
        idle = max(0, present - math.ceil(jobs * (1 + self._rules.slack) - 1e-9))
        for kind in reversed(self._kinds):
            standing, before = self._standings[kind.name], known[kind.name]
            too_many = max(0, standing.present - max(loose[kind.name], kind.least))
            replaced = self._ready_below(kind.price) >= self._rate > 0
            if not replaced:
                too_many = min(too_many, idle)
            keep = standing.present - too_many
            if not too_many:
                known[kind.name] = replace(before, surplus_since=None, keep=0)
                continue
            idle = max(0, idle - too_many)
            since = self._now if before.surplus_since is None else before.surplus_since
            keep = max(keep, before.keep)
            waited, spare = self._now - since, self._spare(standing, keep, self._now - since)
            still = spare < standing.present - keep or spare <= 0
            known[kind.name] = replace(before, surplus_since=since if still else None, keep=keep if still else 0)
            if spare > 0:
                why = "cheaper ones do it in time" if replaced else f"nothing to do for {waited:.0f} s"
                shrunk.append(Scale(kind.name, -spare, why))
        return shrunk, known

    def _spare(self, standing: Standing, keep: int, waited: float) -> int:
        """How many go now. Without any work, those that never came go first, as their start has cost nothing yet."""
        spare = standing.present - keep
        if waited < self._rules.surplus_s:
            return 0
        if self._demand.jobs or waited >= max(self._rules.idle_s, standing.kind.start_s):
            return spare
        return min(spare, standing.requested)

    def _ready_below(self, price: float) -> float:
        """The rate of what is ready, cheaper, and not on trial."""
        return sum(
            standing.ready * standing.kind.speed
            for standing in self._standings.values()
            if standing.kind.price < price and not self._is_frail(standing.kind)
        )

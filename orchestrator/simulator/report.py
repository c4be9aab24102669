"""What came of a simulation, in numbers: waits, deadlines, fairness, utilisation, money."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.simulator import fairness
from orchestrator.simulator.arrivals import HOUR_S
from orchestrator.simulator.campaigns import Campaign
from orchestrator.simulator.foretelling import Foretold
from orchestrator.simulator.tally import Tally, percentile
from orchestrator.simulator.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """Of one priority. Waits are those of single jobs, in seconds from arrival to first step, begun or not."""

    priority: int
    came: int
    succeeded: int
    failed: int
    # At the end they wait or render.
    unfinished: int
    # Single jobs that came later than they were wanted, or had not come by then. Rows are `late_rows` of campaigns.
    late: int
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Of one campaign."""

    name: str
    rows: int
    succeeded: int
    failed: int
    # Hours after the beginning at which it came; was through, and was to be: None where there is none.
    at_h: float
    through_h: float | None
    deadline_h: float | None
    # Rows without a video at the deadline; None without one.
    late_rows: int | None
    # Its budget and what of it was used, in its unit; None without one. And when it first had no room for a row.
    budget: float | None
    used: float | None
    paused_h: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastScore:
    """What was foretold of one campaign, beside what came. Hours after the beginning; None is never."""

    campaign: str
    # Of its rows, so many had ended when the forecast was made.
    share: float
    at_h: float
    low_h: float | None
    likely_h: float | None
    high_h: float | None
    at_risk: bool | None
    # None where the simulation ended before.
    through_h: float | None
    # How far off, of the whole time from its coming to its end: above 0 is too late. And whether it was within.
    error: float | None
    inside: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KindUse:
    """Of one kind of workers, in GPU hours."""

    kind: str
    most: int
    ready_h: float
    busy_h: float
    money: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolWaits:
    """Of the single jobs of one pool, and of all that it rendered."""

    pool: str
    rendered: int
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetUse:
    """Of one set of workers that several pools share."""

    name: str
    workers: int
    # Workers that were given another model.
    swaps: int
    # Of its pools.
    rendered: int

    @property
    def swaps_a_render(self) -> float | None:
        return self.swaps / self.rendered if self.rendered else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The whole."""

    policy: str
    seed: int
    hours: float
    waits: tuple[Waits, ...]
    pools: tuple[PoolWaits, ...]
    campaigns: tuple[Course, ...]
    forecasts: tuple[ForecastScore, ...]
    shared: tuple[SetUse, ...]
    kinds: tuple[KindUse, ...]
    # Single jobs and rows that missed what they were wanted by.
    missed: int
    # Jain's index over tenants: of their GPU seconds, and of what they got of their fair shares (`fairness.py`).
    jain: float | None
    jain_of_shares: float | None
    # Busy GPU seconds, of those of workers that were ready.
    utilisation: float | None
    # GPU hours.
    busy_h: float
    lost_h: float
    money: float
    preempted: int
    evicted: int
    given_back: int
    workers_lost: int
    # Of autoscalers.
    decisions: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def report(world: World) -> Report:
    """Of a world that has been played."""
    tally = world.tally
    weights = {name: table.weight for name, table in world.traffic.tenants.items()}
    got = _summed(tally)
    waits = tuple(_waits(tally, priority) for priority in sorted(tally.came))
    campaigns = tuple(_course(tally, campaign) for campaign in world.campaigns.values())
    busy_s, ready_s = sum(tally.busy_s.values()), sum(tally.ready_s.values())
    return Report(
        policy=world.policy,
        seed=world.seed,
        hours=world.traffic.hours,
        waits=waits,
        pools=tuple(_pool_waits(tally, pool) for pool in world.pools),
        campaigns=campaigns,
        forecasts=tuple(_score(tally, world.campaigns[each.campaign], each) for each in world.foretold),
        shared=tuple(
            SetUse(
                name=name,
                workers=table.workers,
                swaps=len(world.shared[name].swaps),
                rendered=sum(tally.rendered[pool] for pool in table.pools),
            )
            for name, table in world.fleet.shared.items()
        ),
        kinds=_kinds(tally),
        missed=sum(each.late for each in waits) + sum(each.late_rows or 0 for each in campaigns),
        jain=fairness.jain(got.values()),
        jain_of_shares=fairness.of_hours(tally, weights),
        utilisation=busy_s / ready_s if ready_s else None,
        busy_h=busy_s / HOUR_S,
        lost_h=tally.lost_s / HOUR_S,
        money=sum(tally.money.values()),
        preempted=tally.preempted,
        evicted=tally.evicted,
        given_back=tally.given_back,
        workers_lost=tally.losses,
        decisions=sum(len(scaler.decisions) for scaler in world.scalers),
    )


def _summed(tally: Tally) -> Mapping[str, float]:
    """GPU seconds of each tenant that wanted any."""
    got: dict[str, float] = {name: 0.0 for wanted in tally.wanted.values() for name in wanted}
    for of_hour in tally.got.values():
        for name, seconds in of_hour.items():
            got[name] += seconds
    return got


def _waits(tally: Tally, priority: int) -> Waits:
    values = tally.waits[priority]
    ordered = type(values)("d", sorted(values))
    ended = tally.succeeded[priority] + tally.failed[priority]
    return Waits(
        priority=priority,
        came=tally.came[priority],
        succeeded=tally.succeeded[priority],
        failed=tally.failed[priority],
        unfinished=tally.came[priority] - ended,
        late=tally.late[priority],
        p50_s=percentile(ordered, 0.5),
        p95_s=percentile(ordered, 0.95),
        p99_s=percentile(ordered, 0.99),
    )


def _pool_waits(tally: Tally, pool: str) -> PoolWaits:
    values = tally.pool_waits[pool]
    ordered = type(values)("d", sorted(values))
    p50_s, p95_s, p99_s = (percentile(ordered, share) for share in (0.5, 0.95, 0.99))
    return PoolWaits(pool=pool, rendered=tally.rendered[pool], p50_s=p50_s, p95_s=p95_s, p99_s=p99_s)


def _course(tally: Tally, campaign: Campaign) -> Course:
    through_at, deadline_h = tally.through_at.get(campaign.name), campaign.table.deadline_h
    over = deadline_h is not None and deadline_h * HOUR_S <= tally.end_s
    return Course(
        name=campaign.name,
        rows=campaign.table.rows,
        succeeded=campaign.succeeded,
        failed=campaign.failed,
        at_h=campaign.table.at_h,
        through_h=_hours(through_at),
        deadline_h=deadline_h,
        late_rows=campaign.table.rows - tally.in_time[campaign.name] if over else None,
        budget=None if campaign.table.budget is None else campaign.table.budget.amount,
        used=None if campaign.table.budget is None else campaign.spent,
        paused_h=_hours(campaign.paused_at),
    )


def _score(tally: Tally, campaign: Campaign, told: Foretold) -> ForecastScore:
    through_s, began_s = tally.through_at.get(campaign.name), campaign.table.at_h * HOUR_S
    error = inside = None
    if through_s is not None:
        error = None if told.likely_s is None else (told.likely_s - through_s) / (through_s - began_s)
        low_s, high_s = (math.inf if each is None else each for each in (told.low_s, told.high_s))
        inside = low_s <= through_s <= high_s
    return ForecastScore(
        campaign=told.campaign,
        share=told.share,
        at_h=told.at_s / HOUR_S,
        low_h=_hours(told.low_s),
        likely_h=_hours(told.likely_s),
        high_h=_hours(told.high_s),
        at_risk=told.at_risk,
        through_h=_hours(through_s),
        error=error,
        inside=inside,
    )


def _hours(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / HOUR_S


def _kinds(tally: Tally) -> tuple[KindUse, ...]:
    most: Counter[str] = Counter()
    for sample in tally.samples:
        for kind, count in sample.ready.items():
            most[kind] = max(most[kind], count)
    return tuple(
        KindUse(
            kind=kind,
            most=most[kind],
            ready_h=tally.ready_s[kind] / HOUR_S,
            busy_h=tally.busy_s[kind] / HOUR_S,
            money=tally.money[kind],
        )
        for kind in sorted(tally.money)
    )

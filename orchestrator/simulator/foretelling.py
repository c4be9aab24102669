"""Forecasts during a simulation: the product's own (`policy/forecast.py`), asked now and then to be held to the truth.

It is asked what a product that has run for weeks would know: the usual load of single jobs, how far campaigns' own rows
were off so far, which workers are there and what they cost, what is left of budgets. Campaigns that have not come are
unknown.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.policy.allowance import Allowance
from orchestrator.policy.belief import UNKNOWN, learned
from orchestrator.policy.forecast import Cohort, World, at_risk, forecast
from orchestrator.policy.purses import price_of
from orchestrator.policy.supply import HOUR_S, RECENT_H, WEEK_HOURS, Crew, Pool, loaded, mean_speed
from orchestrator.policy.window import slow_start
from orchestrator.simulator.campaigns import Campaign
from orchestrator.simulator.capacity import Capacity
from orchestrator.simulator.jobs import Job
from orchestrator.simulator.tally import Tally
from orchestrator.simulator.traffic import TenantTable

# What a worker renders is half done, on average.
_HALF = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Foretold:
    """What was said of a campaign at one moment. Seconds since the beginning; None is never."""

    campaign: str
    # Of its rows, so many had ended.
    share: float
    at_s: float
    low_s: float | None
    likely_s: float | None
    high_s: float | None
    # None without a deadline.
    at_risk: bool | None


class Foreteller:
    """Makes forecasts of one pool, from how a simulation stands.

    `usual_s` are the seconds of single jobs that usually come there, hour by hour from the beginning on, for a week;
    `closed` is from when to when it is closed, in seconds since the beginning.
    """

    def __init__(
        self,
        capacity: Capacity,
        campaigns: Sequence[Campaign],
        tenants: Mapping[str, TenantTable],
        usual_s: Sequence[float],
        closed: Sequence[tuple[float, float]],
        tally: Tally,
    ) -> None:
        self._capacity, self._campaigns, self._tenants = capacity, campaigns, tenants
        self._usual_s, self._closed, self._tally = usual_s, closed, tally

    def ask(self, campaign: Campaign, share: float, single: Iterable[Job], now: float) -> Foretold:
        """When a campaign is done, of whose rows this share has ended. `single` are the jobs that are no rows."""
        name = self._capacity.name
        cohorts = [*(self._cohort(each, now) for each in self._campaigns if each.running), *self._jobs(single)]
        known = World(pools={name: self._pool(now)}, cohorts=cohorts, allowances=self._allowances())
        found = forecast(known).subjects[campaign.name]
        deadline = campaign.table.deadline_h
        return Foretold(
            campaign=campaign.name,
            share=share,
            at_s=now,
            low_s=_moment(now, found.low_s),
            likely_s=_moment(now, found.likely_s),
            high_s=_moment(now, found.high_s),
            at_risk=None if deadline is None else at_risk(found, deadline * HOUR_S - now),
        )

    def _pool(self, now: float) -> Pool:
        speed = self._speed()
        usual = [seconds / HOUR_S / speed for seconds in self._usual_s]
        # From the beginning of an hour on.
        since = max(0, int(now // HOUR_S) - round(RECENT_H) + 1)
        usual_s = sum(usual[hour % WEEK_HOURS] * min(HOUR_S, now - hour * HOUR_S) for hour in _hours(since, now))
        actual_s = sum(self._tally.single_s[self._capacity.name, hour] for hour in _hours(since, now))
        return Pool(
            name=self._capacity.name,
            crews=self._crews(),
            foreground=usual if any(usual) else (),
            load=loaded(usual_s, actual_s, hours=now / HOUR_S - since),
            # Weeks are counted from the beginning.
            hour=now / HOUR_S,
            closed=[(begin - now, end - now) for begin, end in self._closed if end > now],
            largest=self._capacity.table.most_workers,
        )

    def _allowances(self) -> list[Allowance]:
        """What is left of the budgets of campaigns that have come."""
        name, crews, table = self._capacity.name, self._crews(), self._capacity.table
        priced = price_of(crews, {kind: table.price_of(kind) / HOUR_S for kind in table.kinds})
        found = []
        for each in self._campaigns:
            budget = each.table.budget
            if budget is None or not each.running:
                continue
            price = (each.price if priced is None else priced) if budget.unit == "money" else 1 / mean_speed(crews)
            room = budget.amount - each.spent
            found.append(
                Allowance(subjects=frozenset({each.name}), words="its budget", room=room, prices={name: price})
            )
        return found

    def _crews(self) -> list[Crew]:
        ready = Counter(worker.kind for worker in self._capacity.pool.ready)
        starting = Counter(worker.kind for worker in self._capacity.starting)
        crews = []
        for name, table in self._capacity.table.kinds.items():
            for workers, ready_in_s in ((ready[name], 0.0), (starting[name], table.start_s)):
                crews.append(
                    Crew(
                        kind=name,
                        workers=workers,
                        speed=table.speed,
                        ready_in_s=ready_in_s,
                        lost_per_hour=table.losses_per_day / 24,
                        start_up_s=table.start_s,
                    )
                )
        return crews

    def _speed(self) -> float:
        """The mean of the workers that are there."""
        ready = self._capacity.pool.ready
        return sum(worker.table.speed for worker in ready) / len(ready) if ready else 1.0

    def _cohort(self, campaign: Campaign, now: float) -> Cohort:
        table, done = campaign.table, campaign.succeeded + campaign.failed
        renders = sum(job.campaign == campaign.name for worker in self._capacity.pool.ready for job in worker.held)
        left = max(0.0, table.rows - done - _HALF * renders)
        seconds = campaign.shape.seconds
        return Cohort(
            subject=campaign.name,
            pool=self._capacity.name,
            model=self._capacity.table.family,
            tenant=table.tenant,
            priority=table.priority,
            seconds=left * seconds,
            rows=left,
            weight=self._weight(table.tenant),
            max_running=table.max_running,
            first=max(1, slow_start(campaign.succeeded, campaign.failed)),
            deadline_s=None if table.deadline_h is None else table.deadline_h * HOUR_S - now,
            closes=True,
            bias=learned(UNKNOWN, predicted_s=done * seconds, actual_s=campaign.used_s * self._speed(), renders=done),
        )

    def _jobs(self, single: Iterable[Job]) -> list[Cohort]:
        """What waits and is no campaign's, by tenant and priority."""
        lanes: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
        for job in single:
            if job.began_at is None:
                lanes[job.tenant, job.priority].append(job.predicted_left_s)
        return [
            Cohort(
                subject=f"jobs of {tenant} at {priority}",
                pool=self._capacity.name,
                model=self._capacity.table.family,
                tenant=tenant,
                priority=priority,
                seconds=sum(seconds),
                rows=len(seconds),
                weight=self._weight(tenant),
            )
            for (tenant, priority), seconds in lanes.items()
        ]

    def _weight(self, tenant: str) -> float:
        return self._tenants[tenant].weight if tenant in self._tenants else 1.0


def _hours(since: int, now: float) -> range:
    return range(since, int(now // HOUR_S) + 1)


def _moment(now: float, seconds: float | None) -> float | None:
    return None if seconds is None else now + seconds

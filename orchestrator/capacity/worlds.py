"""What a forecast is made from, read from the store: campaigns, what waits beside them, workers, and usual load."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice

from orchestrator.config import Settings
from orchestrator.domain.campaign import Campaign
from orchestrator.domain.catalog import Profile
from orchestrator.domain.loading import LoadState, WorkerLoad
from orchestrator.domain.pausing import pause_over, told
from orchestrator.learning.book import Book
from orchestrator.policy.affinity import LOAD_S
from orchestrator.policy.allowance import Allowance
from orchestrator.policy.belief import UNKNOWN, Belief, of_ratio
from orchestrator.policy.cohorts import cohorts_of, is_going_on
from orchestrator.policy.forecast import Cohort, World
from orchestrator.policy.hours import ClosedHours
from orchestrator.policy.prediction import NOTHING_LEARNED, Predictions, WorkerKind
from orchestrator.policy.purses import Costs, allowances_of, price_of, tenant_allowance
from orchestrator.policy.supply import HOUR_S, RECENT_H, WEEK_HOURS, Crew, Pool, loaded, mean_speed
from orchestrator.ports.campaign_values import Budget
from orchestrator.ports.forecasts import BatchWork, ForecastStore, LaneWork, LoadHour
from orchestrator.telemetry import aside

# Usual load is that of so many weeks, read anew after so long.
_WEEKS, _LOAD_FRESH_S = 4, 3600.0
# While so little is known of usual load, no hour of the week is told from another; below the first, nothing is.
_DAY_S, _WEEK_S = 24 * HOUR_S, WEEK_HOURS * HOUR_S
# A worker that loads its model is ready in about so long.
_LOAD_S = 60.0
# Closed hours are looked at so far ahead, and no more of them than this.
_CLOSED_AHEAD, _MOST_CLOSED = timedelta(days=60), 200
# How often a worker that may vanish does, where nobody has counted: once in twenty hours.
_LOST_PER_HOUR = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A world, and what its words come from."""

    world: World
    campaigns: Mapping[str, Campaign]
    # Why each paused pool renders nothing.
    paused: Mapping[str, str]
    now: datetime


class Worlds:
    """Reads the world as it is now. Remembers nothing but the usual load, for an hour."""

    def __init__(
        self, settings: Settings, store: ForecastStore, book: Book, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._store = store
        self._book = book
        self._monotonic = monotonic
        self._usual: Mapping[str, Sequence[float]] = {}
        self._usual_at = -math.inf
        self._fast = frozenset(
            model
            for model in settings.models
            if settings.pool_of(model, Profile.FAST) == settings.pool_of(model, Profile.EXACT) is not None
        )

    async def now(self, *, beside: Campaign | None = None) -> Known:
        """The world. `beside` is a campaign that is taken to go on, whatever it waits for.

        Raises `StoreUnavailable`.
        """
        moment = datetime.now(UTC)
        going = await self._store.campaigns_going()
        campaigns = {each.id: each for each in going if is_going_on(each)}
        if beside is not None:
            campaigns[beside.id] = beside
        pools_of = {each.id: {group.pool for group in each.estimate} for each in campaigns.values()}
        names = sorted(set(self._settings.pools).union(*pools_of.values()))
        learned = await self._book.known()
        priors = {name: of_ratio(learned.of_model(pool.model, name)) for name, pool in self._settings.pools.items()}
        weights, urgencies = await self._store.weights(), await self._store.most_urgent()
        alive, loads = await self._store.workers_of(names), await self._store.worker_loads()
        crews = {name: crews_in(self._settings, name, alive.get(name, 0), loads, learned) for name in names}
        crews |= lent(self._settings, crews)
        speeds = {name: mean_speed(of_it) for name, of_it in crews.items()}
        cohorts: list[Cohort] = []
        for each in campaigns.values():
            with aside.unless_it_breaks("forecasts", campaign=each.id):
                cohorts += cohorts_of(
                    each,
                    moment,
                    weight=weights.get(each.tenant, 1.0),
                    most_urgent=urgencies.get(each.tenant, self._settings.limits.most_urgent),
                    priors=priors,
                    speeds=speeds,
                    fast=self._fast,
                )
        cohorts += _jobs(await self._store.lanes_waiting(), going, priors)
        cohorts += _batches(await self._store.batches_waiting(), priors)
        costs = costs_in(self._settings, crews)
        allowances = _allowances(campaigns.values(), cohorts, await self._store.budgets(), costs, moment)
        pauses = await self._store.pauses()
        paused = {name: told(pause) for name in names if (pause := pause_over(name, pauses)) is not None}
        pools = await self._pools({name: () if name in paused else crews[name] for name in names}, moment)
        world = World(pools=pools, cohorts=cohorts, allowances=allowances)
        return Known(world=world, campaigns=campaigns, paused=paused, now=moment)

    async def _pools(self, crews: Mapping[str, Sequence[Crew]], now: datetime) -> dict[str, Pool]:
        usual, recent = await self._usual_load(now), await self._store.load_since(hours=RECENT_H)
        hour = _hour_of(now)
        found = {}
        for name, of_it in crews.items():
            known = self._settings.pools.get(name)
            hours: Sequence[float] = usual.get(name, ())
            lately = sum(_at(hours, hour - back) for back in range(1, round(RECENT_H) + 1)) * HOUR_S
            found[name] = Pool(
                name=name,
                crews=of_it,
                foreground=hours,
                load=loaded(lately, recent.get(name, 0.0), hours=RECENT_H),
                hour=hour,
                closed=() if known is None else closed_periods(known.closed, now),
                largest=None if known is None else self._settings.most_workers(name),
            )
        return found

    async def _usual_load(self, now: datetime) -> Mapping[str, Sequence[float]]:
        if self._monotonic() - self._usual_at >= _LOAD_FRESH_S:
            self._usual = usual_load(await self._store.load_by_hour(weeks=_WEEKS), now)
            self._usual_at = self._monotonic()
        return self._usual


def _allowances(
    campaigns: Iterable[Campaign], cohorts: Sequence[Cohort], budgets: Sequence[Budget], costs: Costs, now: datetime
) -> list[Allowance]:
    """What campaigns and batches may use; single jobs count against no budget."""
    found: list[Allowance] = []
    for each in campaigns:
        with aside.unless_it_breaks("forecasts", campaign=each.id):
            found += allowances_of(each, costs)
    theirs: defaultdict[str, set[str]] = defaultdict(set)
    for cohort in cohorts:
        if not cohort.single:
            theirs[cohort.tenant].add(cohort.subject)
    for budget in budgets:
        mine, period = theirs.get(budget.tenant), budget.period
        if mine:
            found.append(tenant_allowance(budget.ask, budget.used, period=period, subjects=mine, costs=costs, now=now))
    return found


def crews_in(
    settings: Settings, pool: str, alive: int, loads: Sequence[WorkerLoad], learned: Predictions = NOTHING_LEARNED
) -> list[Crew]:
    """The workers of a pool, those of each of its kinds with what is said of the kind, and was learned of its speed."""
    ours = [load for load in loads if load.pool == pool]
    kinds = settings.pools[pool].kinds if pool in settings.pools else {}
    if not ours or not kinds:
        return crews_of(alive, ours)
    crews = []
    for kind, known in kinds.items():
        of_it = [load for load in ours if settings.kind_of(pool, load.worker) == kind]
        crews += [
            replace(
                crew,
                kind=kind,
                speed=learned.speed(settings.pools[pool].model, WorkerKind.word(pool, kind), known.speed),
                # What has not answered yet may have no node.
                ready_in_s=max(crew.ready_in_s, known.start_s) if crew.ready_in_s else 0.0,
                lost_per_hour=_LOST_PER_HOUR if known.may_vanish else 0.0,
                start_up_s=known.start_s,
            )
            for crew in (crews_of(0, of_it) if of_it else ())
        ]
    return crews


def lent(settings: Settings, crews: Mapping[str, Sequence[Crew]]) -> dict[str, list[Crew]]:
    """Of pools that share workers and have none now: the one that is taken for what waits there, at the latest.

    By no more than that one: how many of a set hold which model later on is not reckoned. A set of which no worker is
    there has none to give.
    """
    found = {}
    for shared in settings.shared.values():
        there = {name for name in shared.pools if any(crew.workers for crew in crews.get(name, ()))}
        crew = Crew(workers=1, ready_in_s=shared.cold_wait_s + LOAD_S, start_up_s=LOAD_S)
        found.update({name: [crew] for name in shared.pools if there and name in crews and name not in there})
    return found


def crews_of(alive: int, loads: Sequence[WorkerLoad]) -> list[Crew]:
    """The workers of a pool: those that are ready, and those that will be once their model is loaded.

    Where no dispatcher has told how they stand, all that live are taken for ready.
    """
    if not loads:
        return [Crew(workers=alive)]
    states = Counter(load.state for load in loads)
    coming = states[LoadState.STARTING] + states[LoadState.LOADING]
    return [Crew(workers=states[LoadState.LOADED]), Crew(workers=coming, ready_in_s=_LOAD_S)]


def costs_in(settings: Settings, crews: Mapping[str, Sequence[Crew]]) -> Costs:
    """What work costs in each pool on the workers that are there; where there are none, where it costs most."""
    prices, hourly = dict(settings.prices), settings.worker_prices
    for name, of_it in crews.items():
        known = {crew.kind: hourly.get((name, crew.kind)) for crew in of_it}
        price = price_of(of_it, {kind: price / HOUR_S for kind, price in known.items() if price is not None})
        if price is not None:
            prices[name] = price
    seconds = {name: 1 / mean_speed(of_it) for name, of_it in crews.items()}
    return Costs(prices=prices, currency=settings.billing.currency, seconds=seconds)


def usual_load(hours: Sequence[LoadHour], now: datetime) -> dict[str, list[float]]:
    """Workers of each pool that single jobs keep busy, by the hour of the week; a mean while a week is not over."""
    if not hours:
        return {}
    known_s = (now - hours[0].since).total_seconds()
    if known_s < _DAY_S:
        return {}
    used: defaultdict[str, list[float]] = defaultdict(lambda: [0.0] * WEEK_HOURS)
    for each in hours:
        used[each.pool][each.hour % WEEK_HOURS] = each.gpu_seconds
    if known_s < _WEEK_S:
        return {pool: [sum(of_it) / known_s] * WEEK_HOURS for pool, of_it in used.items()}
    weeks = min(float(_WEEKS), known_s / _WEEK_S)
    return {pool: [seconds / weeks / HOUR_S for seconds in of_it] for pool, of_it in used.items()}


def closed_periods(closed: ClosedHours, now: datetime) -> list[tuple[float, float]]:
    """From when to when a pool is closed, in seconds from now."""
    ahead = islice(closed.stretches(now, now + _CLOSED_AHEAD), _MOST_CLOSED)
    return [((begin - now).total_seconds(), (end - now).total_seconds()) for begin, end in ahead]


def _jobs(lanes: Sequence[LaneWork], campaigns: Sequence[Campaign], priors: Mapping[str, Belief]) -> list[Cohort]:
    """Jobs that wait and are no campaign's rows, which are counted already."""
    rows: Counter[tuple[str, int]] = Counter()
    for each in campaigns:
        rows[each.tenant, each.priority] += each.counts.queued
    cohorts = []
    for lane in lanes:
        theirs = min(lane.jobs, rows[lane.tenant, lane.priority])
        rows[lane.tenant, lane.priority] -= theirs
        if lane.jobs > theirs and lane.typical > 0:
            cohorts.append(
                Cohort(
                    subject=f"jobs of {lane.tenant} at {lane.priority}",
                    pool=lane.pool,
                    model=lane.pool,
                    tenant=lane.tenant,
                    priority=lane.priority,
                    seconds=(lane.jobs - theirs) * lane.typical,
                    rows=lane.jobs - theirs,
                    weight=lane.weight,
                    max_running=None if lane.most is None else int(lane.most),
                    # What renders have taught is in their cost already, and how far that is off is not.
                    bias=replace(priors.get(lane.pool, UNKNOWN), mean=0.0),
                    single=True,
                )
            )
    return cohorts


def _batches(works: Sequence[BatchWork], priors: Mapping[str, Belief]) -> list[Cohort]:
    """Rows of batches that have no jobs yet; those that have are jobs that wait."""
    return [
        Cohort(
            subject=f"rows of {work.batch}",
            pool=work.pool,
            model=work.pool,
            tenant=work.tenant,
            priority=work.priority,
            seconds=float(work.waiting) * work.typical,
            rows=float(work.waiting),
            weight=work.weight,
            bias=replace(priors.get(work.pool, UNKNOWN), mean=0.0),
        )
        for work in works
        if work.waiting > 0 and work.typical > 0
    ]


def _hour_of(now: datetime) -> float:
    return now.weekday() * 24 + now.hour + now.minute / 60 + now.second / HOUR_S


def _at(hours: Sequence[float], hour: float) -> float:
    return hours[math.floor(hour) % WEEK_HOURS] if hours else 0.0

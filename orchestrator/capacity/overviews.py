"""The overview: what waits, runs and ended, how it went over hours, which alerts fire; of all tenants, or of one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from orchestrator.capacity.amounts import Amount, amounts_by, by_priority, by_tenant, starts_of, total_of, with_ends
from orchestrator.capacity.facts import Facting, FactReader
from orchestrator.config import Settings
from orchestrator.domain.errors import InvalidField, NotFound
from orchestrator.domain.outlooks import KeptOutlook, Subject
from orchestrator.domain.pausing import pause_over, told
from orchestrator.kit.readings import Reading
from orchestrator.policy.alerting import Alert
from orchestrator.policy.sampling import KEEP, MOST_POINTS, STEPS_S, finest, step_for
from orchestrator.ports.overview import Ends, FlowPoint, FlowSubject, Quarantine
from orchestrator.tenants.ledger import read_moment

# How old what everybody's console shows may be, and how long a reader waits for newer.
_FRESH_S, _PATIENCE_S = 2.0, 3.0
# Tenants that are told of one by one, those with the most to do.
_TENANTS = 100
_HOUR, _DAY = 1.0, 24.0
_USUAL = timedelta(hours=6)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolAmount:
    """The same of a pool, and what is to be expected of it."""

    amount: Amount
    model: str
    # It waits for its time, or for a yes; None where that is not told apart.
    scheduled: int | None
    # Why nothing begins, where nothing does.
    paused: str | None
    outlook: KeptOutlook | None
    # When the first that waits is expected to begin; None is not known, or never.
    next_start_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All of it, as it was at a moment."""

    at: datetime
    total: Amount
    scheduled: int
    pools: Sequence[PoolAmount]
    priorities: Sequence[Amount]
    tenants: Sequence[Amount]
    # Tenants that have something to do and are not among these.
    more_tenants: int
    alerts: Sequence[Alert]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Steps of a time, those in which nothing was sampled left out."""

    since: datetime
    until: datetime
    step_s: int
    points: Sequence[FlowPoint]


class Overviews:
    """A tenant's own has nothing of another's: neither counts nor what pools hold beside it."""

    def __init__(
        self, settings: Settings, store: FactReader, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._pools = settings.pools
        self._store = store
        self._facts = Facting(settings, store, monotonic=monotonic)
        nothing: View | None = None
        self._last = Reading(
            "overview", self._read, nothing, fresh_s=_FRESH_S, patience_s=_PATIENCE_S, monotonic=monotonic
        )

    async def of_all(self) -> View:
        """What concerns every tenant, at most seconds ago. Raises `StoreUnavailable` where nothing was known before."""
        return await self._last.now() or await self._read()

    async def of(self, tenant: str) -> View:
        """What one tenant has. Raises `StoreUnavailable`."""
        store = self._store
        lanes = await store.queued_lanes(tenant)
        scheduled = (await store.not_due(tenant)).get("", 0)
        hour = await store.ends_since(FlowSubject.TENANT, tenant, hours=_HOUR, most=1)
        day = await store.ends_since(FlowSubject.TENANT, tenant, hours=_DAY, most=1)
        starts = starts_of(await store.lane_outlooks(tenant))
        pauses = await store.pauses()
        pools = []
        for amount in amounts_by(lanes, lambda lane: lane.pool):
            pause = pause_over(amount.name, pauses)
            pools.append(
                PoolAmount(
                    amount=amount,
                    model=self._model(amount.name),
                    scheduled=None,
                    paused=None if pause is None else told(pause),
                    outlook=None,
                    next_start_at=starts.get(amount.name) if amount.waiting else None,
                )
            )
        ended = hour.get(tenant, Ends()), day.get(tenant, Ends())
        return View(
            at=datetime.now(UTC),
            total=total_of(lanes, *ended),
            scheduled=scheduled,
            pools=pools,
            priorities=by_priority(lanes, {}, {}, told_apart=False),
            tenants=[],
            more_tenants=0,
            alerts=await self._facts.alerts_of(tenant),
        )

    async def _read(self) -> View:
        store, pool_names = self._store, list(self._pools)
        lanes = await store.queued_lanes(None)
        scheduled = await store.not_due(None)
        hour, day = [
            {subject: await store.ends_since(subject, None, hours=hours, most=10_000) for subject in FlowSubject}
            for hours in (_HOUR, _DAY)
        ]
        starts = starts_of(await store.lane_outlooks(None))
        pauses = await store.pauses()
        outlooks = {each.name: each for each in await store.forecasts() if each.subject is Subject.POOL}
        of_pools = {each.name: each for each in amounts_by(lanes, lambda lane: lane.pool)}
        names = [*pool_names, *sorted({*of_pools, *scheduled} - set(pool_names))]
        pools = []
        for name in names:
            pause = pause_over(name, pauses)
            amount = of_pools.get(name) or Amount(name=name, waiting=0, running=0, oldest_wait_s=None)
            pools.append(
                PoolAmount(
                    amount=with_ends(amount, hour[FlowSubject.POOL], day[FlowSubject.POOL]),
                    model=self._model(name),
                    scheduled=scheduled.get(name, 0),
                    paused=None if pause is None else told(pause),
                    outlook=outlooks.get(name),
                    next_start_at=starts.get(name) if amount.waiting else None,
                )
            )
        tenants = by_tenant(lanes, hour[FlowSubject.TENANT], day[FlowSubject.TENANT])
        ended = [sum(each[FlowSubject.POOL].values(), Ends()) for each in (hour, day)]
        return View(
            at=datetime.now(UTC),
            total=total_of(lanes, *ended),
            scheduled=sum(scheduled.values()),
            pools=pools,
            priorities=by_priority(lanes, hour[FlowSubject.PRIORITY], day[FlowSubject.PRIORITY], told_apart=True),
            tenants=tenants[:_TENANTS],
            more_tenants=max(0, len(tenants) - _TENANTS),
            alerts=await self._facts.alerts(lanes),
        )

    def _model(self, pool: str) -> str:
        return self._pools[pool].model if pool in self._pools else ""

    async def history(
        self,
        *,
        since: str | None,
        until: str | None,
        resolution_s: int | None,
        pool: str | None = None,
        tenant: str | None = None,
    ) -> History:
        """How it went, in steps of `resolution_s`; the arguments are as a caller wrote them.

        Of a pool, of a tenant, or of everything. Raises `InvalidField`, `NotFound` and `StoreUnavailable`.
        """
        if pool is not None and tenant is not None:
            raise InvalidField("must not be given together with 'pool'", param="tenant")
        if pool is not None and pool not in self._pools:
            raise NotFound(f"no pool {pool[:80]!r}; this deployment has: {', '.join(self._pools)}", param="pool")
        now = datetime.now(UTC)
        begins, ends, step_s = read_span(since, until, resolution_s, now)
        subject = FlowSubject.POOL if tenant is None else FlowSubject.TENANT
        points = await self._store.flow(subject, pool or tenant, since=begins, until=ends, step_s=step_s)
        return History(since=begins, until=ends, step_s=step_s, points=points)

    async def quarantines(self, *, pool: str | None, limit: int) -> list[Quarantine]:
        """The last lives of workers that were given up. Raises `StoreUnavailable`."""
        return await self._store.list_quarantines(pool=pool, limit=limit)


def read_span(
    since: str | None, until: str | None, resolution_s: int | None, now: datetime
) -> tuple[datetime, datetime, int]:
    """From when until when, and in which steps; six hours until now, and what a chart shows, where nothing is said."""
    ends = read_moment(until, "to") or now
    begins = read_moment(since, "from") or ends - _USUAL
    if begins >= ends:
        raise InvalidField("must be before 'to'", param="from")
    if ends - begins > KEEP:
        raise InvalidField(f"must be at most {KEEP.days} days before 'to'", param="from")
    if resolution_s is None:
        step_s = step_for(begins, ends, now)
    elif resolution_s not in STEPS_S:
        raise InvalidField(f"must be one of {', '.join(map(str, STEPS_S))}", param="resolution")
    else:
        step_s = max(resolution_s, finest(now - begins))
    if (ends - begins).total_seconds() / step_s > MOST_POINTS:
        raise InvalidField(f"makes more than {MOST_POINTS} points; ask for longer steps", param="resolution")
    return begins, ends, step_s

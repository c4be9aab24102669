"""What is known of trouble, brought together for the rules of `policy/alerting.py`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from orchestrator.config import Settings
from orchestrator.domain.failure import FailureCode
from orchestrator.domain.loading import LoadState, WorkerLoad
from orchestrator.domain.outlooks import KeptOutlook
from orchestrator.domain.pausing import EVERY, Pause, pause_over, told
from orchestrator.kit.readings import Reading
from orchestrator.policy.alerting import IDLE_MINUTES, Alert, Facts, PoolSigns, Spent, alerts
from orchestrator.ports.campaign_values import Budget
from orchestrator.ports.fleet import KindState
from orchestrator.ports.overview import Ends, FlowSubject, OverviewStore, QueuedLane, Quiet, Signs

# What only changes by the minute is read so often, and no answer waits longer for it.
_FRESH_S, _PATIENCE_S = 10.0, 3.0
_THEIRS = [code.value for code in FailureCode if code.of_the_request]
_ROUNDING = 1e-9


class FactReader(OverviewStore, Protocol):
    """The part of the store that this needs."""

    async def worker_loads(self) -> list[WorkerLoad]: ...

    async def fleet(self) -> list[KindState]: ...

    async def pauses(self) -> list[Pause]: ...

    async def forecasts(self) -> list[KeptOutlook]: ...

    async def budgets(self) -> list[Budget]: ...

    async def budgets_of(self, tenant: str) -> list[Budget]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    signs: Signs = field(default_factory=Signs)
    quiet: Mapping[str, Quiet] = field(default_factory=dict)
    half_hour: Mapping[str, Ends] = field(default_factory=dict)
    lately: Mapping[str, Ends] = field(default_factory=dict)
    loads: Sequence[WorkerLoad] = ()
    kinds: Sequence[KindState] = ()
    pauses: Sequence[Pause] = ()
    exhausted: Sequence[Spent] = ()
    forecasts_at: datetime | None = None


class Facting:
    """Reads what alerts need beside the queue itself, seldom."""

    def __init__(
        self, settings: Settings, store: FactReader, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._store = store
        self._known = Reading(
            "alerts", self._read, _Known(), fresh_s=_FRESH_S, patience_s=_PATIENCE_S, monotonic=monotonic
        )

    async def alerts(self, lanes: Sequence[QueuedLane]) -> list[Alert]:
        """Those of the whole deployment, whose queue stands so. Never raises."""
        known = await self._known.now()
        age_s = None if known.forecasts_at is None else (datetime.now(UTC) - known.forecasts_at).total_seconds()
        signs = known.signs
        return alerts(
            Facts(
                pools={name: self._pool(name, lanes, known) for name in self._settings.pools},
                at_risk=signs.at_risk,
                exhausted=known.exhausted,
                forecasts_s=age_s,
                given_up=signs.given_up,
                outbox_s=signs.outbox_s,
                unsealed_s=signs.unsealed_s,
                dead_letters=signs.dead_letters,
                parked=signs.parked,
            )
        )

    async def alerts_of(self, tenant: str) -> list[Alert]:
        """Those about what one tenant has. Raises `StoreUnavailable`."""
        signs = await self._store.signs(tenant, not_codes=_THEIRS)
        exhausted = spent(await self._store.budgets_of(tenant))
        return alerts(Facts(at_risk=signs.at_risk, exhausted=exhausted, given_up=signs.given_up))

    async def _read(self) -> _Known:
        store = self._store
        forecasts = await store.forecasts()
        return _Known(
            signs=await store.signs(None, not_codes=_THEIRS),
            quiet=await store.quiet(minutes=IDLE_MINUTES),
            half_hour=await store.ends_since(FlowSubject.POOL, None, hours=0.5, most=10_000),
            lately=await store.ends_since(FlowSubject.POOL, None, hours=IDLE_MINUTES / 60, most=10_000),
            loads=await store.worker_loads(),
            kinds=await store.fleet(),
            pauses=await store.pauses(),
            exhausted=spent(await store.budgets()),
            forecasts_at=max((each.made_at for each in forecasts), default=None),
        )

    def _pool(self, name: str, lanes: Sequence[QueuedLane], known: _Known) -> PoolSigns:
        mine = [lane for lane in lanes if lane.pool == name]
        waits = [lane.oldest_wait_s for lane in mine if lane.waiting and lane.oldest_wait_s is not None]
        pause = pause_over(name, known.pauses)
        states = Counter(load.state for load in known.loads if load.pool == name)
        reasons = {load.reason for load in known.loads if load.pool == name and load.state is LoadState.BROKEN}
        ended, quiet = known.half_hour.get(name, Ends()), known.quiet.get(name)
        return PoolSigns(
            paused=None if pause is None else told(pause),
            pause_reason="" if pause is None else pause.reason,
            all_paused=pause is not None and pause.pool == EVERY,
            waiting=sum(lane.waiting for lane in mine),
            oldest_wait_s=max(waits, default=None),
            claimed_s=known.signs.claimed_s.get(name),
            ready=states[LoadState.LOADED],
            wanted=self._wanted(name, known),
            broken=states[LoadState.BROKEN],
            reason="; ".join(sorted(filter(None, reasons))),
            quarantined=known.signs.quarantined.get(name, 0),
            ended=ended.all,
            failed=ended.failed,
            ended_lately=known.lately.get(name, Ends()).all,
            least_waiting=0 if quiet is None else quiet.least_waiting,
            busy_share=None if quiet is None or quiet.worker_s <= 0 else quiet.busy_s / quiet.worker_s,
        )

    def _wanted(self, name: str, known: _Known) -> int:
        """Workers that there should be; of a pool with kinds, and of shared ones, as was last decided."""
        own = 0 if self._settings.pools[name].kinds else self._settings.own_workers(name)
        return own + sum(kind.wanted for kind in known.kinds if kind.pool == name)


def spent(budgets: Iterable[Budget]) -> list[Spent]:
    """Budgets that nothing can be reserved from any more."""
    return [
        Spent(tenant=it.tenant, period=it.period, unit=it.unit, amount=it.amount)
        for it in budgets
        if it.used + it.reserved >= it.amount * (1 - _ROUNDING)
    ]

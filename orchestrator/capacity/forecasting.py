"""Forecasts: one process makes and keeps them, on change and every minute; everybody reads them."""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

from orchestrator.capacity.worlds import Known, Worlds
from orchestrator.config import Settings
from orchestrator.domain.campaign import Campaign
from orchestrator.domain.errors import LeaseLost
from orchestrator.domain.outlooks import KeptOutlook, LaneOutlook, Subject
from orchestrator.domain.request import DEFAULT_PRIORITY
from orchestrator.kit.readings import Reading
from orchestrator.learning.book import Book
from orchestrator.policy.cohorts import advice, kept, turned
from orchestrator.policy.forecast import Cohort, Forecast, Outlook, forecast, mend
from orchestrator.policy.hindsight import Hindsight
from orchestrator.policy.queued import lanes
from orchestrator.ports.forecasts import ForecastStore, Telling
from orchestrator.telemetry import aside, logs, metrics

_log = logs.get("forecasts")

_DUTY = "forecasts"
# Who leads says so at every look; after so long without one, another does.
_LEASE_S = 30.0
# What nothing has changed is reckoned anew after so long, and not more often than the least pause.
_AGAIN_S, _LEAST_S = 60.0, 5.0
# What would mend a deadline is looked for in so many campaigns of a round, those with the nearest deadlines first.
_MENDED = 10
# How old an answer about forecasts may be, and how long its reader waits for a newer one.
_FRESH_S, _PATIENCE_S = 2.0, 1.0


class Forecasting:
    """Makes forecasts, while it leads. Any number may run: one of them does it, and its writes are fenced."""

    def __init__(
        self, settings: Settings, store: ForecastStore, book: Book, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._worlds = Worlds(settings, store, book, monotonic=monotonic)
        self._monotonic = monotonic
        self._token = uuid4()
        self._mark = ""
        self._made_at = -math.inf
        self._hindsight = Hindsight()

    async def run_once(self) -> bool:
        """Whether forecasts were made: by who leads, when something has changed or a minute is over."""
        if not await self._store.lead(_DUTY, self._token, _LEASE_S):
            if self._made_at > -math.inf:
                metrics.show_forecasts(())  # another one shows them now
                metrics.show_backlogs({})
                self._hindsight.forget()
            self._made_at = -math.inf
            return False
        mark, age = await self._store.forecast_mark(), self._monotonic() - self._made_at
        if age < (_AGAIN_S if mark == self._mark else _LEAST_S):
            return False
        began = self._monotonic()
        await self._make()
        metrics.forecast_seconds.observe(self._monotonic() - began)
        self._mark, self._made_at = mark, began
        return True

    async def _make(self) -> None:
        known = await self._worlds.now()
        before = {each.name: each for each in await self._store.forecasts() if each.subject is Subject.CAMPAIGN}
        # It is a second of pure Python: other loops of this process go on meanwhile.
        outlooks, tellings = await asyncio.to_thread(_reckoned, known, before)
        curves = await asyncio.to_thread(_lanes, known)
        try:
            await self._store.keep_forecasts(_DUTY, self._token, outlooks, tellings, lanes=curves)
        except LeaseLost:  # it took too long, and another leads by now
            return
        metrics.show_forecasts(outlooks)
        metrics.show_backlogs(backlogs(known.world.cohorts))
        await self._look_back(outlooks)
        for campaign, event, _ in tellings:
            _log.info("forecast_turned", campaign=campaign.id, tenant=campaign.tenant, told=event)

    async def _look_back(self, outlooks: Sequence[KeptOutlook]) -> None:
        """Count how true the forecasts of campaigns were that have completed since the last round."""
        gone = self._hindsight.note([each for each in outlooks if each.subject is Subject.CAMPAIGN])
        if not gone:
            return
        for judgement in self._hindsight.judge(gone, await self._store.completed(gone)):
            metrics.forecast_error.observe(judgement.ratio)
            metrics.forecasts_held.labels(judgement.held).inc()


def backlogs(cohorts: Iterable[Cohort]) -> dict[str, dict[str, float]]:
    """Predicted GPU seconds that wait, by pool and tenant."""
    found: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    for each in cohorts:
        found[each.pool][each.tenant] += each.seconds
    return {pool: dict(tenants) for pool, tenants in found.items()}


def _reckoned(known: Known, before: dict[str, KeptOutlook]) -> tuple[list[KeptOutlook], list[Telling]]:
    """All outlooks, and what the world hears of them: only what has turned."""
    found = forecast(known.world)
    outlooks = [
        kept(Subject.POOL, name, outlook, known.now, paused=known.paused.get(name))
        for name, outlook in found.pools.items()
    ]
    tellings: list[Telling] = []
    risky: list[tuple[Campaign, KeptOutlook]] = []
    for campaign in known.campaigns.values():
        outlook = found.subjects.get(campaign.id)
        if outlook is None:
            continue
        with aside.unless_it_breaks("forecasts", campaign=campaign.id):
            told = _kept(campaign, outlook, known, before.get(campaign.id))
            risky.append((campaign, told))
    mended = _mended([each for each in risky if each[1].at_risk], known, found)
    for campaign, told in risky:
        told = mended.get(campaign.id, told)
        outlooks.append(told)
        turn = turned(before.get(campaign.id), told)
        if turn is not None:
            tellings.append((campaign, "campaign.at_risk" if turn else "campaign.on_track", _detail(told)))
    return outlooks, tellings


def _lanes(known: Known) -> list[LaneOutlook]:
    """When jobs that wait begin; in a pool that is paused none does, and they hear why."""
    found = lanes(known.world, known.now, usual=[DEFAULT_PRIORITY])
    return [replace(each, reason=each.reason and known.paused.get(each.pool, each.reason)) for each in found]


def _kept(campaign: Campaign, outlook: Outlook, known: Known, before: KeptOutlook | None) -> KeptOutlook:
    why = [known.paused[group.pool] for group in campaign.estimate if group.pool in known.paused]
    paused = why[0] if why else None
    deadline = campaign.deadline
    return kept(Subject.CAMPAIGN, campaign.id, outlook, known.now, deadline=deadline, before=before, paused=paused)


def _mended(risky: Sequence[tuple[Campaign, KeptOutlook]], known: Known, found: Forecast) -> dict[str, KeptOutlook]:
    """Those that are at risk, with what would help; of more than a round has time for, the most urgent ones."""
    mended = {}
    far = datetime.max.replace(tzinfo=UTC)
    for campaign, told in sorted(risky, key=lambda each: each[0].deadline or far)[:_MENDED]:
        way, stop = mend(known.world, found, campaign.id), found.subjects[campaign.id].stop
        words = advice(way, known.now, stop)
        if words:
            mended[campaign.id] = replace(told, advice=words)
    return mended


def _detail(told: KeptOutlook) -> dict[str, object]:
    moments = {name: getattr(told, name) for name in ("low_at", "likely_at", "high_at")}
    seconds = {name: None if moment is None else int(moment.timestamp()) for name, moment in moments.items()}
    return {**seconds, "advice": told.advice, "reason": told.reason}


class Admission:
    """What a campaign would have to expect, before anybody says yes to it."""

    def __init__(self, settings: Settings, store: ForecastStore, book: Book) -> None:
        self._worlds = Worlds(settings, store, book)

    async def would(self, campaign: Campaign) -> KeptOutlook | None:
        """When it would be done if it went on now, beside all that there is. Raises `StoreUnavailable`."""
        known = await self._worlds.now(beside=campaign)
        found = (await asyncio.to_thread(forecast, known.world)).subjects.get(campaign.id)
        return None if found is None else _kept(campaign, found, known, None)


class Forecasts:
    """What was forecast last, at most two seconds ago where the store answers."""

    def __init__(self, store: ForecastStore, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        first: dict[tuple[Subject, str], KeptOutlook] = {}
        self._known = Reading(
            "forecasts", self._read, first, fresh_s=_FRESH_S, patience_s=_PATIENCE_S, monotonic=monotonic
        )

    async def _read(self) -> dict[tuple[Subject, str], KeptOutlook]:
        return {(each.subject, each.name): each for each in await self._store.forecasts()}

    async def of(self, subject: Subject, name: str) -> KeptOutlook | None:
        """The forecast of one campaign or pool, None where there is none. Never raises: what was known before does."""
        return (await self._known.now()).get((subject, name))

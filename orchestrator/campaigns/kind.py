"""A campaign as a kind of rows: taken in, sampled, run, accounted for. What it decides is in `moves.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from orchestrator.campaigns import moves
from orchestrator.campaigns.commands import paused
from orchestrator.campaigns.finishing import Finishing
from orchestrator.campaigns.ingest import Ingest
from orchestrator.campaigns.moves import Known
from orchestrator.campaigns.requests import Requests, overridden
from orchestrator.campaigns.seats import Seats
from orchestrator.config import Settings
from orchestrator.domain.campaign import Campaign, CampaignState, Pass, PauseReason, Row
from orchestrator.domain.errors import RequestError
from orchestrator.domain.job import NewJob
from orchestrator.domain.request import VideoRequest
from orchestrator.domain.states import JobState
from orchestrator.intake.jobs import Jobs
from orchestrator.policy.window import Window as Room
from orchestrator.policy.window import window
from orchestrator.ports.campaign_values import Change, Hold, Short, Window
from orchestrator.ports.campaigns import CampaignStore
from orchestrator.rows.engine import WATCH_S
from orchestrator.rows.refill import CHUNK, LONGEST_PAUSE_S, Filled, Refill
from orchestrator.telemetry import logs, metrics

_log = logs.get("campaigns")

_S = CampaignState
_SETTLE = 1_000
# Between two looks at what waits for a person, an hour or money.
_REST_S = 2.0
_LONGEST_REST_S = 600.0
# Every row has ended. Or the time is over: what renders is stopped, and what has not begun never does.
_DONE = Change(state=_S.FINISHING, pauses=frozenset(), values={"drained": True})
_STOP = Change(state=_S.FINISHING, pauses=frozenset(), window=Window.CANCEL, closes=True)
# The id of a job that is only priced.
_NOBODY = UUID(int=0)


class CampaignKind:
    """Moves campaigns on. Each step settles what has ended, decides one thing, and fills the window."""

    def __init__(
        self,
        settings: Settings,
        store: CampaignStore,
        *,
        jobs: Jobs,
        requests: Requests,
        ingest: Ingest,
        finishing: Finishing,
    ) -> None:
        self._settings = settings
        self._store = store
        self._jobs = jobs
        self._requests = requests
        self._ingest = ingest
        self._finishing = finishing
        self._refill = Refill(store, settings.prices)
        self._seats = Seats(store, most_ahead=settings.campaigns.most_ahead)

    async def take_in(self, hold: Hold) -> float:
        return await self._ingest.take_in(hold)

    async def finish(self, hold: Hold) -> float:
        return await self._finishing.finish(hold)

    async def move(self, hold: Hold) -> float:
        """One step; the seconds for which nobody needs to look at it."""
        campaign = await self._store.settle_rows(hold, limit=_SETTLE)
        hold = replace(hold, campaign=campaign)
        known = await self._known(hold)
        match campaign.state:
            case _S.PLANNED:
                return await self._changed(hold, moves.planned(campaign, known), else_s=_REST_S)
            case _S.CANCELLED | _S.FINISHING:
                return await self._wind_up(hold)
            case _S.PAUSED:
                return await self._paused(hold, known)
            case _:
                return await self._running(hold, known)

    # ------------------------------------------------------------ sampling and running

    async def _running(self, hold: Hold, known: Known) -> float:
        campaign, live = hold.campaign, hold.campaign.counts.live
        over = not live and not await self._store.open_passes(hold)
        for change in (
            moves.stopped(campaign, known),
            moves.spent(campaign, exhausted=False),
            moves.tenant_spent(campaign, known.budgets),
        ):
            due = moves.only_told(change) if over else change
            if due is not None:
                return await self._changed(hold, due)
        if not over and known.overdue and campaign.ask.on_deadline == "stop" and campaign.state is _S.RUNNING:
            return await self._changed(hold, _STOP)
        progress = moves.progressed(campaign)
        if progress is not None:
            return await self._changed(hold, progress)
        return await self._through(hold, known) if over else await self._fill(hold, known)

    async def _fill(self, hold: Hold, known: Known) -> float:
        campaign, live = hold.campaign, hold.campaign.counts.live
        workers = await self._store.workers_of(sorted({group.pool for group in campaign.estimate}))
        room = self._room(campaign, workers)
        dealt = await self._seats.of(campaign, workers, rows=room.rows)
        seats = room.seats if dealt is None else min(room.seats, dealt)
        active = campaign.counts.queued + campaign.counts.running
        if campaign.max_running is not None or campaign.counts.held or dealt is not None:
            most = room.seats if campaign.max_running is None else campaign.max_running
            active = await self._balance(hold, most if dealt is None else min(most, dealt))
        filled = await self._refill.fill(
            hold, room=room.rows - live, seats=max(0, seats - active), prepare=self._prepare
        )
        if filled.through and not live:
            return await self._through(hold, known)
        return await self._short(hold, filled) if filled.short is not None else filled.pause_s

    async def _through(self, hold: Hold, known: Known) -> float:
        """Every row that was to be gone through has ended."""
        campaign = hold.campaign
        if campaign.state is _S.SAMPLING:
            return await self._changed(hold, moves.after_sample(campaign, known))
        return await self._changed(hold, _DONE)

    async def _short(self, hold: Hold, filled: Filled) -> float:
        """There was not enough of something."""
        if hold.campaign.counts.live or filled.jobs:  # what runs may turn out cheaper than was reserved for it
            return filled.pause_s
        campaign = await self._store.read_held(hold)
        if filled.short is Short.BUDGET:
            await self._changed(hold, moves.spent(campaign, exhausted=True))
            return LONGEST_PAUSE_S
        if filled.again_s is not None and filled.again_s >= LONGEST_PAUSE_S:
            await self._changed(hold, paused(campaign, PauseReason.QUOTA, "a limit of its tenant is reached"))
            return min(filled.again_s, _LONGEST_REST_S)
        return filled.pause_s

    def _room(self, campaign: Campaign, workers: Mapping[str, int]) -> Room:
        return window(
            workers=sum(workers.values()),
            cost_s=campaign.typical,
            succeeded=campaign.fresh_succeeded,
            failed=campaign.fresh_failed,
            most=self._settings.campaigns.most_ahead,
            max_running=campaign.max_running,
        )

    async def _balance(self, hold: Hold, seats: int) -> int:
        """Have so many of its jobs in the queue or running, if there are; how many are then."""
        jobs = await self._store.window(hold)
        to_hold, to_ready = moves.balanced(jobs, seats)
        if to_hold or to_ready:
            await self._store.rebalance(
                hold, to_hold=[job.job_id for job in to_hold], to_ready=[job.job_id for job in to_ready]
            )
        active = sum(job.state is not JobState.HELD for job in jobs)
        return active - len(to_hold) + len(to_ready)

    def _request(self, campaign: Campaign, wanted: Pass, row: Row, job_id: UUID) -> VideoRequest:
        overrides = wanted.overrides
        if row.profile is not None and not overrides:  # what failed to be promoted is not made a draft again
            overrides = {"profile": row.profile}
        if overrides:
            row = replace(row, body=overridden(row.body, overrides))
        return self._requests.request(campaign, row, campaign.template, job_id)

    async def _prepare(self, hold: Hold, wanted: Pass, row: Row, job_id: UUID) -> NewJob:
        campaign = hold.campaign
        request = self._request(campaign, wanted, row, job_id)
        hook = campaign.ask.webhook_url if campaign.ask.row_webhooks else None
        request = replace(
            request,
            priority=None,  # accepted when it was asked for; what its tenant may have since goes before it
            usual_priority=campaign.priority,
            idempotency_key=None,
            run_at=None,
            deadline=None,
            webhook_url=hook,
            metadata={**request.metadata, "campaign": campaign.id, "custom_id": row.custom_id[:512]},
        )
        job = await self._jobs.prepare(campaign.tenant, request, job_id)
        kept = {**job.request, "revision": self._settings.revisions.get(job.spec.model)}
        return replace(job, quiet=not campaign.ask.row_webhooks, request=kept)

    # ------------------------------------------------------------ paused, stopped, cancelled

    async def _paused(self, hold: Hold, known: Known) -> float:
        campaign, live = hold.campaign, hold.campaign.counts.live
        if known.overdue and campaign.ask.on_deadline == "stop" and campaign.approved:
            return await self._changed(hold, _STOP)
        if campaign.approved and not live and not campaign.counts.waiting and not await self._store.open_passes(hold):
            return await self._changed(hold, _DONE)
        if campaign.counts.queued:  # it failed, or lost its worker, and came back meanwhile
            await self._balance(hold, 0)
        cost, price = await self._next(hold) if PauseReason.BUDGET in campaign.pauses else (0.0, 0.0)
        change = moves.relieved(campaign, known, cost=cost, price=price)
        return await self._changed(hold, change, else_s=_REST_S)

    async def _next(self, hold: Hold) -> tuple[float, float]:
        """What its next row costs: GPU seconds, and the price of one; a typical row's where none is found at once."""
        campaign, prices = hold.campaign, self._refill.prices
        for wanted in (await self._store.open_passes(hold))[:1]:
            found = await self._store.find_rows(hold, wanted, limit=CHUNK)
            for _, row in found.rows[:1]:
                try:
                    request = self._request(campaign, wanted, row, _NOBODY)
                    job = await self._jobs.priced(campaign.tenant, request)
                except RequestError:  # it gets no job
                    return 0.0, 0.0
                return job.cost, prices.get(job.pool, 0.0)
        return campaign.typical, max((prices.get(group.pool, 0.0) for group in campaign.estimate), default=0.0)

    async def _wind_up(self, hold: Hold) -> float:
        """What lives was asked to end when this began; then what is there is accounted for."""
        if hold.campaign.counts.live:
            return WATCH_S
        await self._store.change_held(hold, Change(values={"drained": True}))
        return 0

    async def _changed(self, hold: Hold, change: Change | None, *, else_s: float = 0.0) -> float:
        """Carry out a change, and look again at once."""
        if change is None:
            return else_s
        after = await self._store.change_held(hold, change)
        if after.state is not hold.campaign.state:
            metrics.campaigns_moved.labels(after.state).inc()
            _log.info("campaign_moved", campaign=after.id, tenant=after.tenant, state=after.state)
        return 0

    async def _known(self, hold: Hold) -> Known:
        campaign, now = hold.campaign, datetime.now(UTC)
        pools = {group.pool for group in campaign.estimate} & set(self._settings.pools)
        closed = any(self._settings.pools[pool].closed.closed_at(now) for pool in pools)
        budgets = [] if campaign.state is _S.CANCELLED else await self._store.budgets_of(campaign.tenant)
        return Known(
            due=hold.due,
            overdue=hold.overdue,
            closed=closed,
            revisions=self._settings.revisions,
            budgets=budgets,
        )

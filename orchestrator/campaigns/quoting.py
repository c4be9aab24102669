"""What a campaign costs before it begins: its plan, priced by what the fleet is and by what renders have taught."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from orchestrator.campaigns.requests import Priced, Requests, added
from orchestrator.config import Settings
from orchestrator.domain.campaign import Campaign, CampaignState, Group, Row, TemplateVersion
from orchestrator.domain.errors import InvalidField, RequestError, WrongState
from orchestrator.intake.planning import prediction_of
from orchestrator.learning.book import Book
from orchestrator.policy import charge
from orchestrator.policy.order import sample_places
from orchestrator.policy.pricing import NOTHING, Fleet, Range, quote, range_of
from orchestrator.ports.campaigns import CampaignStore

# Rows that are tried when a template changes.
_TRIED = 200
# And that are tried when a plan is priced: they differ in how true the catalogue is of them, and that is little.
_PRICED = 32

# A pool, and a model in it.
_Kind = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is left to render, and what that costs."""

    campaign: Campaign
    gpu_seconds: Range
    money: Range | None
    # What fair shares and daily limits will count.
    charge: float
    # None where a pool has no worker.
    hours_present: float | None
    hours_largest: float | None
    workers_present: int
    workers_largest: int
    # Whether all is likely done by the deadline on the present fleet; None without a deadline, or a worker.
    deadline_holds: bool | None
    groups: tuple[Group, ...]


class Quoting:
    """Prices campaigns. Reads the fleet and what renders have taught; decides nothing."""

    def __init__(self, settings: Settings, store: CampaignStore, requests: Requests, book: Book) -> None:
        self._settings = settings
        self._store = store
        self._requests = requests
        self._book = book

    async def plan(self, campaign: Campaign) -> Plan:
        """The plan of what has not ended. Raises `WrongState` before the rows are read."""
        if campaign.plan_token is None:
            raise WrongState(f"the campaign is {campaign.state}; it has no plan yet")
        pools = sorted({group.pool for group in campaign.estimate})
        fleets = await self.fleets(pools)
        groups, (ratios, charged) = _left(campaign), await self._taught(campaign)
        found = quote(groups, fleets, ratios, charged)
        hours = found.hours_present
        due = None if campaign.deadline is None or hours is None else campaign.deadline
        begins = max(datetime.now(UTC), campaign.run_at or datetime.now(UTC))
        return Plan(
            campaign=campaign,
            gpu_seconds=found.gpu_seconds,
            money=found.money,
            charge=found.charge,
            hours_present=hours,
            hours_largest=found.hours_largest,
            workers_present=sum(fleet.present for fleet in fleets.values()),
            workers_largest=sum(fleet.largest for fleet in fleets.values()),
            deadline_holds=None if due is None or hours is None else begins + timedelta(hours=hours) <= due,
            groups=tuple(replace(g, gpu_seconds=g.gpu_seconds * ratios[g.pool, g.model].likely) for g in groups),
        )

    async def _taught(self, campaign: Campaign) -> tuple[Mapping[_Kind, Range], Mapping[_Kind, float]]:
        """Real GPU seconds per second of the estimate, and the charge of one, of each pool and model in it.

        They are those of a few of its rows, as what is learned differs by shape and profile; where none of these is of
        a model, what its renders have taught whatever they were.
        """
        known = await self._book.known()
        priors: defaultdict[_Kind, float] = defaultdict(float)
        charges: defaultdict[_Kind, float] = defaultdict(float)
        sums: defaultdict[_Kind, Range] = defaultdict(lambda: NOTHING)
        for row in await self._store.rows_at(campaign, sample_places(campaign.counts.rows, _PRICED)):
            try:
                job = self._requests.planned(campaign.tenant, row, campaign.template)
            except RequestError:  # it gets no job
                continue
            of = job.pool, job.spec.model
            found = prediction_of(self._settings, job.spec, job.pool, known)
            priors[of] += job.cost
            charges[of] += charge.predicted(found.gpu_seconds, job.spec)
            sums[of] = sums[of].plus(Range(low=found.low, likely=found.gpu_seconds, high=found.high))
        ratios = {
            of: sums[of].times(1 / priors[of]) if priors[of] > 0 else range_of(known.of_model(of[1], of[0]))
            for of in ((group.pool, group.model) for group in campaign.estimate)
        }
        return ratios, {of: charges[of] / sums[of].likely for of in sums if sums[of].likely > 0}

    async def fleets(self, pools: list[str]) -> Mapping[str, Fleet]:
        """What these pools have to render with. One that is configured no more has nothing."""
        present = await self._store.workers_of(pools)
        found = {}
        for pool in pools:
            known = self._settings.pools.get(pool)
            found[pool] = Fleet(
                present=present.get(pool, 0),
                largest=0 if known is None else self._settings.most_workers(pool),
                per_hour=None if known is None else known.price_of_work,
            )
        return found


class Repricing:
    """What a campaign costs under another template, by a fair sample of its rows: they are tried, and priced anew."""

    def __init__(self, store: CampaignStore, requests: Requests) -> None:
        self._store = store
        self._requests = requests

    async def estimate(self, campaign: Campaign, template: TemplateVersion) -> tuple[Group, ...]:
        """The estimate of all rows. Raises `InvalidField` for a row that could not be rendered any more."""
        total = campaign.counts.rows
        rows = await self._store.rows_at(campaign, sample_places(total, _TRIED))
        tried = added((), Counter(self._tried(campaign.tenant, row, template) for row in rows))
        share = total / max(1, len(rows))
        return tuple(
            replace(group, rows=round(group.rows * share), gpu_seconds=group.gpu_seconds * share) for group in tried
        )

    def _tried(self, tenant: str, row: Row, template: TemplateVersion) -> Priced:
        try:
            return self._requests.retried(tenant, row, template)
        except RequestError as error:
            where = "template" if error.param is None else error.param
            raise InvalidField(
                f"row {row.custom_id[:80]!r} does not go with it: {error.message}", param=where
            ) from None


def _left(campaign: Campaign) -> tuple[Group, ...]:
    """The estimate of the rows that have not ended, as far as their share tells."""
    rows = campaign.counts.rows
    share = 1.0 if not rows or campaign.state is CampaignState.PLANNED else 1 - campaign.counts.ended / rows
    return tuple(
        Group(pool=g.pool, model=g.model, rows=round(g.rows * share), gpu_seconds=g.gpu_seconds * share)
        for g in campaign.estimate
    )

"""A campaign's seats in the queue where its tenant has other campaigns, or single videos, of the same priority."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.domain.campaign import Campaign
from orchestrator.policy.refill import Contender, error_weight, needed_workers, refill
from orchestrator.policy.window import ahead
from orchestrator.ports.campaign_values import Beside
from orchestrator.ports.campaigns import CampaignStore

# How old what is known of the others may be: each campaign asks at each of its steps, for all of them.
FRESH_S = 1.0
# In no campaign's id.
_SINGLES = "single videos"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What is known of one tenant's campaigns of one priority, and of what is beside them, by pool."""

    read_at: float
    campaigns: list[Campaign]
    beside: Mapping[str, Beside]


class Seats:
    """Deals by `policy/refill.py` over what the database says. Every campaign reckons for itself, and takes its own."""

    def __init__(
        self, store: CampaignStore, *, most_ahead: int, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._most_ahead = most_ahead
        self._monotonic = monotonic
        self._known: dict[tuple[str, int], _Known] = {}

    async def of(self, campaign: Campaign, workers: Mapping[str, int], *, rows: int) -> int | None:
        """The seats of a campaign that may have jobs for so many rows; None where it has nobody to share with.

        `workers` are those alive, by pool.
        """
        known = await self._read(campaign)
        # It itself as it is now, and as much of it as it is about to have.
        others = [each for each in known.campaigns if each.id != campaign.id]
        everybody = sorted([*others, campaign], key=lambda each: (each.created_at, each.id))
        if not others and not any(beside.singles_running + beside.singles_ready for beside in known.beside.values()):
            return None
        return sum(
            self._dealt(campaign, everybody, pool, known.beside[pool], workers.get(pool, 0), rows=rows)
            for pool in sorted(_pools(campaign))
        )

    def _dealt(
        self, campaign: Campaign, everybody: list[Campaign], pool: str, beside: Beside, workers: int, *, rows: int
    ) -> int:
        here = [each for each in everybody if pool in _pools(each)]
        cost_s = min(each.typical for each in here)
        contenders = [_contender(each, pool, most=rows if each is campaign else 0) for each in here]
        singles = beside.singles_running + beside.singles_ready
        contenders.append(Contender(name=_SINGLES, most=singles, running=beside.singles_running))
        spare = ahead(workers, cost_s, most=self._most_ahead) - workers
        free = max(0, workers - beside.busy)
        return refill(contenders, workers=beside.running + free, spare=max(0, spare))[campaign.id]

    async def _read(self, campaign: Campaign) -> _Known:
        now, key = self._monotonic(), (campaign.tenant, campaign.priority)
        known = self._known.get(key)
        if known is None or now - known.read_at >= FRESH_S or not _pools(campaign) <= known.beside.keys():
            campaigns = await self._store.rivals(campaign.tenant, campaign.priority)
            ids = {each.id for each in campaigns} | {campaign.id}
            pools = _pools(campaign).union(*(_pools(each) for each in campaigns))
            beside = {
                pool: await self._store.beside(campaign.tenant, pool, campaign.priority, ids, most=self._most_ahead)
                for pool in sorted(pools)
            }
            known = _Known(read_at=now, campaigns=campaigns, beside=beside)
            fresh = {old: each for old, each in self._known.items() if now - each.read_at < FRESH_S}
            self._known = fresh | {key: known}
        return known


def _pools(campaign: Campaign) -> set[str]:
    return {group.pool for group in campaign.estimate}


def _contender(campaign: Campaign, pool: str, *, most: int) -> Contender:
    """`most`: jobs that it is about to have, if these are more than it has."""
    counts = campaign.counts
    most = max(counts.live, min(most, counts.live + counts.waiting))
    cap = counts.rows if campaign.max_running is None else campaign.max_running
    seconds = {group.pool: group.gpu_seconds for group in campaign.estimate}
    here = seconds[pool] / (sum(seconds.values()) or 1.0)
    left_s = None if campaign.deadline is None else (campaign.deadline - datetime.now(UTC)).total_seconds()
    return Contender(
        name=campaign.id,
        most=min(most, cap),
        running=counts.running,
        need=needed_workers((counts.rows - counts.ended) * campaign.typical * here, left_s),
        due_s=math.inf if left_s is None else left_s,
        weight=error_weight(campaign.fresh_succeeded, campaign.fresh_failed),
    )

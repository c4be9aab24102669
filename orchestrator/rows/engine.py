"""Moves batches and campaigns on, one leased step at a time. Killed anywhere, the next one goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Protocol

from orchestrator.domain.campaign import Kind
from orchestrator.domain.errors import LeaseLost, Unavailable
from orchestrator.ports.campaign_values import Hold, Work
from orchestrator.ports.campaigns import CampaignStore
from orchestrator.telemetry import aside, logs

_log = logs.get("rows")

LEASE_S = 60.0
# Between two looks at what is rendering, and after a step that could not be done.
WATCH_S = 1.0
RETRY_S = 5.0


class RowKind(Protocol):
    """What a batch does differently from a campaign. Every step may simply be done again."""

    async def take_in(self, hold: Hold) -> float:
        """Read the input to its end and insert its rows, or say why not."""
        ...

    async def move(self, hold: Hold) -> float:
        """End what has ended, submit what there is room for; the seconds for which nobody needs to look at it."""
        ...

    async def finish(self, hold: Hold) -> float:
        """Write what is left behind, and end."""
        ...


class RowEngine:
    """Works on whatever is due. Any number may run: every write is filtered on a lease.

    What nobody foresaw parks the one campaign that it befell, and the others go on at once. Taking in, moving on and
    finishing are loops of their own: whoever takes in a million rows holds up nobody's refill.
    """

    def __init__(self, store: CampaignStore, kinds: Mapping[Kind, RowKind]) -> None:
        self._store = store
        self._kinds = kinds

    async def ingest(self) -> int:
        """Take in one input; how many were due."""
        return await self._one(Work.INGEST, lambda kind: kind.take_in)

    async def move(self) -> int:
        """A step of everything that is due."""
        steps = 0
        while await self._one(Work.MOVE, lambda kind: kind.move):
            steps += 1
        return steps

    async def finish(self) -> int:
        """End one of those whose rows have all ended."""
        return await self._one(Work.FINISH, lambda kind: kind.finish)

    async def _one(self, work: Work, step_of: Callable[[RowKind], Callable[[Hold], Awaitable[float]]]) -> int:
        hold = await self._store.lease_campaign(work, LEASE_S)
        if hold is None:
            return 0
        await self._step(hold, step_of(self._kinds[hold.campaign.kind]))
        return 1

    async def _step(self, hold: Hold, step: Callable[[Hold], Awaitable[float]]) -> None:
        """One step, with the lease renewed meanwhile. What it could not do is tried again after a pause."""
        beating = asyncio.create_task(self._beat(hold))
        campaign, pause_s = hold.campaign, RETRY_S
        try:
            pause_s = await step(hold)
        except LeaseLost as error:
            _log.info("campaign_left", campaign=campaign.id, reason=str(error))
            pause_s = 0
        except Unavailable as error:
            _log.warning("campaign_waits", campaign=campaign.id, state=campaign.state, error=str(error))
        except Exception as error:
            await self._store.park_campaign(hold, aside.put("rows", error, campaign=campaign.id))
        finally:
            beating.cancel()
            with suppress(Unavailable):  # then the lease runs out
                await self._store.release_campaign(hold, pause_s=pause_s)

    async def _beat(self, hold: Hold) -> None:
        while True:
            await asyncio.sleep(LEASE_S / 4)
            try:
                await self._store.renew_campaign(hold, LEASE_S)
            except Unavailable:
                continue
            except LeaseLost:
                return  # the step finds out by its next write

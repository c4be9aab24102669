"""Recurring campaigns: when the time of one comes, a campaign like it begins."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from uuid_utils.compat import uuid7

from orchestrator.domain.campaign import Campaign, CampaignState
from orchestrator.domain.errors import LimitExceeded
from orchestrator.kit.schedules import next_run
from orchestrator.ports.campaign_values import NewCampaign
from orchestrator.ports.campaigns import CampaignStore
from orchestrator.telemetry import aside, logs

_log = logs.get("campaigns")


class Scheduler:
    """Begins what is due. Two of them begin it once: the next campaign's key says which time it is of."""

    def __init__(self, store: CampaignStore) -> None:
        self._store = store

    async def run_once(self) -> int:
        """How many have begun."""
        done = 0
        for campaign in await self._store.due_schedules():
            with aside.unless_it_breaks("schedules", campaign=campaign.id):
                await self._begin(campaign)
                done += 1
        return done

    async def _begin(self, campaign: Campaign) -> None:
        ask, moment = campaign.ask, campaign.next_run_at
        assert ask.cron is not None
        assert ask.time_zone is not None
        assert moment is not None
        new = NewCampaign(
            id=f"campaign_{uuid7().hex}",
            tenant=campaign.tenant,
            state=CampaignState.DRAFT if campaign.input is None else CampaignState.INGESTING,
            ask=replace(ask, cron=None, time_zone=None),
            template=replace(campaign.template, version=1),
            priority=campaign.priority,
            max_running=campaign.max_running,
            input=None if campaign.input is None else replace(campaign.input, sha256=None),
            schedule_of=campaign.id,
            idempotency_key=f"schedule:{campaign.id}:{moment.isoformat()}",
            request_hash="schedule",
            made_by=campaign.made_by,
        )
        try:
            begun = await self._store.add_campaign(new)
        except LimitExceeded as error:  # this time passes; the next one may find room
            _log.warning("campaign_not_scheduled", schedule=campaign.id, tenant=campaign.tenant, error=str(error))
            begun = None
        # From now, not from the time that is over: what a stopped maintainer missed begins once.
        await self._store.scheduled(campaign, next_run(ask.cron, ask.time_zone, datetime.now(UTC)))
        if begun is None:
            return
        _log.info("campaign_scheduled", campaign=begun.id, schedule=campaign.id, tenant=campaign.tenant)

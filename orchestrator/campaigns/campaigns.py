"""A tenant's campaigns: made, read, planned, approved, steered. The use-cases behind every way to ask for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

from uuid_utils.compat import uuid7

from orchestrator.campaigns import commands
from orchestrator.campaigns.amending import amend
from orchestrator.campaigns.asking import Wish, ask_of, check, next_of, template_of
from orchestrator.campaigns.ids import PREFIX, behind, checked, found
from orchestrator.campaigns.inputs import Inputs, Upload
from orchestrator.campaigns.quoting import Plan, Quoting, Repricing
from orchestrator.campaigns.reading.values import MAX_CUSTOM_ID
from orchestrator.capacity.forecasting import Admission
from orchestrator.config import Settings
from orchestrator.domain.audit import Action
from orchestrator.domain.campaign import (
    Ask,
    Campaign,
    CampaignState,
    Input,
    Outcome,
    TemplateVersion,
)
from orchestrator.domain.campaign_filter import ALL, CampaignFilter
from orchestrator.domain.errors import InvalidField, Outdated, WrongState
from orchestrator.domain.request import fingerprint_of
from orchestrator.domain.texts import check_key, check_text
from orchestrator.ports.campaign_values import CampaignPage, Change, NewCampaign, RowFilter, RowPage
from orchestrator.ports.campaigns import CampaignStore
from orchestrator.telemetry import acting, tracing
from orchestrator.tenants.rates import TenantLimits

# Rows that one command may name. A body of the API may hold some more values.
MAX_NAMED = 9_000
_MAX_REASON = 200

Decide = Callable[[Campaign], Change | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which rows a command is about: those that are named, those that failed for a reason, or all that it fits."""

    rows: Sequence[str] | None = None
    code: str | None = None


class Campaigns:
    """A tenant's campaigns. Every id that is not one of the tenant's own raises `NotFound`, whatever the reason."""

    def __init__(
        self,
        settings: Settings,
        store: CampaignStore,
        inputs: Inputs,
        quoting: Quoting,
        repricing: Repricing,
        admission: Admission,
        limits: TenantLimits,
    ) -> None:
        self._settings = settings
        self._store = store
        self._inputs = inputs
        self._quoting = quoting
        self._repricing = repricing
        self._admission = admission
        self._limits = limits

    # ------------------------------------------------------------ making and reading

    async def create(
        self,
        tenant: str,
        wish: Wish,
        *,
        source: str | None = None,
        form: str | None = None,
        clone_of: str | None = None,
        idempotency_key: str | None = None,
    ) -> Campaign:
        """A draft, or one that is taken in at once where its input is there. Raises a `RequestError` naming the field.

        A clone has the template, the settings and the input of another, where the wish says nothing.
        """
        check_key(idempotency_key)
        asked = fingerprint_of({"wish": wish, "source": source, "format": form, "clone_of": clone_of})
        if idempotency_key is not None:  # what it named may be gone by now
            earlier = await self._store.repeated_campaign(tenant, idempotency_key, asked)
            if earlier is not None:
                return earlier
        like = None if clone_of is None else await self.get(tenant, clone_of)
        check(wish, self._settings, tenant)
        usual = self._settings.campaigns.priority
        priority = (await self._limits.of(tenant)).urgency(*_wished(wish, like, usual))
        named = None if like is None else _unread(like)
        if source is not None:
            named = await self._inputs.named(tenant, source, form)
        # Of one that recurs, this is the first: it begins when its time comes, and the next one after that.
        run_at = wish.run_at or next_of(wish.cron, wish.time_zone, datetime.now(UTC))
        new = NewCampaign(
            id=f"{PREFIX}{uuid7().hex}",
            tenant=tenant,
            state=CampaignState.DRAFT if named is None else CampaignState.INGESTING,
            ask=_ask(wish, like, self._settings),
            template=_template(wish, like),
            priority=priority,
            max_running=_said(wish, "max_running", like and like.max_running, None),
            input=named,
            run_at=run_at,
            deadline=wish.deadline,
            next_run_at=None if run_at is None else next_of(wish.cron, wish.time_zone, run_at),
            idempotency_key=idempotency_key,
            request_hash=None if idempotency_key is None else asked,
            made_by=acting.current().key,
            trace=tracing.kept(),
        )
        return await self._store.add_campaign(new)

    async def get(self, tenant: str, campaign_id: str) -> Campaign:
        """The campaign as it stands."""
        return found(await self._store.get_campaign(checked(campaign_id), tenant), campaign_id)

    async def list(
        self, tenant: str, wanted: CampaignFilter = ALL, *, limit: int, after: str | None = None
    ) -> CampaignPage:
        """A page of campaigns, newest first, behind the campaign `after`, which may be gone by now."""
        return await self._store.list_campaigns(tenant, wanted, limit=limit, after=behind(after))

    async def delete(self, tenant: str, campaign_id: str) -> None:
        """Forget a campaign that has ended; its videos stay as long as others do."""
        if not await self._store.delete_campaign(checked(campaign_id), tenant):
            campaign = await self.get(tenant, campaign_id)
            if campaign.state.ended:
                raise WrongState(f"the campaign is {campaign.state}, and what it was rendering is being stopped")
            raise WrongState(f"the campaign is {campaign.state}; cancel it before it is deleted")

    async def plan(self, tenant: str, campaign_id: str) -> Plan:
        """What it will render, and what that costs."""
        return await self._quoting.plan(await self.get(tenant, campaign_id))

    async def rows(
        self, tenant: str, campaign_id: str, wanted: RowFilter, *, after: int, limit: int
    ) -> tuple[Campaign, RowPage]:
        """A page of rows behind a place, -1 for the first."""
        campaign = await self.get(tenant, campaign_id)
        return campaign, await self._store.show_rows(campaign, wanted, after=after, limit=limit)

    def bad_rows(self, campaign: Campaign) -> Any:
        """All lines that are no rows, page by page."""
        return self._store.bad_rows(campaign)

    # ------------------------------------------------------------ input

    async def upload(self, tenant: str, campaign_id: str) -> Upload:
        """A URL that its input may be put to."""
        campaign = await self.get(tenant, campaign_id)
        commands.check_draft(campaign)
        upload = await self._inputs.offer(tenant)
        await self._change(tenant, campaign_id, lambda now: commands.expect(now, upload.input))
        return upload

    async def ingest(self, tenant: str, campaign_id: str, source: str | None, form: str | None = None) -> Campaign:
        """Take in the rows of a file, of an object, or of what was put to the URL of `upload` (None)."""
        campaign = await self.get(tenant, campaign_id)
        if source is None:
            if campaign.input is None:
                raise InvalidField("is required: nothing was uploaded for it", param="input", code="missing")
            named = await self._inputs.uploaded(tenant, campaign.input, form)
        else:
            named = await self._inputs.named(tenant, source, form)
        return await self._change(tenant, campaign_id, lambda now: commands.begin(now, named))

    # ------------------------------------------------------------ steering

    async def patch(self, tenant: str, campaign_id: str, wish: Wish, *, version: int | None = None) -> Campaign:
        """Change what has not begun, and what holds from now on."""
        before = await self.get(tenant, campaign_id)
        check(replace(wish, **_kept_template(wish, before.template)), self._settings, tenant)
        changes = _changes(wish, before, self._settings)
        if "priority" in changes:
            usual = self._settings.campaigns.priority
            changes["priority"] = (await self._limits.of(tenant)).urgency(wish.priority, usual)
        if "template" in changes and before.plan_token is not None:
            changes["estimate"] = await self._repricing.estimate(before, changes["template"])

        def decide(now: Campaign) -> Change | None:
            commands.check_version(now, version)
            if "template" in changes and now.template.version != before.template.version:
                raise Outdated("the campaign's template has been changed at this moment: look, and ask again")
            return amend(now, changes, revisions=self._settings.revisions)

        return await self._change(tenant, campaign_id, decide, Action.CAMPAIGN_UPDATE)

    async def approve(self, tenant: str, campaign_id: str, token: str, *, version: int | None = None) -> Campaign:
        """Pay for the rest, at most the quoted upper bound.

        Raises `WrongState` about the deadline when it cannot hold, if its owner asked for that (`on_miss`).
        """
        quoted = await self.plan(tenant, campaign_id)
        asked = quoted.campaign
        if asked.ask.on_miss == "refuse" and asked.deadline is not None:
            commands.check_holds(asked, await self._admission.would(asked))

        def decide(now: Campaign) -> Change:
            commands.check_version(now, version)
            return commands.approve(now, token, cap=quoted.gpu_seconds.high + now.used)

        return await self._change(tenant, campaign_id, decide, Action.CAMPAIGN_APPROVE)

    async def reject(self, tenant: str, campaign_id: str, rows: Sequence[str], *, drop: bool) -> Campaign:
        """Leave rows of the sample out, or have them rendered with another seed."""
        places = await self._places(tenant, campaign_id, Chosen(rows=rows))
        assert places is not None, "they are named"
        revisions = self._settings.revisions
        return await self._change(
            tenant, campaign_id, lambda now: commands.reject(now, places, drop=drop, revisions=revisions)
        )

    async def pause(self, tenant: str, campaign_id: str, reason: str | None = None) -> Campaign:
        check_text(reason or "", "reason", max_chars=_MAX_REASON)
        return await self._change(tenant, campaign_id, lambda now: commands.pause(now, reason))

    async def resume(self, tenant: str, campaign_id: str) -> Campaign:
        return await self._change(tenant, campaign_id, commands.resume)

    async def cancel(self, tenant: str, campaign_id: str) -> Campaign:
        return await self._change(tenant, campaign_id, commands.cancel, Action.CAMPAIGN_CANCEL)

    async def retry(self, tenant: str, campaign_id: str, chosen: Chosen) -> Campaign:
        places = await self._places(tenant, campaign_id, chosen, of=Outcome.FAILED)
        return await self._change(tenant, campaign_id, lambda now: commands.retry(now, places, datetime.now(UTC)))

    async def waive(self, tenant: str, campaign_id: str, chosen: Chosen) -> Campaign:
        places = await self._places(tenant, campaign_id, chosen, of=Outcome.FAILED)
        return await self._change(tenant, campaign_id, lambda now: commands.waive(now, places, datetime.now(UTC)))

    async def promote(self, tenant: str, campaign_id: str, rows: Sequence[str] | None, profile: str) -> Campaign:
        places = await self._places(tenant, campaign_id, Chosen(rows=rows))
        return await self._change(
            tenant, campaign_id, lambda now: commands.promote(now, places, profile, datetime.now(UTC))
        )

    async def _places(
        self, tenant: str, campaign_id: str, chosen: Chosen, *, of: Outcome | None = None
    ) -> tuple[int, ...] | None:
        """The places of what is chosen, where it has ended so; None is all that the command fits."""
        campaign = await self.get(tenant, campaign_id)
        if chosen.rows is not None:
            if not 1 <= len(chosen.rows) <= MAX_NAMED:
                raise InvalidField(f"must name between 1 and {MAX_NAMED} rows", param="rows")
            for name in chosen.rows:
                check_text(name, "rows", max_chars=MAX_CUSTOM_ID)
            return commands.found_all(chosen.rows, await self._store.places_of(campaign, chosen.rows), of)
        if chosen.code is None:
            return None
        check_text(chosen.code, "code", max_chars=_MAX_REASON)
        found = await self._store.places_failed(campaign, chosen.code, limit=self._settings.campaigns.max_rows)
        if not found:
            raise InvalidField(f"no row has failed with {chosen.code[:80]!r}", param="code")
        return tuple(found)

    async def _change(self, tenant: str, campaign_id: str, decide: Decide, action: Action | None = None) -> Campaign:
        changed = await self._store.change_campaign(checked(campaign_id), tenant, decide, action=action)
        return found(changed, campaign_id)


def _unread(like: Campaign) -> Input | None:
    # To the URL that a draft offers nothing may have been put.
    return None if like.input is None or like.state is CampaignState.DRAFT else replace(like.input, sha256=None)


def _said(wish: Wish, name: str, before: Any, default: Any) -> Any:
    """What the wish says, else what the other campaign has, else the default."""
    own = getattr(wish, name)
    if name in wish.said and own is not None:
        return own
    return default if before is None else before


def _wished(wish: Wish, like: Campaign | None, usual: int) -> tuple[int | None, int]:
    """The priority that is wished for, None for none; and the usual one.

    A clone takes over the other's: as a wish, where that is more urgent than usual.
    """
    if wish.priority is not None or like is None:
        return wish.priority, usual
    return (like.priority, usual) if like.priority < usual else (None, like.priority)


def _ask(wish: Wish, like: Campaign | None, settings: Settings) -> Ask:
    asked = ask_of(wish, settings)
    if like is None:
        return asked
    said = {item.name: getattr(asked, item.name) for item in fields(Ask) if item.name in wish.said}
    if wish.said & {"variants", "seeds"}:  # two ways to say how many rows become of one
        said |= {"variants": asked.variants, "seeds": asked.seeds}
    return replace(like.ask, cron=None, time_zone=None, **said)


def _template(wish: Wish, like: Campaign | None) -> TemplateVersion:
    wish = wish if like is None else replace(wish, **_kept_template(wish, like.template))
    return template_of(wish, version=1)


def _kept_template(wish: Wish, before: TemplateVersion) -> Mapping[str, Any]:
    """The parts of a template that a wish leaves as they were."""
    kept = {"prompt": before.prompt, "negative_prompt": before.negative_prompt, "defaults": before.defaults}
    return {name: value for name, value in kept.items() if name not in wish.said}


def _changes(wish: Wish, before: Campaign, settings: Settings) -> dict[str, Any]:
    asked = ask_of(wish, settings)
    changes = {item.name: getattr(asked, item.name) for item in fields(Ask) if item.name in wish.said}
    for name in ("priority", "max_running", "deadline", "run_at"):
        if name in wish.said:
            changes[name] = getattr(wish, name)
    if wish.said & {"prompt", "negative_prompt", "defaults"}:
        changed = replace(wish, **_kept_template(wish, before.template))
        changes["template"] = template_of(changed, version=before.template.version + 1)
    if "cron" in wish.said:
        changes["next_run_at"] = next_of(wish.cron, wish.time_zone, datetime.now(UTC))
    return changes

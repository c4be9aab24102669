"""What an owner may change of a campaign that is there, and what follows from it: pure, as `commands.py` is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator.campaigns.commands import going_on, paused, sample_of, token_now
from orchestrator.domain.campaign import Campaign, CampaignState, Outcome, PauseReason, TemplateVersion
from orchestrator.domain.errors import InvalidField, WrongState
from orchestrator.ports.campaign_values import Change, RowEdit, Window

_S = CampaignState
# What was rendered under a template that nobody wants any more.
_RENDERED = frozenset[Outcome | None]({Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED})
# What changes of one that has ended; a schedule of it can only end, too.
_EVER = {"name", "metadata"}
_SCHEDULE = {"cron", "time_zone", "next_run_at"}
# Nothing has been rendered.
_BEFORE_ANY = (_S.DRAFT, _S.INGESTING, _S.PLANNED)
# Nobody has begun to go through all of them.
_BEFORE_ALL = (_S.DRAFT, _S.INGESTING, _S.PLANNED, _S.SAMPLING, _S.AWAITING_APPROVAL)


def amend(campaign: Campaign, changes: Mapping[str, Any], *, revisions: Mapping[str, str]) -> Change | None:
    """What a patch makes of it. `changes` has fields of `Ask`, `template`, and columns by their names.

    A new template raises the generation: what no worker has begun gets other jobs, and the plan another token.
    """
    if campaign.state.ended and set(changes) - _EVER - (_SCHEDULE if changes.get("cron") is None else set()):
        raise WrongState(f"the campaign is {campaign.state}; only its name and metadata change, and its schedule ends")
    template = changes.get("template")
    differs = template is not None and _differs(campaign.template, template)
    if differs and campaign.state is _S.INGESTING:
        raise WrongState("the campaign is ingesting: its rows are tried on the template, which is changed afterwards")
    if changes.get("order", campaign.ask.order) != campaign.ask.order and campaign.state not in _BEFORE_ALL:
        raise WrongState(f"the campaign is {campaign.state}: its rows are gone through in their order already")
    if changes.get("run_at", campaign.run_at) != campaign.run_at and campaign.state not in _BEFORE_ANY:
        raise WrongState(f"the campaign is {campaign.state}: it has begun already")
    values: dict[str, Any] = {}
    asked = {name: changes[name] for name in changes if name in campaign.ask.__slots__}
    columns = {
        name: changes[name]
        for name in ("priority", "max_running", "deadline", "run_at", "next_run_at")
        if name in changes
    }
    after = replace(campaign, ask=replace(campaign.ask, **asked))
    values |= columns
    if after.ask.on_miss == "refuse" and not after.ask.approval:
        raise InvalidField("refuse needs an approval that can be refused", param="on_miss")
    if asked:
        values["ask"] = after.ask
        if "budget" in asked:
            values["told_budget"] = []
    if template is not None and differs:
        newest = replace(template, version=campaign.template.version + 1)
        after = replace(after, templates=(*campaign.templates, newest))
        values |= {"templates": list(after.templates), "generation": campaign.generation + 1}
        values |= {"fresh_succeeded": 0, "fresh_failed": 0, "first_failed": 0}
        if "estimate" in changes:
            after = replace(after, estimate=tuple(changes["estimate"]))
            values["estimate"] = list(after.estimate)
    if not values:
        return None
    if campaign.plan_token is None:
        return Change(values=values)
    values["plan_token"] = token_now(after, revisions)
    if values["plan_token"] == campaign.plan_token:
        return _relieved(campaign, after, values)
    return _replanned(campaign, values)


def _replanned(campaign: Campaign, values: Mapping[str, Any]) -> Change:
    """Another look or quantity: somebody has to approve it anew, and what nobody has begun is made anew.

    So is a sample, of which nobody has approved anything.
    """
    window = Window.FORGET
    anew = [RowEdit(of=_RENDERED, reset=True)]
    match campaign.state:
        case _S.SAMPLING | _S.AWAITING_APPROVAL:
            return Change(state=_S.PLANNED, values=values, window=window, edits=anew, closes=True)
        case _S.PAUSED if campaign.ask.approval and campaign.approved_token is None:
            return Change(values=values, window=window, edits=anew, closes=True, passes=sample_of(campaign))
        case _S.RUNNING | _S.PAUSED if campaign.ask.approval:
            change = paused(campaign, PauseReason.REVISION, "what was approved has been changed")
            return replace(change, values={**change.values, **values}, window=window)
        case _:
            return Change(values=values, window=window)


def _relieved(campaign: Campaign, after: Campaign, values: Mapping[str, Any]) -> Change:
    """A larger budget takes its pause away; the next look finds whether it is large enough."""
    same = campaign.ask.budget == after.ask.budget
    if campaign.state is not _S.PAUSED or PauseReason.BUDGET not in campaign.pauses or same:
        return Change(values=values)
    return going_on(campaign, campaign.pauses - {PauseReason.BUDGET}, values)


def _differs(one: TemplateVersion, other: TemplateVersion) -> bool:
    return (one.prompt, one.negative_prompt, one.defaults) != (other.prompt, other.negative_prompt, other.defaults)

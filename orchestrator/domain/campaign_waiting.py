"""Why nothing of a campaign is rendered now: one sentence for its owner, or none. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from orchestrator.domain.campaign import Campaign, CampaignState, PauseReason
from orchestrator.domain.loading import WorkerLoad
from orchestrator.domain.pausing import Pause
from orchestrator.domain.waiting import Turn, turn_reason, unserved

_S = CampaignState
_MOVING = (_S.SAMPLING, _S.RUNNING)

_PAUSED = {
    PauseReason.OWNER: "it was paused by its owner, and waits to be resumed",
    PauseReason.FAILURES: "too many of its rows failed: look at their errors, then resume or change it",
    PauseReason.REVISION: "what was approved is no longer what would be rendered: approve the new plan",
    PauseReason.QUOTA: "a limit of the tenant's is reached",
    PauseReason.CLOSED_HOURS: "a pool of it is closed at this hour",
}


def waits_for_turn(campaign: Campaign) -> bool:
    """Whether it may be its place in the queue that a campaign waits for: nothing of it runs, and something could."""
    return campaign.state in _MOVING and not campaign.counts.running and campaign.counts.queued > 0


def waiting_for(
    campaign: Campaign,
    loads: Sequence[WorkerLoad],
    pauses: Sequence[Pause],
    now: datetime,
    turn: Turn | None = None,
    unheld: Mapping[str, float | None] | None = None,
) -> str | None:
    """What a campaign waits for; None for one that goes on or has ended, or waits for a turn that nobody knows of.

    `loads` and `pauses` are those of any pools, and `unheld` what `queue_reason` is told; `turn` is that of its first
    job, where it waits for one.
    """
    match campaign.state:
        case _S.DRAFT:
            return "its rows: send them, or name an input"
        case _S.AWAITING_APPROVAL:
            return f"approval of its plan {campaign.plan_token}"
        case _S.PAUSED:
            reasons = [reason for reason in PauseReason if reason in campaign.pauses]
            told = [_budget(campaign) if reason is PauseReason.BUDGET else _PAUSED[reason] for reason in reasons]
            return "; ".join(told) or None
    if campaign.state is _S.PLANNED and campaign.run_at is not None and campaign.run_at > now:
        return f"its time to begin, {campaign.run_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    if campaign.state in _MOVING and not campaign.counts.running:
        known = unserved(sorted({group.pool for group in campaign.estimate}), loads, pauses, unheld or {})
        return turn_reason(turn) if known is None and turn is not None else known
    return None


def _budget(campaign: Campaign) -> str:
    """Whose budget it is, as far as the campaign's own row tells."""
    budget, spoken_for = campaign.ask.budget, campaign.used + campaign.reserved
    typical = campaign.typical
    if budget is not None:
        money, own = budget.unit == "money", spoken_for
        if money:
            own = campaign.spent + campaign.reserved_money
        next_one = typical * (own / spoken_for if spoken_for else 1.0)
        finished = any(action.do == "finish" and action.percent in campaign.told_budget for action in budget.actions)
        if finished or own + next_one > budget.amount:
            of = "money" if money else "GPU seconds"
            return f"{own:.6g} of its budget of {budget.amount:.6g} {of} are used or spoken for"
    if campaign.cap is not None and spoken_for + typical > campaign.cap:
        return f"{spoken_for:.6g} of the {campaign.cap:.6g} GPU seconds that were approved are used or spoken for"
    return "a budget of the tenant has no room for its next row"

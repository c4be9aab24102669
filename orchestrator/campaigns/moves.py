"""What becomes of a campaign next, apart from what its owner wants: pure decisions on what is known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.campaigns.commands import going_on, paused, sample_of, token_now
from orchestrator.domain.campaign import Campaign, CampaignState, PassKind, PauseReason
from orchestrator.domain.states import JobState
from orchestrator.policy.budget import CANCEL, FINISH, Spending, due_actions, reserve
from orchestrator.policy.failing import stops
from orchestrator.ports.campaign_values import Budget, Change, NewPass, Window, WindowJob

_S = CampaignState


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a campaign beside its row."""

    # Its own time to begin has come; its deadline is over.
    due: bool
    overdue: bool
    # One of its pools is closed at this hour.
    closed: bool
    # What tells each configured model's weights from others.
    revisions: Mapping[str, str]
    # The budgets of its tenant.
    budgets: Sequence[Budget] = ()


def planned(campaign: Campaign, known: Known) -> Change | None:
    """From its plan to what comes next: a sample, somebody's look, or the rest. None while it is not due."""
    if not known.due:
        return None
    sample = sample_of(campaign)
    return Change(state=_S.SAMPLING, passes=sample) if sample else after_sample(campaign, known)


def after_sample(campaign: Campaign, known: Known) -> Change:
    """Somebody looks, unless nobody has to or somebody has: at the plan as it is by now."""
    token = token_now(campaign, known.revisions)
    if replace(campaign, plan_token=token).approved:
        return Change(state=_S.RUNNING, values={"plan_token": token}, passes=[NewPass(kind=PassKind.MAIN)])
    return Change(
        state=_S.AWAITING_APPROVAL,
        values={"manifest_due": True, "plan_token": token},
        events=[("campaign.awaiting_approval", {"plan_token": token, "sampled": campaign.counts.ended})],
    )


def only_told(change: Change | None) -> Change | None:
    """Of what became due with the last row: what the world hears of it. There is nothing left to stop."""
    events = [] if change is None else [event for event in change.events if event[0] == "campaign.budget"]
    if change is None or not events:
        return None
    values = {name: value for name, value in change.values.items() if name == "told_budget"}
    return Change(values=values, told=change.told, events=events)


def stopped(campaign: Campaign, known: Known) -> Change | None:
    """Why a campaign that renders must not go on as it does; None when it may."""
    fresh = campaign.fresh_succeeded + campaign.fresh_failed
    why = stops(campaign.ask.stop, campaign.fresh_failed, fresh, campaign.first_failed)
    if why is not None:
        return paused(campaign, PauseReason.FAILURES, why)
    token = token_now(campaign, known.revisions)
    if token != campaign.plan_token:
        return _reweighed(campaign, token)
    if known.overdue and campaign.ask.on_deadline == "stop" and campaign.state is _S.RUNNING:
        return None
    if known.closed:
        return paused(campaign, PauseReason.CLOSED_HOURS, "a pool of it is closed at this hour")
    return None


def _reweighed(campaign: Campaign, token: str) -> Change:
    """A model's weights have changed: what no worker has begun is made anew, and says by which it is rendered."""
    values = {"plan_token": token, "generation": campaign.generation + 1}
    if campaign.ask.approval and campaign.state is _S.RUNNING:
        change = paused(campaign, PauseReason.REVISION, "a model's weights have changed", values)
        return replace(change, window=Window.FORGET)
    return Change(values=values, window=Window.FORGET)


def spent(campaign: Campaign, *, exhausted: bool) -> Change | None:
    """The actions of its budget that are due: its owner is told, it pauses, or it ends. None when none is.

    `exhausted`: the next row has no room in some budget, or in what was approved.
    """
    budget = campaign.ask.budget
    if budget is None:
        why = "the next row costs more than is left of what was approved, or of a budget of the tenant"
        return paused(campaign, PauseReason.BUDGET, why) if exhausted else None
    spending = spending_of(campaign)
    due = due_actions(budget, spending, campaign.told_budget, exhausted=exhausted)
    if not due and not exhausted:
        return None
    told = sorted({*campaign.told_budget, *(action.percent for action in due)})
    events = [("campaign.budget", {"percent": each.percent, "action": each.do, "used": spending.used}) for each in due]
    deeds = {action.do for action in due}
    if CANCEL in deeds:
        values: dict[str, Any] = {"told_budget": told}
        return Change(state=_S.CANCELLED, pauses=frozenset(), window=Window.CANCEL, values=values, events=events)
    if FINISH in deeds or exhausted:
        change = paused(campaign, PauseReason.BUDGET, "its budget is used or spoken for", {"told_budget": told})
        return replace(change, events=[*events, *change.events])
    return Change(values={"told_budget": told}, events=events)


def tenant_spent(campaign: Campaign, budgets: Sequence[Budget]) -> Change | None:
    """The same of its tenant's budgets: one of its campaigns tells, all of them pause or end. None when nothing is due.

    Pausing and ending follow from what is reached and not from what was told: a campaign that comes later pauses, too.
    """
    reached = {budget: due_actions(budget.ask, _spending(budget), ()) for budget in budgets}
    deeds = {action.do for actions in reached.values() for action in actions}
    fresh = {
        budget: [action for action in actions if action.percent not in budget.told]
        for budget, actions in reached.items()
    }
    told = [(budget, [action.percent for action in actions]) for budget, actions in fresh.items() if actions]
    events = [
        (
            "campaign.budget",
            {"period": budget.period, "percent": action.percent, "action": action.do, "used": budget.used},
        )
        for budget, actions in fresh.items()
        for action in actions
    ]
    if CANCEL in deeds:
        return Change(state=_S.CANCELLED, pauses=frozenset(), window=Window.CANCEL, told=told, events=events)
    if FINISH in deeds:
        change = paused(campaign, PauseReason.BUDGET, "a budget of its tenant is used or spoken for")
        return replace(change, told=told, events=[*events, *change.events])
    return Change(told=told, events=events) if told else None


def _spending(budget: Budget) -> Spending:
    return Spending(reserved=budget.reserved, used=budget.used)


def spending_of(campaign: Campaign) -> Spending:
    """What counts against its own budget, in the budget's unit."""
    if campaign.ask.budget is not None and campaign.ask.budget.unit == "money":
        return Spending(reserved=campaign.reserved_money, used=campaign.spent)
    return Spending(reserved=campaign.reserved, used=campaign.used)


def relieved(campaign: Campaign, known: Known, *, cost: float, price: float) -> Change | None:
    """A pause that is over by itself: hours have opened, a period has begun, a budget has grown. None when none is.

    `cost` is that of the next row in GPU seconds, `price` what one of them costs.
    """
    over = set()
    if PauseReason.CLOSED_HOURS in campaign.pauses and not known.closed:
        over.add(PauseReason.CLOSED_HOURS)
    if PauseReason.QUOTA in campaign.pauses:
        over.add(PauseReason.QUOTA)  # whether there is room shows when something is tried
    if PauseReason.BUDGET in campaign.pauses and _affords(campaign, known.budgets, cost, price):
        over.add(PauseReason.BUDGET)
    return going_on(campaign, campaign.pauses - over, {}) if over else None


def _affords(campaign: Campaign, budgets: Sequence[Budget], cost: float, price: float) -> bool:
    own, in_money = campaign.ask.budget, cost * price
    if own is not None:
        wanted = in_money if own.unit == "money" else cost
        finished = any(each.do == FINISH and each.percent in campaign.told_budget for each in own.actions)
        if finished or reserve(own.amount, spending_of(campaign), wanted) is None:
            return False
    approved = Spending(reserved=campaign.reserved, used=campaign.used)
    if campaign.cap is not None and reserve(campaign.cap, approved, cost) is None:
        return False
    if any(action.do == FINISH for each in budgets for action in due_actions(each.ask, _spending(each), ())):
        return False
    return all(
        reserve(each.amount, _spending(each), in_money if each.unit == "money" else cost) is not None
        for each in budgets
    )


def progressed(campaign: Campaign) -> Change | None:
    """The next step of its progress that the world hears of; None between two."""
    every, rows = campaign.ask.progress_every, campaign.counts.rows
    if not every or not rows or campaign.state is not _S.RUNNING:
        return None
    percent = campaign.counts.ended * 100 // rows // every * every
    if percent <= campaign.told_progress:
        return None
    counts = campaign.counts
    told = {
        "percent": percent,
        "rows": counts.rows,
        "succeeded": counts.succeeded,
        "failed": counts.failed,
        "gpu_seconds": round(campaign.used, 3),
    }
    values = {"told_progress": percent, "manifest_due": percent < 100}
    return Change(values=values, events=[("campaign.progress", told)])


def balanced(jobs: Sequence[WindowJob], seats: int) -> tuple[list[WindowJob], list[WindowJob]]:
    """Of the jobs in the order of their rows: those to hold, which come last, and those to ready, which come first."""
    queued = [job for job in jobs if job.state is JobState.QUEUED]
    waiting = [job for job in jobs if job.state is JobState.HELD]
    active = len(jobs) - len(waiting)
    over = max(0, active - seats)
    to_hold = queued[max(0, len(queued) - over) :] if over else []
    return to_hold, waiting[: max(0, seats - active)]

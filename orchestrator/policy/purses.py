"""Between budgets and what a forecast lets be used: a campaign's own, what was approved of it, and its tenant's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from orchestrator.domain.campaign import BudgetAsk, Campaign
from orchestrator.policy.allowance import Allowance
from orchestrator.policy.budget import CANCEL, FINISH

# A budget that is filled anew is followed through so many days or months.
_DAYS, _MONTHS = 400, 13


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """What GPU seconds cost: of each pool that has a price, in this currency."""

    prices: Mapping[str, float]
    currency: str


def allowances_of(campaign: Campaign, money: Money) -> list[Allowance]:
    """What bounds a campaign alone, if anything does."""
    found = []
    mine = frozenset({campaign.id})
    if campaign.cap is not None:
        found.append(Allowance(subjects=mine, words="what was approved of it", room=campaign.cap - campaign.used))
    budget = campaign.ask.budget
    if budget is not None:
        used = campaign.spent if budget.unit == "money" else campaign.used
        found.append(_allowance(budget, used, mine, "its budget", money))
    return found


def tenant_allowance(
    budget: BudgetAsk, used: float, *, period: str, subjects: Collection[str], money: Money, now: datetime
) -> Allowance:
    """What bounds all campaigns and batches of a tenant together, in each `day` or `month` (UTC)."""
    words = f"its tenant's budget of the {period}"
    return _allowance(budget, used, frozenset(subjects), words, money, renewals=_renewals(period, now))


def _allowance(
    budget: BudgetAsk,
    used: float,
    subjects: frozenset[str],
    words: str,
    money: Money,
    *,
    renewals: tuple[float, ...] = (),
) -> Allowance:
    """In the budget's unit, as if it were greater by what its first action that stops anything leaves of it."""
    stopping = [action for action in budget.actions if action.do in (FINISH, CANCEL) and action.percent <= 100]
    first = min(stopping, key=lambda action: action.percent, default=None)
    part = 1.0 if first is None else first.percent / 100
    priced = budget.unit == "money"
    prices = {pool: price / part for pool, price in money.prices.items()} if priced else {}
    return Allowance(
        subjects=subjects,
        words=words,
        room=budget.amount - used / part,
        unit=money.currency if priced else "GPU seconds",
        prices=prices,
        priced=priced,
        each=1.0 / part,
        renewals=renewals,
        amount=budget.amount,
        then="ends" if first is not None and first.do == CANCEL else "pauses",
    )


def _renewals(period: str, now: datetime) -> tuple[float, ...]:
    """When the next days or months begin, in seconds from now."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        begins = [midnight + timedelta(days=day) for day in range(1, _DAYS + 1)]
    else:
        months = [midnight.year * 12 + midnight.month - 1 + month for month in range(1, _MONTHS + 1)]
        begins = [midnight.replace(year=month // 12, month=month % 12 + 1, day=1) for month in months]
    return tuple((begin - now).total_seconds() for begin in begins)

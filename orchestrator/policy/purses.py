"""Between budgets and what a forecast lets be used: a campaign's own, what was approved of it, and its tenant's."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from orchestrator.domain.campaign import BudgetAsk, Campaign
from orchestrator.policy.allowance import Allowance
from orchestrator.policy.budget import CANCEL, FINISH
from orchestrator.policy.supply import Crew

# A budget that is filled anew is followed through so many days or months.
_DAYS, _MONTHS = 400, 13


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What a GPU second of a prediction costs in each pool, on its workers."""

    # Money in this currency, of those that have a price.
    prices: Mapping[str, float]
    currency: str
    # Seconds of its workers, which are what is charged; 1 where nothing is said.
    seconds: Mapping[str, float] = field(default_factory=dict)


def price_of(crews: Sequence[Crew], prices: Mapping[str, float]) -> float | None:
    """Money for a GPU second of a prediction where these workers share the work, by each kind's price for its own.

    None where there are none, or some have no price.
    """
    there = [crew for crew in crews if crew.workers]
    if not there or any(crew.kind not in prices for crew in there):
        return None
    paid = sum(crew.workers * prices[crew.kind] for crew in there)
    return paid / sum(crew.workers * crew.speed for crew in there)


def allowances_of(campaign: Campaign, costs: Costs) -> list[Allowance]:
    """What bounds a campaign alone, if anything does."""
    found = []
    mine = frozenset({campaign.id})
    if campaign.cap is not None:
        room = campaign.cap - campaign.used
        found.append(Allowance(subjects=mine, words="what was approved of it", room=room, prices=costs.seconds))
    budget = campaign.ask.budget
    if budget is not None:
        used = campaign.spent if budget.unit == "money" else campaign.used
        found.append(_allowance(budget, used, mine, "its budget", costs))
    return found


def tenant_allowance(
    budget: BudgetAsk, used: float, *, period: str, subjects: Collection[str], costs: Costs, now: datetime
) -> Allowance:
    """What bounds all campaigns and batches of a tenant together, in each `day` or `month` (UTC)."""
    words = f"its tenant's budget of the {period}"
    return _allowance(budget, used, frozenset(subjects), words, costs, renewals=_renewals(period, now))


def _allowance(
    budget: BudgetAsk,
    used: float,
    subjects: frozenset[str],
    words: str,
    costs: Costs,
    *,
    renewals: tuple[float, ...] = (),
) -> Allowance:
    """In the budget's unit, as if it were greater by what its first action that stops anything leaves of it."""
    stopping = [action for action in budget.actions if action.do in (FINISH, CANCEL) and action.percent <= 100]
    first = min(stopping, key=lambda action: action.percent, default=None)
    part = 1.0 if first is None else first.percent / 100
    priced = budget.unit == "money"
    prices = {pool: price / part for pool, price in (costs.prices if priced else costs.seconds).items()}
    return Allowance(
        subjects=subjects,
        words=words,
        room=budget.amount - used / part,
        unit=costs.currency if priced else "GPU seconds",
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

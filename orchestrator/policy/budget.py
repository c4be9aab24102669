"""Spending within a budget: reserved before a row gets its job, booked when its attempts end; pure.

All numbers are in the budget's own unit. The store reserves with the budgets locked, so that several runners never
reserve the same seconds twice.

What is promised: when anything is reserved, used and reserved together are within the amount. So at the end no more is
used than the amount, and what those attempts overran their reservations that were live at the last reservation:
the error of their predictions, and what attempts wasted that did not end in a video: a job that goes back into the
queue keeps its reservation for the next attempt, and what it has used counts on top.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from orchestrator.domain.campaign import BudgetAction, BudgetAsk
from orchestrator.domain.errors import InvalidField

# Sums of floats: a budget of three times 0.1 has room for three rows of 0.1.
_ROUNDING = 1e-9
_MAX_ACTIONS = 10
# Of its amount, at which an action is taken. Beyond 100: what runs at its end may use more than was reserved for it.
PERCENTS = (1, 1000)

# The deployment's currency is money's.
UNITS = ("gpu_seconds", "money")
# In UTC.
PERIODS = ("day", "month")

# What happens at a percentage: its owner is told; nothing more begins, and what runs ends; what runs is cancelled, too.
TELL, FINISH, CANCEL = ACTIONS = ("tell", "finish", "cancel")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What counts against a budget."""

    # Predicted, of rows that have a job which has not ended.
    reserved: float = 0.0
    # Of attempts that ended.
    used: float = 0.0

    @property
    def spoken_for(self) -> float:
        return self.used + self.reserved


def check(budget: BudgetAsk) -> None:
    """Raise `InvalidField` for a budget that makes no sense. One action each percentage: all of them tell."""
    if not (math.isfinite(budget.amount) and budget.amount > 0):
        raise InvalidField("must be a number of more than 0", param="budget.amount")
    if budget.unit not in UNITS:
        raise InvalidField(f"must be one of {', '.join(UNITS)}", param="budget.unit")
    if len(budget.actions) > _MAX_ACTIONS:
        raise InvalidField(f"must be at most {_MAX_ACTIONS}", param="budget.actions")
    for action in budget.actions:
        if action.do not in ACTIONS:
            raise InvalidField(f"must be one of {', '.join(ACTIONS)}", param="budget.actions.do")
        if not PERCENTS[0] <= action.percent <= PERCENTS[1]:
            raise InvalidField(f"must be from {PERCENTS[0]} to {PERCENTS[1]}", param="budget.actions.percent")
    if len({action.percent for action in budget.actions}) < len(budget.actions):
        raise InvalidField("must be different in each action", param="budget.actions.percent")


def reserve(amount: float, spending: Spending, cost: float) -> Spending | None:
    """After reserving so much of an amount; None when it does not fit."""
    if spending.spoken_for + cost > amount * (1 + _ROUNDING):
        return None
    return Spending(reserved=spending.reserved + cost, used=spending.used)


def due_actions(
    budget: BudgetAsk, spending: Spending, told: Collection[int], *, exhausted: bool = False
) -> tuple[BudgetAction, ...]:
    """Actions whose percentage is reached and that are not yet `told` (percentages), the lowest first.

    `tell` and `finish` look at what is used or reserved: what is reserved will be spent if nobody acts, and finishing
    lets it be, so that spending ends near the percentage. `cancel` looks at what is used alone: it destroys work, and
    nobody's render is to end for a prediction. `exhausted` says that a row waits since it does not fit: that counts as
    100%, which rows of one size else would not reach.
    """
    found = [
        action
        for action in budget.actions
        if action.percent not in told and _reached(budget, spending, action, exhausted=exhausted)
    ]
    return tuple(sorted(found, key=lambda action: action.percent))


def _reached(budget: BudgetAsk, spending: Spending, action: BudgetAction, *, exhausted: bool) -> bool:
    if exhausted and action.do is not CANCEL and action.percent <= 100:
        return True
    seen = spending.used if action.do is CANCEL else spending.spoken_for
    return seen * (1 + _ROUNDING) >= budget.amount * action.percent / 100

"""What campaigns may use: reserved with the insert of their jobs, booked when those end. And the budgets of tenants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import BindParameter, Double, Row, bindparam, delete, select, text
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.audit import Action, Change
from orchestrator.domain.campaign import BudgetAction, Campaign
from orchestrator.policy import budget as policy
from orchestrator.policy.budget import Spending
from orchestrator.ports.campaign_values import Budget, Submission
from orchestrator.store.audit import record
from orchestrator.store.part import Part
from orchestrator.store.tables import budgets


def _sums(*names: str) -> Iterator[BindParameter[float]]:
    return (bindparam(name, type_=Double) for name in names)


# The period of each budget that a day lies in. The first statement makes what is not there, the second locks all in the
# order of their keys: several runners neither deadlock nor spend the same room twice.
_MAKE = text("""
    INSERT INTO spending (tenant, period, unit, since)
    SELECT tenant, period, unit, date_trunc(period, CAST(:day AS date))::date FROM budgets WHERE tenant = :tenant
    ORDER BY 1, 2, 3 ON CONFLICT DO NOTHING
""")
_LOCK = text("""
    SELECT b.unit, b.amount, s.reserved, s.used
    FROM budgets AS b JOIN spending AS s
      ON s.tenant = b.tenant AND s.period = b.period AND s.unit = b.unit
     AND s.since = date_trunc(b.period, CAST(:day AS date))::date
    WHERE b.tenant = :tenant ORDER BY b.period, b.unit FOR UPDATE OF s
""")
_RESERVE = text("""
    UPDATE spending SET reserved = reserved + CASE unit WHEN 'money' THEN :money ELSE :gpu_seconds END
    WHERE tenant = :tenant AND since = date_trunc(period, CAST(:day AS date))::date
""").bindparams(*_sums("money", "gpu_seconds"))
# A charge falls into the period of its reservation, whenever it comes.
_BOOK = text("""
    UPDATE spending SET
        reserved = greatest(0, reserved - CASE unit WHEN 'money' THEN :reserved_money ELSE :reserved END),
        used = used + CASE unit WHEN 'money' THEN :money ELSE :gpu_seconds END
    WHERE tenant = :tenant AND since = date_trunc(period, CAST(:day AS date))::date
""").bindparams(*_sums("money", "gpu_seconds", "reserved", "reserved_money"))
_OWN_RESERVE = text("""
    UPDATE campaigns SET reserved = reserved + :gpu_seconds, reserved_money = reserved_money + :money,
                         started_at = coalesce(started_at, cogmill_now())
    WHERE number = :number
""")
# Every budget, with what counts against it in the period that goes on.
BUDGETS = """
    SELECT b.tenant, b.period, b.unit, b.amount, b.actions, coalesce(s.reserved, 0) AS reserved,
           coalesce(s.used, 0) AS used, coalesce(s.told, '{}') AS told
    FROM budgets AS b LEFT JOIN spending AS s
      ON s.tenant = b.tenant AND s.period = b.period AND s.unit = b.unit
     AND s.since = date_trunc(b.period, cogmill_now() AT TIME ZONE 'UTC')::date
"""
_LIST = text(f"{BUDGETS} WHERE b.tenant = :tenant ORDER BY b.period, b.unit")

# In the order in which `booked` is told.
_CHARGED = ("reserved", "reserved_money", "gpu_seconds", "money")


@dataclass(slots=True)
class _Account:
    """One budget, and what counts against it, in its own unit."""

    amount: float
    spending: Spending
    money: bool = False

    def after(self, each: Submission) -> Spending | None:
        cost = each.job.cost * (each.price if self.money else 1.0)
        return policy.reserve(self.amount, self.spending, cost)


class Purse:
    """All budgets that a campaign's next jobs count against, locked: its own, what was approved, its tenant's."""

    def __init__(self, accounts: Sequence[_Account]) -> None:
        self._accounts = accounts

    @classmethod
    async def open(cls, connection: AsyncConnection, of: Campaign, day: date) -> Purse:
        where = {"tenant": of.tenant, "day": day}
        await connection.execute(_MAKE, where)
        accounts = [
            _Account(row.amount, Spending(reserved=row.reserved, used=row.used), money=row.unit == "money")
            for row in await connection.execute(_LOCK, where)
        ]
        gpu_seconds = Spending(reserved=of.reserved, used=of.used)
        money = Spending(reserved=of.reserved_money, used=of.spent)
        if of.cap is not None:
            accounts.append(_Account(of.cap, gpu_seconds))
        budget = of.ask.budget
        if budget is not None and budget.unit == "money":
            accounts.append(_Account(budget.amount, money, money=True))
        elif budget is not None:
            accounts.append(_Account(budget.amount, gpu_seconds))
        return cls(accounts)

    def first(self, submissions: Sequence[Submission]) -> int:
        """How many of them, in their order, there is room for."""
        for number, each in enumerate(submissions):
            after = [account.after(each) for account in self._accounts]
            for account, spending in zip(self._accounts, after, strict=True):
                if spending is None:
                    return number
                account.spending = spending
        return len(submissions)


async def reserve(connection: AsyncConnection, of: Campaign, taken: Sequence[Submission], day: date) -> None:
    """Speak for what these jobs are predicted to use."""
    gpu_seconds = sum(each.job.cost for each in taken)
    money = sum(each.job.cost * each.price for each in taken)
    sums = {"gpu_seconds": gpu_seconds, "money": money}
    await connection.execute(_RESERVE, sums | {"tenant": of.tenant, "day": day})
    await connection.execute(_OWN_RESERVE, sums | {"number": of.number})


async def booked(
    connection: AsyncConnection, tenant: str, ends: Sequence[tuple[date, float, float, float, float]]
) -> None:
    """Give back what was reserved and charge what was used: (day, reserved, its money, used, its money)."""
    for day in sorted({day for day, *_ in ends}):
        mine = [rest for of, *rest in ends if of == day]
        await connection.execute(
            _BOOK,
            {
                "tenant": tenant,
                "day": day,
                **{name: sum(each) for name, each in zip(_CHARGED, zip(*mine, strict=True), strict=True)},
            },
        )


class Budgets(Part):
    async def set_budget(self, budget: Budget) -> None:
        values: dict[str, Any] = {
            "amount": budget.amount,
            "actions": bindparam("new_actions", list(budget.actions), type_=JSONB),
        }
        keys = {"tenant": budget.tenant, "period": budget.period, "unit": budget.unit}
        add = insert(budgets).values(**keys, **values)

        async def change(connection: AsyncConnection) -> None:
            before = await _amount(connection, budget.tenant, budget.period, budget.unit)
            await connection.execute(add.on_conflict_do_update(index_elements=list(keys), set_=values))
            acts = [f"{action.percent}:{action.do}" for action in budget.actions]
            await record(connection, _told(keys, before, {"amount": budget.amount, "actions": acts}))

        await self._database.transact(change)

    async def drop_budget(self, tenant: str, period: str, unit: str) -> bool:
        of = budgets.c
        which = delete(budgets).where(of.tenant == tenant, of.period == period, of.unit == unit)

        async def drop(connection: AsyncConnection) -> bool:
            before = await _amount(connection, tenant, period, unit)
            await connection.execute(which)
            if before is not None:
                keys = {"tenant": tenant, "period": period, "unit": unit}
                await record(connection, _told(keys, before, None))
            return before is not None

        return await self._database.transact(drop)

    async def budgets_of(self, tenant: str) -> list[Budget]:
        return [budget_of(row) for row in await self._database.fetch(_LIST, {"tenant": tenant})]


async def _amount(connection: AsyncConnection, tenant: str, period: str, unit: str) -> Mapping[str, Any] | None:
    """A budget as it stands, until the transaction ends."""
    of = budgets.c
    query = select(of.amount, of.actions).where(of.tenant == tenant, of.period == period, of.unit == unit)
    row = (await connection.execute(query.with_for_update())).one_or_none()
    if row is None:
        return None
    return {"amount": row.amount, "actions": [f"{action['percent']}:{action['do']}" for action in row.actions]}


def _told(keys: Mapping[str, str], before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> Change:
    of = f"tenant:{keys['tenant']} per {keys['period']} {keys['unit']}"
    return Change(action=Action.TENANT_BUDGET, object=of, tenant=keys["tenant"], before=before, after=after)


def budget_of(row: Row[Any]) -> Budget:
    """A budget from `BUDGETS`."""
    actions = tuple(BudgetAction(**action) for action in row.actions)
    return Budget(**{**row._mapping, "actions": actions, "told": frozenset(row.told)})

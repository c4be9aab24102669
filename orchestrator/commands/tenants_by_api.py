"""`cogmill tenants` through the API: the same commands, without a database URL."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import typer

from orchestrator.commands.administration import administrating


def set_weight(api: str | None, tenant: str, weight: float) -> None:
    """As the database has it, the tenant is made if it is new."""
    with administrating(api) as cogmill:
        cogmill.admin.put_tenant(tenant, weight=weight)


def set_limits(api: str | None, tenant: str, changes: Mapping[str, float | None]) -> None:
    """None goes back to the deployment's, infinity lifts a limit."""
    with administrating(api) as cogmill:
        cogmill.admin.put_tenant(tenant, limits={name: _wish(value) for name, value in changes.items()})


def show(api: str | None) -> None:
    """Every tenant with its weight and its own limits."""
    with administrating(api) as cogmill:
        for each in cogmill.admin.tenants():
            limits = (f"{name.replace('_', '-')} {_shown(own)}" for name, own in each.limits.items() if own is not None)
            typer.echo("  ".join((each.id, f"weight {each.weight:g}", *limits)))


def show_limits(api: str | None, tenant: str) -> None:
    """Every limit of a tenant, what holds, and how much of it is used."""
    from orchestrator.commands.tables import table

    with administrating(api) as cogmill:
        told = cogmill.admin.limits(tenant)
    heads = ("limit", "own", "holds", "used")
    table(
        heads,
        [
            (each.limit.replace("_", "-"), "default" if each.own is None else _shown(each.own),
             "none" if each.effective is None else f"{each.effective:g}",
             None if each.used is None else f"{each.used:g}")
            for each in told.data
        ],
    )  # fmt: skip


def set_share(api: str | None, tenant: str, pool: str, changes: Mapping[str, int | None]) -> None:
    with administrating(api) as cogmill:
        cogmill.admin.put_tenant(tenant)
        cogmill.admin.set_share(tenant, pool, changes)


def show_shares(api: str | None) -> None:
    with administrating(api) as cogmill:
        for each in cogmill.admin.shares():
            cap = "none" if each.running is None else each.running
            typer.echo(f"{each.pool}  {each.tenant}  guaranteed {each.guaranteed}  running {cap}")


def set_budgets(
    api: str | None, tenant: str, per: str, amounts: Mapping[str, float | None], actions: Sequence[tuple[int, str]]
) -> None:
    """Set those that have an amount."""
    wanted = [{"percent": percent, "do": do} for percent, do in actions]
    with administrating(api) as cogmill:
        cogmill.admin.put_tenant(tenant)
        for unit, amount in amounts.items():
            if amount is not None:
                cogmill.admin.set_budget(tenant, per, unit, amount=amount, actions=wanted)


def lift_budgets(api: str | None, tenant: str, per: str, units: Sequence[str]) -> None:
    with administrating(api) as cogmill:
        for unit in units:
            cogmill.admin.lift_budget(tenant, per, unit)


def show_budgets(api: str | None, tenant: str) -> None:
    with administrating(api) as cogmill:
        for each in cogmill.admin.budgets(tenant):
            acts = " ".join(f"{action.percent}:{action.do}" for action in each.actions)
            spent = f"used {each.used:g}  reserved {each.reserved:g}"
            typer.echo(f"per {each.period}  {each.amount:g} {each.unit}  {spent}  {acts}".rstrip())


def _wish(value: float | None) -> float | str:
    if value is None:
        return "default"
    return "none" if math.isinf(value) else value


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"

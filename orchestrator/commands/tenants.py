"""`cogmill tenants`: who may ask for videos, for how many, and for which share of the GPUs."""

from __future__ import annotations

import asyncio
import math
from typing import Annotated, Any

import typer

from orchestrator.commands import tenants_by_api as by_api
from orchestrator.commands.administration import ApiOption, OnlyApiOption, over_api
from orchestrator.commands.options import DataDirOption, settings_of
from orchestrator.domain.errors import InvalidField
from orchestrator.domain.texts import check_tenant

# The rest is imported by the command that needs it, as in orchestrator.cli.

tenants = typer.Typer(help="Tenants.", no_args_is_help=True)


def tenant_name(text: str) -> str:
    """A tenant, as the command line takes one."""
    try:
        return check_tenant(text)
    except InvalidField as error:
        raise typer.BadParameter(error.message) from None


Tenant = Annotated[str, typer.Argument(parser=tenant_name, metavar="TENANT")]

_DEFAULT = math.nan  # goes back to the configuration's


def _limit(text: str) -> float:
    """A number, infinity for `none`, NaN for `default`."""
    words = {"none": math.inf, "default": _DEFAULT}
    try:
        number = words[text] if text in words else float(text)
    except ValueError:
        number = -1.0
    if number < 0 or (text not in words and not math.isfinite(number)):
        raise typer.BadParameter("a limit is a number of 0 or more, 'none' or 'default'")
    return number


def _option(text: str) -> Any:
    return typer.Option(parser=_limit, metavar="NUMBER|none|default", help=text)


def _change(name: str, value: float) -> float | None:
    """What a limit is to be; None goes back to the configuration's."""
    from orchestrator.tenants.administering import checked_limit

    if math.isnan(value):
        return None
    try:
        return checked_limit(name, value)
    except InvalidField as error:
        raise typer.BadParameter(error.message, param_hint=f"--{name.replace('_', '-')}") from None


@tenants.command("weight")
def set_weight(tenant: Tenant, weight: float, api: ApiOption = None, data_dir: DataDirOption = None) -> None:
    """Give TENANT a share of WEIGHT relative to the others, whose is 1 unless set; it holds from the next claim on."""
    if not 0 < weight < math.inf:
        raise typer.BadParameter("must be a positive number", param_hint="WEIGHT")
    if over_api(api, data_dir):
        by_api.set_weight(api, tenant, weight)
        return

    from orchestrator.store import Store

    async def change() -> None:
        async with Store.open(settings_of(data_dir).database) as store:
            await store.set_weight(tenant, weight)

    asyncio.run(change())


@tenants.command("limit")
def set_limits(
    tenant: Tenant,
    requests_per_s: Annotated[float | None, _option("Requests per second.")] = None,
    queued: Annotated[float | None, _option("Jobs that wait to be rendered.")] = None,
    running: Annotated[float | None, _option("Jobs that run at once.")] = None,
    gpu_seconds_per_day: Annotated[float | None, _option("GPU seconds from midnight to midnight UTC.")] = None,
    largest_request: Annotated[float | None, _option("Predicted GPU seconds of one job.")] = None,
    most_urgent: Annotated[
        float | None, _option("The least priority that it may ask for, 0 to 100; 0 goes before all others.")
    ] = None,
    open_batches: Annotated[float | None, _option("Batches that have not ended.")] = None,
    open_campaigns: Annotated[float | None, _option("Campaigns that have not ended.")] = None,
    waiting_rows: Annotated[float | None, _option("Rows of both that have not ended.")] = None,
    row_bytes: Annotated[float | None, _option("Bytes of campaigns' rows.")] = None,
    files: Annotated[float | None, _option("Files.")] = None,
    stored_bytes: Annotated[float | None, _option("Bytes of files.")] = None,
    webhook_endpoints: Annotated[float | None, _option("Webhook endpoints.")] = None,
    event_streams: Annotated[
        float | None, _option("Videos, and campaigns, that are followed in one API process.")
    ] = None,
    api: ApiOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Limit what TENANT may do; what is not named stays, `none` lifts a limit, `default` goes back to the settings'."""
    given = {
        "requests_per_s": requests_per_s,
        "queued": queued,
        "running": running,
        "gpu_seconds_per_day": gpu_seconds_per_day,
        "largest_request": largest_request,
        "most_urgent": most_urgent,
        "open_batches": open_batches,
        "open_campaigns": open_campaigns,
        "waiting_rows": waiting_rows,
        "row_bytes": row_bytes,
        "files": files,
        "stored_bytes": stored_bytes,
        "webhook_endpoints": webhook_endpoints,
        "event_streams": event_streams,
    }
    changes = {name: _change(name, value) for name, value in given.items() if value is not None}
    if not changes:
        raise typer.BadParameter("name a limit", param_hint="--queued, --running, ...")
    if over_api(api, data_dir):
        by_api.set_limits(api, tenant, changes)
        return

    from orchestrator.store import Store

    async def change() -> None:
        async with Store.open(settings_of(data_dir).database) as store:
            await store.set_limits(tenant, changes)

    asyncio.run(change())


@tenants.command("budget")
def set_budget(
    tenant: Tenant,
    per: Annotated[str, typer.Option(help="`day` or `month`, in UTC.")],
    gpu_seconds: Annotated[float | None, typer.Option(min=0, help="What its campaigns and batches may use.")] = None,
    money: Annotated[float | None, typer.Option(min=0, help="The same in the deployment's currency.")] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(help="What happens at a percentage: 80:tell, 95:finish, 110:cancel.", metavar="PERCENT:DO"),
    ] = None,
    lift: Annotated[bool, typer.Option("--lift", help="Take both budgets of that period away.")] = False,
    api: ApiOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Bound what TENANT's campaigns and batches may use in each day or month, beside what each of them may."""
    from orchestrator.domain.campaign import BudgetAction
    from orchestrator.policy import budget as budgets
    from orchestrator.ports.campaign_values import Budget
    from orchestrator.store import Store

    if per not in budgets.PERIODS:
        raise typer.BadParameter(f"must be one of {', '.join(budgets.PERIODS)}", param_hint="--per")
    if lift == (gpu_seconds is not None or money is not None):
        raise typer.BadParameter("name an amount, or lift both", param_hint="--gpu-seconds, --money, --lift")
    actions = []
    for text in at or ():
        percent, _, do = text.partition(":")
        if not percent.isdecimal() or do not in budgets.ACTIONS:
            raise typer.BadParameter(f"{text!r} is not like 80:tell", param_hint="--at")
        actions.append(BudgetAction(percent=int(percent), do=do))
    amounts = {"gpu_seconds": gpu_seconds, "money": money}
    if over_api(api, data_dir):
        if lift:
            by_api.lift_budgets(api, tenant, per, list(amounts))
        else:
            by_api.set_budgets(api, tenant, per, amounts, [(action.percent, action.do) for action in actions])
        return

    async def change() -> None:
        async with Store.open(settings_of(data_dir).database) as store:
            for unit, amount in amounts.items():
                if lift:
                    await store.drop_budget(tenant, per, unit)
                elif amount is not None:
                    budget = Budget(tenant=tenant, period=per, unit=unit, amount=amount, actions=tuple(actions))
                    budgets.check(budget.ask)
                    await store.set_budget(budget)

    asyncio.run(change())


@tenants.command("budgets")
def list_budgets(tenant: Tenant, api: ApiOption = None, data_dir: DataDirOption = None) -> None:
    """List TENANT's budgets, with what is used and spoken for in the period that goes on."""
    if over_api(api, data_dir):
        by_api.show_budgets(api, tenant)
        return

    from orchestrator.ports.campaign_values import Budget
    from orchestrator.store import Store

    async def read() -> list[Budget]:
        async with Store.open(settings_of(data_dir).database) as store:
            return await store.budgets_of(tenant)

    for budget in asyncio.run(read()):
        acts = " ".join(f"{action.percent}:{action.do}" for action in budget.actions)
        spent = f"used {budget.used:g}  reserved {budget.reserved:g}"
        typer.echo(f"per {budget.period}  {budget.amount:g} {budget.unit}  {spent}  {acts}".rstrip())


@tenants.command("use")
def show_use(tenant: Tenant, api: OnlyApiOption = None) -> None:
    """Show each limit of TENANT, what holds, and how much of it is used now; through the API."""
    by_api.show_limits(api, tenant)


@tenants.command("list")
def list_tenants(api: ApiOption = None, data_dir: DataDirOption = None) -> None:
    """List tenants with their weight and their limits; those in brackets are the settings', quotas left out.

    Through the API only their own limits: `tenants use` has what holds.
    """
    if over_api(api, data_dir):
        by_api.show(api)
        return

    from dataclasses import asdict

    from orchestrator.policy.quotas import QUOTAS
    from orchestrator.ports import Tenant as Known
    from orchestrator.store import Store

    settings = settings_of(data_dir)

    async def read() -> list[Known]:
        async with Store.open(settings.database) as store:
            return await store.list_tenants()

    defaults = asdict(settings.limits.defaults)
    for known in asyncio.run(read()):
        told = {name: own for name, own in asdict(known.limits).items() if own is not None or name not in QUOTAS}
        limits = (_shown(name, own, defaults[name]) for name, own in told.items())
        typer.echo("  ".join((known.name, f"weight {known.weight:g}", *limits)))


@tenants.command("quotas")
def show_quotas(tenant: Tenant, data_dir: DataDirOption = None) -> None:
    """What TENANT has of what stays, and the most that it may have."""
    from orchestrator.policy.limits import Limits
    from orchestrator.policy.quotas import COUNTED, Holding
    from orchestrator.store import Store

    settings = settings_of(data_dir)

    async def read() -> tuple[Limits, Holding]:
        async with Store.open(settings.database, limits=settings.limits.defaults) as store:
            return await store.holding_of(tenant)

    limits, holding = asyncio.run(read())
    for name in COUNTED:
        most = getattr(limits, name)
        text = "no limit" if most is None or math.isinf(most) else f"of {most:.0f}"
        typer.echo(f"{name.replace('_', '-'):<18} {getattr(holding, name)} {text}")


def _shown(name: str, own: float | None, default: float | None) -> str:
    effective = default if own is None else own
    text = "none" if effective is None or math.isinf(effective) else f"{effective:.15g}"
    return f"{name.replace('_', '-')} {text}" if own is not None else f"{name.replace('_', '-')} ({text})"

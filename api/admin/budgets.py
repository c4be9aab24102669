"""`/v1/admin/tenants/{tenant}/budgets`: what a tenant's campaigns and batches may use in each day or month."""

from __future__ import annotations

from typing import Literal

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from api import deps
from api.openai.errors import DOCS
from api.wire.bodies import Integer, Number, read_json, typed
from api.wire.docs import Body
from api.wire.replies import reply
from api.wire.routes import Router
from orchestrator.domain.campaign import BudgetAction
from orchestrator.domain.errors import InvalidField
from orchestrator.domain.rights import Scope
from orchestrator.ports.campaign_values import Budget

router = Router(tags=["administration"])

_EXAMPLE: dict[str, JsonValue] = {
    "object": "tenant.budget",
    "tenant": "acme",
    "period": "month",
    "unit": "gpu_seconds",
    "amount": 500000.0,
    "actions": [{"percent": 80, "do": "tell"}, {"percent": 95, "do": "finish"}],
    "reserved": 1200.0,
    "used": 310000.0,
}
_LIST: dict[str, JsonValue] = {"object": "list", "data": [_EXAMPLE]}


class TenantBudgetAction(BaseModel):
    """What happens at a percentage."""

    percent: int
    do: str = Field(description="`tell`, `finish` or `cancel`.")


class SetBudgetAction(BaseModel):
    """The same, as it is asked for."""

    model_config = ConfigDict(extra="forbid")

    percent: Integer
    do: str = Field(description="`tell`, `finish` or `cancel`.")


class TenantBudget(BaseModel):
    """What a tenant may use in each period, in UTC, and what it has in the one that goes on."""

    object: Literal["tenant.budget"] = "tenant.budget"
    tenant: str
    period: str = Field(description="`day` or `month`.")
    unit: str = Field(description="`gpu_seconds`, or `money` in the deployment's currency.")
    amount: float
    actions: list[TenantBudgetAction]
    reserved: float
    used: float


class TenantBudgetList(BaseModel):
    """All of a tenant's."""

    object: Literal["list"] = "list"
    data: list[TenantBudget]


class SetBudget(BaseModel):
    """The whole budget, in the place of the one before."""

    model_config = ConfigDict(extra="forbid")

    amount: Number = Field(description="More than 0.")
    actions: list[SetBudgetAction] = Field([], max_length=10)


class LiftedBudget(BaseModel):
    """Whether there was one to lift."""

    object: Literal["tenant.budget.deleted"] = "tenant.budget.deleted"
    deleted: bool


_READS = Body(fields=SetBudget, examples={"typical": {"amount": 500000, "actions": [{"percent": 80, "do": "tell"}]}})


@router.get(
    "/v1/admin/tenants/{tenant}/budgets",
    response_model=TenantBudgetList,
    summary="List a tenant's budgets",
    **DOCS.route(Scope.VIEW, errors=(404,), example=_LIST),
)
async def list_budgets(request: Request, tenant: str, viewer: deps.Key) -> Response:
    """With what is used and spoken for in the period that goes on."""
    budgets = await deps.services(request).administration.tenants.budgets(tenant)
    return reply(TenantBudgetList(data=[_budget(each) for each in budgets]))


@router.put(
    "/v1/admin/tenants/{tenant}/budgets/{period}/{unit}",
    response_model=TenantBudget,
    summary="Set a tenant's budget",
    **DOCS.route(Scope.ADMIN, errors=(404,), example=_EXAMPLE, reads=_READS),
)
async def put_budget(request: Request, tenant: str, period: str, unit: str, admin: deps.Key) -> Response:
    """Bound what its campaigns and batches may use in each `day` or `month`. Asked again, it changes nothing."""
    body = typed(SetBudget, await read_json(request), nested=True)
    actions = tuple(BudgetAction(percent=each.percent, do=each.do) for each in body.actions)
    budget = Budget(tenant=tenant, period=period, unit=unit, amount=body.amount, actions=actions)
    try:
        made = await deps.services(request).administration.tenants.set_budget(budget)
    except InvalidField as error:
        raise InvalidField(error.message, param=(error.param or "").removeprefix("budget.") or None) from None
    return reply(_budget(made))


@router.delete(
    "/v1/admin/tenants/{tenant}/budgets/{period}/{unit}",
    response_model=LiftedBudget,
    summary="Lift a tenant's budget",
    **DOCS.route(Scope.ADMIN, errors=(400, 404), example={"object": "tenant.budget.deleted", "deleted": True}),
)
async def lift_budget(request: Request, tenant: str, period: str, unit: str, admin: deps.Key) -> Response:
    """Take it away. Asked again, it answers that there is none."""
    lifted = await deps.services(request).administration.tenants.drop_budget(tenant, period, unit)
    return reply(LiftedBudget(deleted=lifted))


def _budget(budget: Budget) -> TenantBudget:
    return TenantBudget(
        tenant=budget.tenant,
        period=budget.period,
        unit=budget.unit,
        amount=budget.amount,
        actions=[TenantBudgetAction(percent=each.percent, do=each.do) for each in budget.actions],
        reserved=budget.reserved,
        used=budget.used,
    )

"""Tenants as administrators manage them: their weights, limits and use, and what they have of single pools."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Protocol

from orchestrator.config import Settings
from orchestrator.domain.errors import InvalidField, NotFound
from orchestrator.domain.request import MAX_PRIORITY
from orchestrator.domain.texts import check_tenant
from orchestrator.policy import budget as budgets
from orchestrator.policy.limits import Limits
from orchestrator.policy.quotas import Holding
from orchestrator.ports import Share, Tenant, TenantPage
from orchestrator.ports.campaign_values import Budget

# What the table's integers hold.
MOST_WORKERS = 2**31 - 1

_MORE_THAN_NOTHING = {"requests_per_s", "largest_request"}
_FRACTIONS = {"requests_per_s", "gpu_seconds_per_day", "largest_request"}


class TenantStore(Protocol):
    """The parts of the store that this needs."""

    async def page_tenants(self, *, limit: int, after: str | None) -> TenantPage: ...

    async def find_tenant(self, name: str) -> Tenant | None: ...

    async def add_tenant(self, name: str) -> bool: ...

    async def use_of(self, tenant: str) -> Mapping[str, float]: ...

    async def holding_of(self, tenant: str) -> tuple[Limits, Holding]: ...

    async def set_weight(self, tenant: str, weight: float) -> None: ...

    async def set_limits(self, tenant: str, changes: Mapping[str, float | None]) -> None: ...

    async def set_share(self, share: Share) -> None: ...

    async def list_shares(self) -> list[Share]: ...

    async def set_budget(self, budget: Budget) -> None: ...

    async def drop_budget(self, tenant: str, period: str, unit: str) -> bool: ...

    async def budgets_of(self, tenant: str) -> list[Budget]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSeen:
    """One limit of a tenant. Infinity is that there is none."""

    name: str
    # The tenant's own; None where the deployment's holds.
    own: float | None
    # What holds.
    effective: float
    # What counts against it now; None where nothing is counted, or elsewhere.
    used: float | None


class Tenants:
    """Every tenant. A name that is none's raises `NotFound`, but where one is made; every call `StoreUnavailable`."""

    def __init__(self, settings: Settings, store: TenantStore) -> None:
        self._settings = settings
        self._store = store

    async def list(self, *, limit: int, after: str | None = None) -> TenantPage:
        """Some of them, by name."""
        return await self._store.page_tenants(limit=limit, after=after)

    async def get(self, name: str) -> Tenant:
        found = await self._store.find_tenant(name)
        if found is None:
            raise NotFound(f"no tenant {name[:80]!r}", param="tenant")
        return found

    async def put(self, name: str, *, weight: float | None, limits: Mapping[str, float | None]) -> Tenant:
        """Make it if it is new, and change what is named. Raises `InvalidField`; again, it changes nothing."""
        check_tenant(name)
        _checked(weight, limits)
        await self._store.add_tenant(name)
        return await self.change(name, weight=weight, limits=limits)

    async def change(self, name: str, *, weight: float | None, limits: Mapping[str, float | None]) -> Tenant:
        """Change what is named; a limit of None goes back to the deployment's. Raises `InvalidField`."""
        changes = _checked(weight, limits)
        await self.get(name)
        if weight is not None:
            await self._store.set_weight(name, weight)
        if changes:
            await self._store.set_limits(name, changes)
        return await self.get(name)

    async def limits(self, name: str) -> Sequence[LimitSeen]:
        """Each of its limits, what holds, and how much of it is used."""
        tenant = await self.get(name)
        effective = asdict(tenant.limits.over(self._settings.limits.defaults))
        _, holding = await self._store.holding_of(name)
        used = {**asdict(holding), **await self._store.use_of(name)}
        return [
            LimitSeen(
                name=limit,
                own=own,
                effective=math.inf if effective[limit] is None else effective[limit],
                used=used.get(limit),
            )
            for limit, own in asdict(tenant.limits).items()
        ]

    async def shares(self) -> Sequence[Share]:
        """What all tenants have of single pools."""
        return await self._store.list_shares()

    async def share(self, name: str, pool: str, changes: Mapping[str, int | None]) -> Share:
        """Change what a tenant has of a pool: `guaranteed`, `running` (None: as many as over all pools).

        What is not named stays; a tenant that has nothing of a pool any more has no share of it. Raises `InvalidField`.
        """
        await self.get(name)
        if pool not in self._settings.pools:
            raise NotFound(
                f"no pool {pool[:80]!r}; this deployment has: {', '.join(self._settings.pools)}", param="pool"
            )
        known = {share.tenant: share for share in await self._store.list_shares() if share.pool == pool}
        share = known.get(name, Share(tenant=name, pool=pool))
        if "guaranteed" in changes:
            share = replace(share, guaranteed=changes["guaranteed"] or 0)
        if "running" in changes:
            share = replace(share, running=changes["running"])
        check_share(share, known, self._settings.guaranteeable(pool))
        await self._store.set_share(share)
        return share

    async def budgets(self, name: str) -> Sequence[Budget]:
        """What its campaigns and batches may use in a day or a month, and what is used and spoken for."""
        await self.get(name)
        return await self._store.budgets_of(name)

    async def set_budget(self, budget: Budget) -> Budget:
        """Bound what a tenant's campaigns and batches may use, in the place of what was set before."""
        await self.get(budget.tenant)
        _check_period(budget.period)
        budgets.check(budget.ask)
        await self._store.set_budget(budget)
        found = [it for it in await self._store.budgets_of(budget.tenant) if _same(it, budget)]
        return found[0] if found else budget

    async def drop_budget(self, name: str, period: str, unit: str) -> bool:
        """Lift it; False where there is none."""
        await self.get(name)
        _check_period(period)
        if unit not in budgets.UNITS:
            raise InvalidField(f"must be one of {', '.join(budgets.UNITS)}", param="unit")
        return await self._store.drop_budget(name, period, unit)


def check_share(share: Share, known: Mapping[str, Share], workers: int) -> None:
    """Raise `InvalidField` for a guarantee above the tenant's cap, or with the others' above the pool's workers."""
    for name, value in (("guaranteed", share.guaranteed), ("running", share.running)):
        if value is not None and not 0 <= value <= MOST_WORKERS:
            raise InvalidField(f"must be a whole number from 0 to {MOST_WORKERS}", param=name)
    if share.running is not None and share.guaranteed > share.running:
        raise InvalidField(
            f"{share.tenant} may run {share.running} jobs in pool {share.pool} and cannot be guaranteed "
            f"{share.guaranteed}: raise running, or lower guaranteed",
            param="guaranteed",
        )
    promised = sum(other.guaranteed for name, other in known.items() if name != share.tenant) + share.guaranteed
    before = known[share.tenant].guaranteed if share.tenant in known else 0
    if promised > workers and share.guaranteed > before:
        raise InvalidField(
            f"pool {share.pool} has {workers} workers (pools.{share.pool}.workers), and {promised} would be guaranteed",
            param="guaranteed",
        )


def checked_limit(name: str, value: float) -> float:
    """A limit as it is kept: infinity is none, but for priorities, of which 0 goes before all others.

    Raises `InvalidField`, which names it.
    """
    param = f"limits.{name}"
    if name == "most_urgent" and math.isinf(value):
        return 0
    if math.isnan(value) or value < 0 or (value == 0 and name in _MORE_THAN_NOTHING):
        raise InvalidField("must be more than 0" if name in _MORE_THAN_NOTHING else "must be 0 or more", param=param)
    if math.isfinite(value) and name not in _FRACTIONS and value != int(value):
        raise InvalidField("must be a whole number", param=param)
    if name == "most_urgent" and value > MAX_PRIORITY:
        raise InvalidField(f"must be from 0 to {MAX_PRIORITY}", param=param)
    return value


def _checked(weight: float | None, limits: Mapping[str, float | None]) -> Mapping[str, float | None]:
    """The limits as they are kept. Raises `InvalidField`."""
    if weight is not None and not 0 < weight < math.inf:
        raise InvalidField("must be a positive number", param="weight")
    known = {field.name for field in fields(Limits)}
    for name in limits:
        if name not in known:
            raise InvalidField(f"is no limit; there are: {', '.join(sorted(known))}", param=f"limits.{name[:80]}")
    return {name: None if value is None else checked_limit(name, value) for name, value in limits.items()}


def _check_period(period: str) -> None:
    if period not in budgets.PERIODS:
        raise InvalidField(f"must be one of {', '.join(budgets.PERIODS)}", param="period")


def _same(one: Budget, other: Budget) -> bool:
    return (one.period, one.unit) == (other.period, other.unit)

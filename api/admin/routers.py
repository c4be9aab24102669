"""Every router of `/v1/admin`, for the dialect that serves them."""

from __future__ import annotations

from api.admin import (
    audit,
    budgets,
    bulk_actions,
    campaigns,
    dead_letters,
    erasures,
    job_traces,
    jobs,
    keys,
    overview,
    parked,
    pools,
    shares,
    tenants,
    usage,
    workers,
)

ROUTERS = (
    overview.router,
    tenants.router,
    shares.router,
    budgets.router,
    keys.router,
    pools.router,
    usage.router,
    workers.router,
    jobs.router,
    bulk_actions.router,
    job_traces.router,
    campaigns.router,
    dead_letters.router,
    parked.router,
    audit.router,
    erasures.router,
)

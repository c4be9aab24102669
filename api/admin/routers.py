"""Every router of `/v1/admin`, for the dialect that serves them."""

from __future__ import annotations

from api.admin import (
    audit,
    budgets,
    dead_letters,
    erasures,
    job_traces,
    jobs,
    keys,
    parked,
    pools,
    shares,
    tenants,
    usage,
    workers,
)

ROUTERS = (
    tenants.router,
    shares.router,
    budgets.router,
    keys.router,
    pools.router,
    usage.router,
    workers.router,
    jobs.router,
    job_traces.router,
    dead_letters.router,
    parked.router,
    audit.router,
    erasures.router,
)

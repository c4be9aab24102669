"""The overview: what waits, runs and ended, how it went over hours, which alerts fire, and quarantines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from cogmill_client.models.admin import PoolForecast
from cogmill_client.models.base import Answer, OrNewer


class Ended(Answer):
    """Videos that ended, by how."""

    succeeded: int
    failed: int
    cancelled: int


class OverviewAmounts(Answer):
    """What waits and runs now, and what ended within the last hour and the last day; None is not told apart."""

    waiting: int
    running: int
    oldest_wait_s: float | None
    ended_hour: Ended | None
    ended_day: Ended | None


class OverviewPool(OverviewAmounts):
    """One pool; `forecast` is for administrators."""

    object: Literal["overview.pool"]
    pool: str
    model: str
    paused: str | None
    scheduled: int | None
    next_start_at: int | None
    forecast: PoolForecast | None


class OverviewPriority(OverviewAmounts):
    """One priority, 0 the most urgent."""

    object: Literal["overview.priority"]
    priority: int


class OverviewTenant(OverviewAmounts):
    """One tenant."""

    object: Literal["overview.tenant"]
    tenant: str


class OverviewAlert(Answer):
    """A condition that holds now; its subject is a pool, a campaign or a tenant, or empty."""

    object: Literal["overview.alert"]
    name: str
    severity: Annotated[Literal["critical", "warning", "info"], OrNewer]
    subject: str
    summary: str
    values: Mapping[str, str | int | float] = {}


class Overview(OverviewAmounts):
    """What waits, runs and ended. A tenant's own has nothing of anybody else's."""

    object: Literal["overview"]
    at: int
    scheduled: int
    pools: list[OverviewPool]
    priorities: list[OverviewPriority]
    tenants: list[OverviewTenant]
    more_tenants: int
    alerts: list[OverviewAlert]


class OverviewPoint(Answer):
    """One step: what came and ended in it, and what waited and ran at its end; `busy` is for administrators."""

    object: Literal["overview.point"]
    at: int
    accepted: int
    waiting: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    busy: float | None


class OverviewHistory(Answer):
    """Steps of a time; those in which nothing was sampled are missing."""

    object: Literal["overview.history"]
    since: int
    until: int
    resolution: int
    data: list[OverviewPoint]


class QuarantineJob(Answer):
    """A job that failed on a worker that was given up. None is what went with the job."""

    job: str
    tenant: str
    code: str | None
    message: str | None


class Quarantine(Answer):
    """A life of a worker that was given up, since several jobs in a row had failed there."""

    object: Literal["quarantine"]
    worker: str
    incarnation: str
    pool: str
    at: int
    jobs: list[QuarantineJob]

"""The traffic of a simulation, as its TOML file says it: tenants, streams at a rate, traces, campaigns."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, field_validator, model_validator

from orchestrator.domain.request import DEFAULT_PRIORITY
from orchestrator.simulator.fleet import Strict

Hour = Annotated[float, Field(ge=0, le=24 * 366, allow_inf_nan=False)]
Priority = Annotated[int, Field(ge=0, le=100)]
# Within these years every moment of a simulation is one that a calendar has, in UTC and in any zone of closed hours.
_FIRST_YEAR, _LAST_YEAR = 1970, 2200


class TenantTable(Strict):
    """`[tenants.NAME]`: of those who are not as everybody is."""

    weight: float = Field(default=1.0, gt=0, le=1000)
    # Jobs that run at a time, in each pool.
    max_running: int | None = Field(default=None, ge=1)
    # Workers that it gets when it wants them, by pool: `guaranteed = { main = 20 }`. Lent to others while it does not.
    guaranteed: dict[str, Annotated[int, Field(ge=0, le=100_000)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _within_its_cap(self) -> Self:
        for pool, count in self.guaranteed.items():
            if self.max_running is not None and count > self.max_running:
                raise ValueError(f"guaranteed {count} workers of {pool}, and may run {self.max_running} jobs")
        return self


class _Renders(Strict):
    """What every kind of traffic says of its renders."""

    # None is the fleet's first.
    pool: str | None = None
    priority: Priority = DEFAULT_PRIORITY
    profile: Literal["exact", "fast", "draft"] = "exact"
    # GPU seconds and denoise steps on a worker of speed 1, instead of the catalogue's for pool and profile.
    seconds: float | None = Field(default=None, gt=0, le=24 * 3600)
    steps: int | None = Field(default=None, ge=1, le=1000)


class _Singles(_Renders):
    """Jobs that come one by one."""

    # Instead of `pool`: several, each with its share of the jobs; which of them a job goes to is chance.
    pools: dict[str, Annotated[float, Field(gt=0, le=1e6)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.pool is not None and self.pools:
            raise ValueError("pool and pools exclude each other")
        return self


class StreamTable(_Singles):
    """`[streams.NAME]`: jobs that come at a rate."""

    # Their tenant; or several, NAME-1 and so on, of which the n-th sends an n-th of what the first one does (Zipf).
    tenant: str
    tenants: int = Field(default=1, ge=1, le=10_000)
    # The mean over the day.
    per_hour: float = Field(gt=0, le=10_000_000)
    # So many times the mean comes at `peak_h` hours after the beginning, and as much less half a day later; a cosine.
    peak: float = Field(default=1.0, ge=1, le=1.95)
    peak_h: Hour = 0.0
    # The coefficient of variation of the time between two: 1 is Poisson, more is bursts.
    cv: float = Field(default=1.0, gt=0, le=20)
    # Seconds in which its videos are wanted, for the count of those that came too late.
    within_s: float | None = Field(default=None, gt=0)


class TraceTable(_Singles):
    """`[traces.NAME]`: jobs that come as a CSV file says (`traces.py`)."""

    # Beside the traffic file.
    file: str = Field(min_length=1)
    # The one tenant; without it each `client` of the file is one, NAME-CLIENT.
    tenant: str | None = None
    keep_one_in: int = Field(default=1, ge=1, le=1_000_000_000)
    # Hours after the beginning at which the file's second 0 is.
    at_h: Hour = 0.0
    within_s: float | None = Field(default=None, gt=0)


class BudgetTable(Strict):
    """`[campaigns.NAME.budget]`: what its rows may take. Without room for the next row it pauses."""

    amount: float = Field(gt=0, allow_inf_nan=False)
    # GPU seconds of its workers, or money by the price of its pool's dearest kind, until an attempt ends and its own
    # kind's price is known. One of `policy/budget.py`'s units.
    unit: Literal["gpu_seconds", "money"] = "gpu_seconds"


class CampaignTable(_Renders):
    """`[campaigns.NAME]`: many rows that are there at once."""

    tenant: str
    rows: int = Field(ge=1, le=100_000_000)
    priority: Priority = 20
    at_h: Hour = 0.0
    # Hours after the beginning.
    deadline_h: Hour | None = None
    max_running: int | None = Field(default=None, ge=1)
    budget: BudgetTable | None = None

    @model_validator(mode="after")
    def _in_time(self) -> Self:
        if self.deadline_h is not None and self.deadline_h <= self.at_h:
            raise ValueError(f"deadline_h {self.deadline_h:g} is not after at_h {self.at_h:g}: both are hours")
        return self


class Traffic(Strict):
    """A whole traffic file."""

    # What is simulated. What waits or renders at its end is counted as such.
    hours: float = Field(gt=0, le=24 * 366)
    # The moment of its beginning, with its zone: what pools' closed hours are reckoned from. A Monday, at midnight.
    begins: AwareDatetime = datetime(2024, 1, 1, tzinfo=UTC)
    # How far renders are off their prediction: a factor of all, and the spread of the logarithm of each.
    slower: float = Field(default=1.0, gt=0, le=100)
    spread: float = Field(default=0.05, ge=0, le=3)
    tenants: dict[str, TenantTable] = Field(default_factory=dict)
    streams: dict[str, StreamTable] = Field(default_factory=dict)
    traces: dict[str, TraceTable] = Field(default_factory=dict)
    campaigns: dict[str, CampaignTable] = Field(default_factory=dict)

    @field_validator("begins")
    @classmethod
    def _in_our_times(cls, moment: datetime) -> datetime:
        if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
            raise ValueError(f"is in the year {moment.year}, and must be from {_FIRST_YEAR} to {_LAST_YEAR}")
        return moment

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not (self.streams or self.traces or self.campaigns):
            raise ValueError("has no streams, traces or campaigns: nothing would come")
        return self

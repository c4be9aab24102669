"""The fleet of a simulation, as its TOML file says it: pools, their kinds of workers, and how workers behave."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from orchestrator.config.section import Section
from orchestrator.domain.catalog import FAMILIES
from orchestrator.policy.affinity import LOAD_S, Swapping, at_once_of
from orchestrator.policy.hours import ClosedHours

# Up to a day: whoever writes milliseconds hears of it.
Wait = Annotated[float, Field(ge=0, le=24 * 3600, allow_inf_nan=False)]
# A share, 0 to 1.
Share = Annotated[float, Field(ge=0, le=1)]
_RULES = Swapping()


class Strict(Section):
    """A table that takes no text for a number."""

    model_config = ConfigDict(strict=True)


class KindTable(Strict):
    """`[pools.NAME.kinds.KIND]`: workers that cost the same and behave alike."""

    # A fixed number; else the autoscaler chooses from `min` to `max`.
    workers: int | None = Field(default=None, ge=0, le=100_000)
    min: int = Field(default=0, ge=0, le=100_000)
    max: int | None = Field(default=None, ge=0, le=100_000)
    # Money for one GPU in an hour, from the moment in which its node is asked for.
    price_per_gpu_hour: float = Field(ge=0, allow_inf_nan=False)
    # Twice the speed, half the seconds.
    speed: float = Field(default=1.0, gt=0, le=100)
    # From the request to a loaded model: the median, and the spread of its logarithm.
    start_s: Wait = 180.0
    start_spread: float = Field(default=0.2, ge=0, le=3)
    # Requests that never come to anything.
    never_starts: Share = 0.0
    # How often one worker vanishes. With notice its renders leave with a checkpoint; else what came after the last one
    # is rendered again.
    losses_per_day: float = Field(default=0.0, ge=0, le=10_000)
    notice: bool = True

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if self.workers is None and self.max is None:
            raise ValueError("needs workers, a fixed number, or max, up to which it is scaled")
        if self.workers is not None and (self.max is not None or self.min):
            raise ValueError("workers is a fixed number, and excludes min and max")
        if self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is greater than max {self.max}")
        return self

    @property
    def fixed(self) -> bool:
        return self.workers is not None

    @property
    def may_vanish(self) -> bool:
        return self.losses_per_day > 0


class PoolTable(Strict):
    """`[pools.NAME]`: workers that hold the same model."""

    # The catalogue's name of what its workers hold: how long a render takes where its traffic gives no seconds.
    family: str = "cogvideox-5b"
    gpus_per_worker: int = Field(default=1, ge=1, le=8)
    # What all its kinds together may have and cost; none is no bound. For the autoscaler.
    max_gpus: int | None = Field(default=None, ge=0)
    max_money_per_hour: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    # When campaigns render nothing here: `Mon-Fri 08:00-18:00 Europe/Berlin`.
    closed_hours: list[str] = Field(default_factory=list)
    # None where its workers are those of a shared set.
    kinds: dict[str, KindTable] = Field(default_factory=dict)

    @field_validator("closed_hours")
    @classmethod
    def _readable(cls, lines: list[str]) -> list[str]:
        ClosedHours.parse(lines)
        return lines

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.family not in FAMILIES:
            raise ValueError(f"family {self.family!r} is none of {', '.join(FAMILIES)}")
        return self

    @model_validator(mode="after")
    def _kinds_fit(self) -> Self:
        """A kind whose workers could never be there, or have to be there beyond what there may be, is a mistake."""
        least = {name: kind.min if kind.workers is None else kind.workers for name, kind in self.kinds.items()}
        if self.max_gpus is not None and sum(least.values()) * self.gpus_per_worker > self.max_gpus:
            raise ValueError(f"max_gpus {self.max_gpus} is less than what min of the kinds takes")
        money = sum(count * self.price_of(name) for name, count in least.items())
        if self.max_money_per_hour is not None and money > self.max_money_per_hour:
            raise ValueError(f"max_money_per_hour {self.max_money_per_hour:g} is less than what min of the kinds costs")
        for name, kind in self.kinds.items():
            if self.max_gpus is not None and kind.max and self.gpus_per_worker > self.max_gpus:
                raise ValueError(
                    f"kinds.{name}: a worker has {self.gpus_per_worker} GPUs, and max_gpus is {self.max_gpus}"
                )
            if self.max_money_per_hour is not None and kind.max and self.price_of(name) > self.max_money_per_hour:
                raise ValueError(
                    f"kinds.{name}: a worker costs {self.price_of(name):g} an hour, and max_money_per_hour is"
                    f" {self.max_money_per_hour:g}"
                )
        return self

    def price_of(self, kind: str) -> float:
        """What an hour of one worker of a kind costs, with all its GPUs."""
        return self.kinds[kind].price_per_gpu_hour * self.gpus_per_worker

    @property
    def most_workers(self) -> int:
        """As many as there may be, of all kinds."""
        most = sum((kind.max or 0) if kind.workers is None else kind.workers for kind in self.kinds.values())
        return most if self.max_gpus is None else min(most, self.max_gpus // self.gpus_per_worker)

    @property
    def fixed(self) -> bool:
        """Nothing for an autoscaler to do."""
        return all(kind.fixed for kind in self.kinds.values())


class SharedTable(Strict):
    """`[shared.NAME]`: workers that hold the model of one of several pools at a time. As `shared` of the settings."""

    pools: tuple[str, ...] = Field(min_length=2, strict=False)
    workers: int = Field(ge=1, le=100_000)
    price_per_gpu_hour: float = Field(ge=0, allow_inf_nan=False)
    speed: float = Field(default=1.0, gt=0, le=100)
    # From the end of what it held to the first step with another model.
    load_s: float = Field(default=LOAD_S, gt=0, le=24 * 3600)
    cold_wait_s: float = Field(default=_RULES.cold_wait_s, gt=0, le=24 * 3600)
    hold_s: float = Field(default=_RULES.hold_s, gt=0, le=24 * 3600)
    pays: float = Field(default=_RULES.pays, ge=1, le=1000)
    # None is one, and one more for each eight workers.
    at_once: int | None = Field(default=None, ge=1, le=100_000)
    # Between two decisions.
    every_s: float = Field(default=5.0, ge=0.1, le=3600)

    @property
    def most_at_once(self) -> int:
        return at_once_of(self.workers) if self.at_once is None else self.at_once


class ScalingTable(Strict):
    """`[scaling]`: how the autoscaler decides, for pools with kinds that have `max`. As in `policy/autoscale.py`."""

    # Between two decisions.
    every_s: float = Field(default=30.0, ge=1, le=3600)
    # What waits without a deadline should be done within this, and what somebody sits and waits for within that.
    clear_s: float = Field(default=1800.0, ge=1, le=24 * 3600)
    urgent_within_s: float = Field(default=120.0, ge=1, le=24 * 3600)
    # Somebody sits and waits for jobs of this priority number and of lower ones.
    urgent_priority: int = Field(default=5, ge=0, le=100)
    # Without any work, workers go after this.
    idle_s: float = Field(default=300.0, ge=1, le=24 * 3600)


class Fleet(Strict):
    """A whole fleet file."""

    # Between two renders of a GPU: claim, assignment, prompt.
    gap_s: Wait = 0.05
    # From a render's leaving a worker to its going on elsewhere.
    handover_s: Wait = 5.0
    # As `engine.checkpoint_every_s`; 0 stores one only when a render leaves.
    checkpoint_every_s: Wait = 60.0
    # As the engine has it: more urgent renders that may begin while a begun one waits.
    max_overtaken: int = Field(default=4, ge=0, le=100)
    scaling: ScalingTable = ScalingTable()
    pools: dict[str, PoolTable] = Field(min_length=1)
    shared: dict[str, SharedTable] = Field(default_factory=dict)

    def set_of(self, pool: str) -> str | None:
        """The set of shared workers that may hold this pool's model; None where it shares none."""
        return next((name for name, shared in self.shared.items() if pool in shared.pools), None)

    def most_workers(self, pool: str) -> int:
        """As many as there may be, of all kinds, and all that it shares."""
        shared = self.set_of(pool)
        return self.pools[pool].most_workers + (0 if shared is None else self.shared[shared].workers)

    def dearest(self, pool: str) -> float:
        """Money for an hour of one of its workers, of the dearest kind: what a budget is reserved by."""
        table, shared = self.pools[pool], self.set_of(pool)
        prices = [table.price_of(kind) for kind in table.kinds]
        if shared is not None:
            prices.append(self.shared[shared].price_per_gpu_hour * table.gpus_per_worker)
        return max(prices)

    @model_validator(mode="after")
    def _each_has_workers(self) -> Self:
        home: dict[str, str] = {}
        for name, table in self.shared.items():
            for pool in table.pools:
                if pool not in self.pools:
                    raise ValueError(f"shared.{name}.pools has {pool!r}, which is none of {', '.join(self.pools)}")
                if pool in home:
                    raise ValueError(f"shared.{name}.pools has {pool!r}, which is in shared.{home[pool]}.pools already")
                home[pool] = name
            if len({self.pools[pool].gpus_per_worker for pool in table.pools}) > 1:
                raise ValueError(f"shared.{name}.pools differ in gpus_per_worker")
        for pool, its in self.pools.items():
            if pool in home and its.kinds:
                raise ValueError(f"pools.{pool}.kinds: its workers are those of shared.{home[pool]}")
            if pool not in home and not its.kinds:
                raise ValueError(f"pools.{pool}.kinds: must not be empty, unless the pool is in one of shared")
        return self

"""A whole simulation: traffic comes to a fleet, on a virtual clock, until its hours are over."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from orchestrator.policy import affinity
from orchestrator.policy.supply import WEEK_HOURS
from orchestrator.simulator import arrivals, closing, shapes
from orchestrator.simulator.arrivals import HOUR_S
from orchestrator.simulator.campaigns import Campaign
from orchestrator.simulator.capacity import Capacity
from orchestrator.simulator.clock import Clock
from orchestrator.simulator.fleet import Fleet, PoolTable
from orchestrator.simulator.foretelling import Foreteller, Foretold
from orchestrator.simulator.jobs import Job, Shape
from orchestrator.simulator.pool import Pool
from orchestrator.simulator.queues import queue_of
from orchestrator.simulator.scaling import Scaler
from orchestrator.simulator.sharing import Decide, Shared
from orchestrator.simulator.tally import Sample, Tally
from orchestrator.simulator.traces import Arrival
from orchestrator.simulator.traffic import CampaignTable, StreamTable, TraceTable, Traffic

# Of the course over time, from the beginning to the end.
SAMPLES = 288
# Forecasts look beyond it.
_AHEAD_S = 7 * 24 * HOUR_S


@dataclass(slots=True, kw_only=True, eq=False)
class _Source:
    """Jobs that come one by one."""

    table: StreamTable | TraceTable
    coming: Iterator[Arrival]
    # Where its jobs go, each with its share of them and with its shape there.
    pools: dict[str, float]
    shapes: dict[str, Shape]
    random: Random


class World:
    """One fleet, one traffic, one policy, one seed: whoever plays it twice sees the same."""

    def __init__(
        self, fleet: Fleet, traffic: Traffic, *, policy: str, seed: int, directory: Path, forecasts: bool = True,
        swaps: Decide = affinity.decide,
    ) -> None:  # fmt: skip
        """`directory` is where the traffic's traces are; `forecasts` says whether any are made, and `swaps` decides
        about workers that pools share.

        Raises `ConfigError` for a trace that cannot be read.
        """
        self.fleet, self.traffic, self.policy, self.seed = fleet, traffic, policy, seed
        self.clock = Clock()
        self.tally = Tally(end_s=traffic.hours * HOUR_S)
        self._numbers = 0
        # Single jobs that have not ended, and their pools.
        self.live: dict[Job, str] = {}
        self.pools: dict[str, Pool] = {}
        self.capacities: dict[str, Capacity] = {}
        for name, table in fleet.pools.items():
            queue = queue_of(policy, traffic.tenants, name)
            pool = Pool(fleet, queue, self.clock, self.tally, Random(f"{seed}/retries/{name}"), self._ended)
            capacity = Capacity(name, table, pool, self.clock, self.tally, Random(f"{seed}/workers/{name}"))
            self.pools[name], self.capacities[name] = pool, capacity
        self.campaigns = {
            name: Campaign(
                name=name,
                table=table,
                shape=self._shape(table),
                tally=self.tally,
                price=fleet.dearest(self._pool_of(table)) / HOUR_S,
            )
            for name, table in traffic.campaigns.items()
        }
        self.shared = {
            name: Shared(
                name, table, fleet.pools[table.pools[0]].gpus_per_worker,
                {pool: self.pools[pool] for pool in table.pools},
                {pool: self._of_pool(pool) for pool in table.pools}, self.clock, self.tally, swaps,
            )
            for name, table in fleet.shared.items()
        }  # fmt: skip
        self.scalers = [
            Scaler(name, capacity, self._of_pool(name), fleet.scaling, self.clock)
            for name, capacity in self.capacities.items()
            if not capacity.table.fixed
        ]
        # How far each source's and campaign's renders are off: the same, whoever is next in the queue.
        self._errors = {name: Random(f"{seed}/errors/campaigns/{name}") for name in self.campaigns}
        self._sources = [*self._streams(), *self._traces(directory)]
        ahead_s = self.tally.end_s + _AHEAD_S
        self.closed = {
            name: closing.periods(table.closed_hours, traffic.begins, ahead_s) for name, table in fleet.pools.items()
        }
        # Those of the product are of our policy.
        self._forecasts = forecasts and policy == "ours"
        self.foretold: list[Foretold] = []
        # Made when the first is asked for: a trace is read once more.
        self._foretellers: dict[str, Foreteller] = {}
        self._directory = directory

    def run(self) -> Tally:
        """Play it to its end."""
        end_s = self.tally.end_s
        for capacity in self.capacities.values():
            capacity.open()
        for shared in self.shared.values():
            shared.open()
        for scaler in self.scalers:
            self.clock.at(0.0, scaler.run)
        for source in self._sources:
            self._next(source)
        for name, periods in self.closed.items():
            for begin, end in periods:
                self.clock.at(begin, self.pools[name].close)
                self.clock.at(end, self._open, name)
        for campaign in self.campaigns.values():
            self.clock.at(campaign.table.at_h * HOUR_S, self._start, campaign)
        for n in range(SAMPLES + 1):
            self.clock.at(end_s * n / SAMPLES, self._sample)
        self.clock.run(end_s)
        for capacity in self.capacities.values():
            if capacity.table.kinds:  # or its workers are those of a set
                capacity.close()
        for shared in self.shared.values():
            shared.close()
        for job, pool in self.live.items():
            self.tally.unfinished(job, pool, end_s)
        return self.tally

    # ------------------------------------------------------------ what comes

    def _streams(self) -> Iterator[_Source]:
        for name, table in self.traffic.streams.items():
            yield self._source(name, table, arrivals.stream(table, Random(f"{self.seed}/streams/{name}")), "streams")

    def _traces(self, directory: Path) -> Iterator[_Source]:
        for name, table in self.traffic.traces.items():
            coming = arrivals.trace(name, table, directory, Random(f"{self.seed}/traces/{name}"))
            yield self._source(name, table, coming, "traces")

    def _source(self, name: str, table: StreamTable | TraceTable, coming: Iterator[Arrival], kind: str) -> _Source:
        random = Random(f"{self.seed}/errors/{kind}/{name}")
        pools = table.pools or {self._pool_of(table): 1.0}
        shapes_of = {pool: shapes.shape_of(table, self.fleet.pools[pool]) for pool in pools}
        return _Source(table=table, coming=coming, pools=pools, shapes=shapes_of, random=random)

    def _next(self, source: _Source) -> None:
        arrival = next(source.coming, None)
        if arrival is not None and arrival[0] < self.tally.end_s:
            self.clock.at(arrival[0], self._arrive, source, arrival[1])

    def _arrive(self, source: _Source, tenant: str) -> None:
        now = self.clock.now
        wanted_at = math.inf if source.table.within_s is None else now + source.table.within_s
        name = next(iter(source.pools))
        if len(source.pools) > 1:
            name = source.random.choices(list(source.pools), list(source.pools.values()))[0]
        job = self._job(source.shapes[name], source.random, tenant, source.table.priority, now, wanted_at, None)
        self.live[job] = name
        self.tally.arrived(tenant, job.priority, now, count=1, seconds=job.cost)
        pool = self.pools[name]
        pool.add(job)
        pool.give()
        self._next(source)

    def _start(self, campaign: Campaign) -> None:
        table = campaign.table
        campaign.running = True
        seconds = table.rows * campaign.shape.cost
        self.tally.arrived(table.tenant, table.priority, self.clock.now, count=table.rows, seconds=seconds)
        self._refill(campaign)
        self.pools[self._pool_of(table)].give()

    def _open(self, name: str) -> None:
        self.pools[name].open()
        for campaign in self._of_pool(name):
            self._refill(campaign)
        self.pools[name].give()

    def _refill(self, campaign: Campaign) -> None:
        pool = self.pools[self._pool_of(campaign.table)]
        if pool.closed:
            return
        windowed, workers = pool.queue.windowed, len(pool.ready)
        for job in campaign.refill(windowed=windowed, workers=workers, make=self._row, now=self.clock.now):
            pool.add(job)

    def _row(self, campaign: Campaign) -> Job:
        table = campaign.table
        return self._job(
            campaign.shape, self._errors[campaign.name], table.tenant, table.priority,
            table.at_h * HOUR_S, campaign.wanted_at, campaign,
        )  # fmt: skip

    def _job(
        self, shape: Shape, random: Random, tenant: str, priority: int, arrived_at: float, wanted_at: float,
        campaign: Campaign | None,
    ) -> Job:  # fmt: skip
        self._numbers += 1
        spread = self.traffic.spread
        # Its mean is `slower`, whatever the spread.
        off = self.traffic.slower * math.exp(random.gauss(0.0, spread) - spread * spread / 2)
        return Job(
            number=self._numbers,
            tenant=tenant,
            priority=priority,
            cost=shape.cost,
            gpus=shape.gpus,
            seconds=shape.seconds * off,
            step_s=(shape.seconds - shape.decode_s) / shape.steps * off,
            arrived_at=arrived_at,
            wanted_at=wanted_at,
            campaign=None if campaign is None else campaign.name,
        )

    # ------------------------------------------------------------ what follows

    def _ended(self, job: Job, well: bool) -> None:
        if job.campaign is None:
            del self.live[job]
            return
        campaign = self.campaigns[job.campaign]
        campaign.ended(well=well)
        if campaign.through:
            self.tally.through_at[campaign.name] = self.clock.now
        self._refill(campaign)
        for share in campaign.looks() if self._forecasts else ():
            self._foretell(campaign, share)

    def _foretell(self, campaign: Campaign, share: float) -> None:
        name = self._pool_of(campaign.table)
        if self.fleet.set_of(name) is not None:
            return  # nobody knows how many of the shared workers will hold its model
        if name not in self._foretellers:
            self._foretellers[name] = Foreteller(
                self.capacities[name], self._of_pool(name), self.traffic.tenants, self._usual(name), self.closed[name],
                self.tally,
            )  # fmt: skip
        single = [job for job, pool in self.live.items() if pool == name]
        self.foretold.append(self._foretellers[name].ask(campaign, share, single, self.clock.now))

    def _usual(self, pool: str) -> list[float]:
        """Worker seconds of single jobs that come in each hour of a week."""
        seconds = [0.0] * WEEK_HOURS
        for source in self._sources:
            if pool in source.pools:
                came = arrivals.usual(source.table, self._directory, Random(f"{self.seed}/usual"))
                part = source.pools[pool] / sum(source.pools.values())
                took_s = source.shapes[pool].seconds * self.traffic.slower * part
                seconds = [before + count * took_s for before, count in zip(seconds, came, strict=True)]
        return seconds

    def _sample(self) -> None:
        starting: Counter[str] = Counter()
        ready: Counter[str] = Counter()
        waiting: Counter[int] = Counter()
        money: defaultdict[str, float] = defaultdict(float)
        for name, capacity in self.capacities.items():
            starting.update(f"{name}/{worker.kind}" for worker in capacity.starting)
            ready.update(f"{name}/{worker.kind}" for worker in self.pools[name].ready)
            for worker in (*self.pools[name].ready, *capacity.starting):
                if worker.comes:
                    money[f"{name}/{worker.kind}"] += worker.price
            waiting.update(self.pools[name].waiting)
            waiting.update(job.priority for job in self.pools[name].held)
        for shared in self.shared.values():
            for worker in shared.starting:
                starting[f"{worker.pool}/{worker.kind}"] += 1
                money[f"{worker.pool}/{worker.kind}"] += worker.price
        for campaign in self.campaigns.values():
            if campaign.running:
                waiting[campaign.table.priority] += campaign.table.rows - campaign.submitted
        busy = sum(pool.busy for pool in self.pools.values())
        done = {name: campaign.succeeded for name, campaign in self.campaigns.items()}
        self.tally.samples.append(
            Sample(
                at_s=self.clock.now,
                starting=dict(starting),
                ready=dict(ready),
                money=dict(money),
                busy=busy,
                waiting=dict(waiting),
                done=done,
            )
        )

    # ------------------------------------------------------------ what belongs where

    def _pool_of(self, table: StreamTable | TraceTable | CampaignTable) -> str:
        return table.pool or next(iter(self.fleet.pools))

    def _of_pool(self, name: str) -> list[Campaign]:
        return [each for each in self.campaigns.values() if self._pool_of(each.table) == name]

    def _shape(self, table: StreamTable | TraceTable | CampaignTable) -> Shape:
        return shapes.shape_of(table, self._table(table))

    def _table(self, table: StreamTable | TraceTable | CampaignTable) -> PoolTable:
        return self.fleet.pools[self._pool_of(table)]

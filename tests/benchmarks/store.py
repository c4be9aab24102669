"""What the queue costs: claims and finishes per second, claim latency, idle submit to claimed, heartbeats.

    python -m tests.benchmarks.store            all of it, with a million waiting jobs (minutes)
    python -m tests.benchmarks.store --small    the same with small numbers, to see that it runs

It starts its own PostgreSQL with fsync on and measures the product's own `Store`, SQLAlchemy and Python included.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg
import psutil
import uvloop

from orchestrator.domain.job import Claim, WorkerRef
from orchestrator.domain.outcome import Settlement
from orchestrator.store import Store, migrate
from orchestrator.store.engine import dumps
from tests.support.jobs import CLUSTER, POOL, SPEC, new_job, success, workers
from tests.support.postgres import Server

DURABLE = {"shared_buffers": "512MB", "max_wal_size": "4GB", "checkpoint_timeout": "15min"}
BATCH = 32


@dataclass(frozen=True)
class Sizes:
    waiting: int
    tenants: int
    finishes: int
    samples: int
    held: int
    idle: int
    beats: int


FULL = Sizes(waiting=1_000_000, tenants=200, finishes=100_000, samples=1_500, held=100_000, idle=300, beats=10_000)
SMALL = Sizes(waiting=5_000, tenants=20, finishes=2_000, samples=50, held=2_000, idle=30, beats=500)


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def line(values: Sequence[float]) -> str:
    ms = [value * 1e3 for value in values]
    return f"p50 {percentile(ms, 0.5):6.2f} ms  p95 {percentile(ms, 0.95):6.2f} ms  p99 {percentile(ms, 0.99):6.2f} ms"


async def load(url: str, count: int, tenants: int) -> None:
    """COPY ready jobs into the table, dealt over the tenants, as a campaign's ingest would."""
    connection = await asyncpg.connect(url)
    spec, now = dumps(SPEC), datetime.now(UTC)
    columns = [
        "id",
        "tenant",
        "pool",
        "priority",
        "state",
        "ready",
        "cost",
        "max_attempts",
        "spec",
        "request",
        "run_at",
    ]
    done = 0
    while done < count:
        chunk = [new_job(f"tenant{i % tenants:04d}") for i in range(done, min(count, done + 10_000))]
        records = [(j.id, j.tenant, POOL, 0, "queued", True, 90.0, 3, spec, "{}", now) for j in chunk]
        await connection.copy_records_to_table("jobs", records=records, columns=columns)
        done += len(chunk)
    await connection.execute(
        "INSERT INTO lanes (pool, priority, tenant, weight) SELECT DISTINCT pool, priority, tenant, 1 FROM jobs "
        "ON CONFLICT DO NOTHING"
    )
    await connection.close()


async def settle_down(url: str) -> None:
    """What autovacuum does within its first minute; here at once, so that runs compare."""
    connection = await asyncpg.connect(url)
    await connection.execute("VACUUM ANALYZE jobs")
    await connection.execute("VACUUM ANALYZE lanes")
    await connection.execute("CHECKPOINT")
    await connection.close()


def finished(claim: Claim) -> Settlement:
    """A success that took a little more or less than predicted, so that every finish corrects its lane."""
    return success(claim, claim.cost * random.uniform(0.9, 1.1))


async def burn(store: Store, slots: list[WorkerRef], budget: itertools.count[int], limit: int) -> int:
    done = 0
    while next(budget) * len(slots) < limit:
        claims = await store.claim(POOL, CLUSTER, slots)
        await store.settle([finished(claim) for claim in claims])
        done += len(claims)
    return done


async def throughput(url: str, finishes: int, dispatchers: int, batch: int) -> float:
    async with Store.open(url) as store:
        await store.beat(CLUSTER, dict.fromkeys(workers(batch), POOL))
        budget = itertools.count()
        started = time.perf_counter()
        done = await asyncio.gather(*(burn(store, workers(batch), budget, finishes) for _ in range(dispatchers)))
        return sum(done) / (time.perf_counter() - started)


async def latencies(url: str, batch: int, samples: int, waiting: int, tenants: int) -> list[float]:
    """Claim latency while the number of waiting jobs stays the same; every claim is finished outside the clock."""
    taken: list[float] = []
    async with Store.open(url) as store:
        slots = workers(batch)
        await store.beat(CLUSTER, dict.fromkeys(slots, POOL))
        missing = 0
        for _ in range(samples):
            started = time.perf_counter()
            claims = await store.claim(POOL, CLUSTER, slots)
            taken.append(time.perf_counter() - started)
            await store.settle([finished(claim) for claim in claims])
            missing += len(claims)
            if missing >= waiting / 10:
                await load(url, missing, tenants)
                missing = 0
    return taken[samples // 20 :]  # the first ones connect and plan


async def idle(url: str, samples: int) -> list[float]:
    """From the call of submit to the moment when another process's dispatcher would hold the claim."""
    taken: list[float] = []
    async with Store.open(url) as api, Store.open(url) as dispatcher, dispatcher.wakeups() as wakeups:
        slots = workers(1)
        await dispatcher.beat(CLUSTER, dict.fromkeys(slots, POOL))
        await wakeups.wait(1.0)
        for _ in range(samples + 10):
            started = time.perf_counter()
            submitted = asyncio.create_task(api.submit(new_job()))
            claims: list[Claim] = []
            while not claims:
                await wakeups.wait(1.0)
                claims = await dispatcher.claim(POOL, CLUSTER, slots)
            taken.append(time.perf_counter() - started)
            await submitted
            await dispatcher.settle([success(claim) for claim in claims])
            await asyncio.sleep(0.02)
            await wakeups.wait(0.0)
    return taken[10:]


async def beats(url: str, server: Server, count: int, rounds: int = 10) -> tuple[float, float]:
    """Seconds of CPU that one round of heartbeats costs: this process's, and PostgreSQL's."""
    async with Store.open(url, connections=1) as store:
        fleet = dict.fromkeys(workers(count), POOL)
        await store.beat(CLUSTER, fleet)
        ours, theirs = _cpu(psutil.Process()), _server_cpu(server)
        for _ in range(rounds):
            await store.beat(CLUSTER, fleet)
        return (_cpu(psutil.Process()) - ours) / rounds, (_server_cpu(server) - theirs) / rounds


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _server_cpu(server: Server) -> float:
    postmaster = psutil.Process(server.process.pid)
    return sum(_cpu(process) for process in [postmaster, *postmaster.children()])


@asynccontextmanager
async def held_transaction(url: str) -> AsyncIterator[None]:
    """A transaction that keeps every dead row in the queue's way, as a forgotten psql would."""
    connection = await asyncpg.connect(url, server_settings={"idle_in_transaction_session_timeout": "0"})
    await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    await connection.fetchval("SELECT count(*) FROM lanes")
    try:
        yield
    finally:
        await connection.close()


class Backlog:
    """Databases with so many waiting jobs: loaded once, cloned for each measurement."""

    def __init__(self, server: Server, tenants: int) -> None:
        self._server, self._tenants = server, tenants
        server.execute("CREATE DATABASE migrated")
        with ThreadPoolExecutor(1) as thread:  # `migrate` runs a loop of its own
            thread.submit(migrate, server.url("migrated")).result()
        self._loaded: dict[int, str] = {0: "migrated"}

    async def clone(self, waiting: int) -> str:
        """The URL of a fresh database with `waiting` ready jobs."""
        if waiting not in self._loaded:
            name = self._server.new_database("migrated")
            await load(self._server.url(name), waiting, self._tenants)
            await settle_down(self._server.url(name))
            self._loaded[waiting] = name
        name = self._server.new_database(self._loaded[waiting])
        self._server.execute("CHECKPOINT")
        return self._server.url(name)


async def report(server: Server, sizes: Sizes, only: set[str]) -> None:
    backlog = Backlog(server, sizes.tenants)
    if "idle" in only:
        print(f"idle submit to claimed        {line(await idle(await backlog.clone(0), sizes.idle))}   "
              "(goal p50 < 6, p95 < 10)")  # fmt: skip
    if "beats" in only:
        ours, theirs = await beats(await backlog.clone(0), server, sizes.beats)
        print(f"{sizes.beats} heartbeats: {ours * 1e3:.0f} ms of CPU here, {theirs * 1e3:.0f} ms in PostgreSQL; every "
              f"10 s that is {(ours + theirs) * 10:.1f}% of a core   (goal 5%)")  # fmt: skip
    if "latency" in only:
        await report_latency(backlog, sizes)
    if "throughput" in only:
        url = await backlog.clone(sizes.waiting)
        for dispatchers in (1, 2, 3, 4):
            rate = await throughput(url, sizes.finishes // 4, dispatchers, BATCH)
            print(f"claim + finish at batch {BATCH}, {dispatchers} dispatchers: {rate:6.0f}/s   (goal 5000)")
    if "held" in only:
        await report_held(await backlog.clone(sizes.waiting), sizes)


async def report_latency(backlog: Backlog, sizes: Sizes) -> None:
    small, large = min(1_000, sizes.waiting), sizes.waiting
    urls = {waiting: await backlog.clone(waiting) for waiting in (small, large)}
    for batch in (1, 8, BATCH):
        figures: dict[int, list[float]] = {small: [], large: []}
        for _ in range(3):  # by turns, so that what else the machine does meets both
            for waiting in (small, large):
                figures[waiting] += await latencies(urls[waiting], batch, sizes.samples // 3, waiting, sizes.tenants)
        for waiting in (small, large):
            print(f"claim of {batch:2d}, {waiting:8d} waiting    {line(figures[waiting])}")
        ratio = percentile(figures[large], 0.99) / percentile(figures[small], 0.99)
        print(f"claim of {batch:2d}: p99 with {large} waiting is {ratio:.2f}x of that with {small}   (goal 1.5)")


async def report_held(url: str, sizes: Sizes) -> None:
    free = await latencies(url, BATCH, sizes.samples // 3, sizes.waiting, sizes.tenants)
    async with held_transaction(url):
        held = await latencies(url, BATCH, sizes.held // BATCH, sizes.waiting, sizes.tenants)
    print(f"claim of {BATCH}, nothing held             {line(free)}")
    print(f"claim of {BATCH}, over {sizes.held} claims  {line(held)}")
    print(f"  of these the last tenth          {line(held[-len(held) // 10 :])}")
    ratio = percentile(held, 0.99) / percentile(free, 0.99)
    print(f"p99 with a transaction held open: {ratio:.2f}x   (goal 3)")


def main() -> None:
    sections = ["idle", "beats", "latency", "throughput", "held"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--waiting", type=int, help="waiting jobs, instead of a million")
    parser.add_argument("--only", nargs="+", choices=sections, default=sections)
    arguments = parser.parse_args()
    sizes = SMALL if arguments.small else FULL
    if arguments.waiting:
        sizes = Sizes(**{**vars(sizes), "waiting": arguments.waiting})
    server = Server.create(DURABLE, durable=True)
    try:
        uvloop.run(report(server, sizes, set(arguments.only)))  # as the dispatcher runs
    finally:
        server.remove()


if __name__ == "__main__":
    main()

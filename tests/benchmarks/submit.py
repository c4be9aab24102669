"""What a durable submit costs over HTTP: the same app with PostgreSQL and with a store that keeps nothing.

    python -m tests.benchmarks.submit              16 and 64 connections, three rounds of each
    python -m tests.benchmarks.submit --small      the same for a moment, to see that it runs
    python -m tests.benchmarks.submit --old DIR    and beside them the durable submits of another checkout

It starts its own PostgreSQL with fsync on and one uvicorn process for each store, and drives them in turn from this
process over raw connections, each of which sends its next request when the last one is answered. The ratio to another
checkout is the median of ratios of slices that follow each other at once: between runs, the machine makes a larger
difference than any commit.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import attrgetter, methodcaller
from pathlib import Path
from typing import Any

import psutil
import uvicorn
import uvloop

from api import services
from api.app import create_app
from orchestrator.adapters.s3 import S3Objects
from orchestrator.config import Settings
from orchestrator.domain.job import Job, NewJob
from orchestrator.domain.loading import WorkerLoad
from orchestrator.domain.pausing import Pause
from orchestrator.domain.states import JobState
from orchestrator.local import process
from orchestrator.local.postgres import DATABASE
from orchestrator.local.process import ProcessId
from orchestrator.policy.limits import Limits
from orchestrator.policy.prediction import Past
from orchestrator.ports import ApiKey, QueueDepth
from orchestrator.telemetry import logs
from orchestrator.tenants import keys
from tests.support.api import MASTER_KEY, api_settings
from tests.support.postgres import Server
from tests.support.sockets import free_port
from tests.support.sources import ROOT

DURABLE = {"shared_buffers": "256MB", "max_wal_size": "4GB"}
KEY_ID = "benchmark"
BODY = json.dumps({"model": "cogvideox-3", "prompt": "a lighthouse in a storm", "duration": 5, "size": "96x64"})
STORES = ("no database", "PostgreSQL")
OLD = "the other's"


@dataclass(frozen=True)
class Sizes:
    rounds: int
    warm_s: float
    measure_s: float


FULL = Sizes(rounds=3, warm_s=1.0, measure_s=5.0)
SMALL = Sizes(rounds=2, warm_s=1.0, measure_s=0.5)
WARM_UP = Sizes(rounds=1, warm_s=0.0, measure_s=2.0)
# Beside another checkout.
SLICES = Sizes(rounds=14, warm_s=0.5, measure_s=2.0)

# The port of an API process, that process and its PostgreSQL.
Served = tuple[int, psutil.Process, psutil.Process]


# ---------------------------------------------------------------- the servers


class NoStore:
    """Answers as the real store does and keeps nothing."""

    async def find_key(self, key_id: str) -> ApiKey:
        return ApiKey(id=key_id, tenant="acme", name="", created_at=datetime.now(UTC))

    async def record_uses(self, ages: Mapping[str, float]) -> None: ...

    async def limits_of(self, tenant: str) -> Limits:
        return Limits()

    async def worker_loads(self) -> list[WorkerLoad]:
        return []

    async def pauses(self) -> list[Pause]:
        return []

    async def learned(self) -> list[Past]:
        return []

    async def queue_depth(self) -> list[QueueDepth]:
        return []

    async def submit(self, job: NewJob) -> Job:
        kept: dict[str, Any] = {name: getattr(job, name) for name in ("id", "tenant", "pool", "priority", "spec")}
        return Job(
            **kept,
            state=JobState.QUEUED,
            cost=job.cost,
            request=job.request,
            created_at=datetime.now(UTC),
            started_at=None,
            finished_at=None,
            claims=0,
            failures=0,
            evictions=0,
            max_attempts=job.max_attempts,
            cancel_requested=False,
            stage=None,
            step=0,
            failure=None,
            result=None,
        )


@asynccontextmanager
async def without_database(settings: Settings) -> AsyncIterator[services.Services]:
    yield services.Services.of(settings, NoStore(), S3Objects(settings.s3))


def serve(store: str, port: int, database_url: str) -> None:
    """The app of `cogmill api`, with one of the two stores."""
    settings = api_settings(database_url, key_cache_s=2)
    # As it comes; most tests go without.
    settings = settings.model_copy(update={"log": settings.log.model_copy(update={"access": True})})
    logs.configure(settings.log)
    app = create_app(settings, connect=services.connect if store == "PostgreSQL" else without_database)
    uvicorn.run(app, port=port, loop="uvloop", http="httptools", access_log=False, log_config=None)


# With the collector as `cogmill api` has it, in whichever checkout: else it walks everything that was imported.
_SERVE = """
import gc, runpy
from api import serving
gc.collect()
gc.freeze()
gc.set_threshold(*serving._GC_THRESHOLDS)
runpy.run_module("tests.benchmarks.submit", run_name="__main__")
"""


@contextmanager
def server(store: str, database_url: str, tree: Path = ROOT) -> Iterator[tuple[int, psutil.Process]]:
    port = free_port()
    child = subprocess.Popen(
        [sys.executable, "-c", _SERVE, "--serve", store, str(port), database_url],
        **of_tree(tree),
        stderr=subprocess.DEVNULL,  # a line for each accepted job: written, but not into this report
    )
    try:
        assert process.wait_until_listening(port, ProcessId.of(child.pid), timeout_s=30)
        yield port, psutil.Process(child.pid)
    finally:
        child.terminate()
        child.wait(10)


# ---------------------------------------------------------------- the load


@dataclass
class Run:
    """One drive: seconds of each request within the measured window, the window's length, and for all requests, the
    warm-up included, their count and the CPU time of the API and PostgreSQL together, which other load hardly moves.
    """

    window_s: float
    latencies: list[float] = field(default_factory=list)
    answered: int = 0
    cpu_s: float = 0.0

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.window_s

    @property
    def cpu_us(self) -> float:
        return self.cpu_s / self.answered * 1e6

    def ms(self, share: float) -> float:
        return sorted(self.latencies)[int(len(self.latencies) * share)] * 1e3


class Caller(asyncio.Protocol):
    """One connection. Sends, waits for the whole answer, notes the time, sends again."""

    def __init__(self, request: bytes, run: Run, opens: float, closes: float) -> None:
        self._request, self._run, self._opens, self._closes = request, run, opens, closes
        self._received = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        if not blank or not body.endswith(b"}"):
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self.done.set_exception(RuntimeError(self._received.decode()))
            return
        now = time.perf_counter()
        self._run.answered += 1
        if self._opens <= self._sent and now <= self._closes:
            self._run.latencies.append(now - self._sent)
        if now < self._closes:
            self._send()
        else:
            self._transport.close()
            self.done.set_result(None)

    def _send(self) -> None:
        self._received = b""
        self._sent = time.perf_counter()
        self._transport.write(self._request)


async def drive(port: int, connections: int, sizes: Sizes) -> Run:
    key = keys.issue(MASTER_KEY, KEY_ID)
    request = (
        f"POST /api/paas/v4/videos/generations HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(BODY)}\r\n\r\n{BODY}"
    ).encode()
    opens = time.perf_counter() + sizes.warm_s
    run = Run(sizes.measure_s)
    loop = asyncio.get_running_loop()
    callers = [
        (await loop.create_connection(lambda: Caller(request, run, opens, opens + sizes.measure_s), "127.0.0.1", port))[
            1
        ]
        for _ in range(connections)
    ]
    async with asyncio.timeout(sizes.warm_s + sizes.measure_s + 10):
        await asyncio.gather(*(caller.done for caller in callers))
    return run


# ---------------------------------------------------------------- the report


def measure(sizes: Sizes, old: Path | None) -> None:
    with ExitStack() as stack:
        database = stack.enter_context(prepared(ROOT))
        servers = {name: (*stack.enter_context(server(name, database.url())), postmaster(database)) for name in STORES}
        if old is not None:
            beside = stack.enter_context(prepared(old))
            served = stack.enter_context(server("PostgreSQL", beside.url(), old))
            servers[OLD] = (*served, postmaster(beside))
        for port, _, _ in servers.values():  # imports and caches
            uvloop.run(drive(port, 4, WARM_UP))
        for connections in (16, 64):
            report(connections, servers, sizes)
        for name, (_, served_by, _) in servers.items():
            print(f"memory of the API process, {name}: {served_by.memory_info().rss / 1e6:.0f} MB")


@contextmanager
def prepared(tree: Path) -> Iterator[Server]:
    """A PostgreSQL with this checkout's tables and a key."""
    database = Server.create(DURABLE, durable=True)
    try:
        migrating = "import sys; from orchestrator.store import migrate; migrate(sys.argv[1])"
        subprocess.run([sys.executable, "-c", migrating, database.url()], **of_tree(tree), check=True)
        database.execute(f"INSERT INTO keys (id, tenant, name) VALUES ('{KEY_ID}', 'acme', 'benchmark')", DATABASE)
        yield database
    finally:
        database.remove()


def of_tree(tree: Path) -> dict[str, Any]:
    """How a process is started that runs this checkout's code."""
    return {"cwd": tree, "env": os.environ | {"PYTHONPATH": str(tree)}}


def postmaster(database: Server) -> psutil.Process:
    return psutil.Process(database.process.pid)


def report(connections: int, servers: Mapping[str, Served], sizes: Sizes) -> None:
    """Alternate the servers, so that all see the same machine; print medians over the rounds."""
    runs: dict[str, list[Run]] = {name: [] for name in servers}
    for turn in range(sizes.rounds):
        for name in sorted(servers, reverse=turn % 2 == 1):
            port, api, database = servers[name]
            before = cpu_times([api, database, *database.children()])
            run = uvloop.run(drive(port, connections, sizes))
            run.cpu_s = cpu_s(before)
            runs[name].append(run)
    for name, done in runs.items():
        rate, p50, p99, cpu = (
            statistics.median(figure(run) for run in done)
            for figure in (attrgetter("rate"), methodcaller("ms", 0.5), methodcaller("ms", 0.99), attrgetter("cpu_us"))
        )
        print(
            f"{connections} connections, {name:11}: {rate:6.0f}/s  p50 {p50:5.1f} ms  p99 {p99:5.1f} ms  "
            f"CPU {cpu:4.0f} us a request"
        )
    bare, durable = (statistics.median(run.rate for run in runs[name]) for name in STORES)
    print(f"{connections} connections, ratio: {durable / bare:.2f}")
    if OLD in runs:
        pairs = list(zip(runs["PostgreSQL"], runs[OLD], strict=True))
        rates = statistics.quantiles((new.rate / old.rate for new, old in pairs), n=4)
        cpu = statistics.median(new.cpu_us / old.cpu_us for new, old in pairs)
        print(
            f"{connections} connections beside the other's: {rates[1]:.2f} of its rate (half of all slices "
            f"{rates[0]:.2f} to {rates[2]:.2f}), {cpu:.2f} of its CPU a request"
        )


def cpu_s(before: Mapping[psutil.Process, float]) -> float:
    """Seconds of CPU since then, of those that are still there: PostgreSQL's helpers come and go."""
    return sum(now - before[one] for one, now in cpu_times(before).items())


def cpu_times(processes: Iterable[psutil.Process]) -> dict[psutil.Process, float]:
    times = {}
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            spent = one.cpu_times()
            times[one] = spent.user + spent.system
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--old", type=Path, metavar="DIR", help="another checkout, to compare with")
    parser.add_argument("--serve", nargs=3, metavar=("STORE", "PORT", "URL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        store, port, url = options.serve
        serve(store, int(port), url)
    else:
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the start")
        usual = FULL if options.old is None else SLICES
        measure(SMALL if options.small else usual, options.old and options.old.resolve())


if __name__ == "__main__":
    main()

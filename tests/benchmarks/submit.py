"""What a durable submit costs over HTTP: the same app with PostgreSQL and with a store that keeps nothing.

    python -m tests.benchmarks.submit              16 and 64 connections, three rounds of each
    python -m tests.benchmarks.submit --small      the same for a moment, to see that it runs

It starts its own PostgreSQL with fsync on and one uvicorn process for each store, and drives them in turn from this
process over raw connections, each of which sends its next request when the last one is answered.
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
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import attrgetter, methodcaller
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
from orchestrator.local.process import ProcessId
from orchestrator.policy.limits import Limits
from orchestrator.policy.prediction import Past
from orchestrator.ports import ApiKey
from orchestrator.store import Store, migrate
from orchestrator.telemetry import logs
from orchestrator.tenants import keys
from tests.support.api import MASTER_KEY, api_settings
from tests.support.postgres import Server
from tests.support.sockets import free_port

DURABLE = {"shared_buffers": "256MB", "max_wal_size": "4GB"}
KEY_ID = "benchmark"
BODY = json.dumps({"model": "cogvideox-3", "prompt": "a lighthouse in a storm", "duration": 5, "size": "96x64"})
STORES = ("no database", "PostgreSQL")


@dataclass(frozen=True)
class Sizes:
    rounds: int
    warm_s: float
    measure_s: float


FULL = Sizes(rounds=3, warm_s=1.0, measure_s=5.0)
SMALL = Sizes(rounds=1, warm_s=0.2, measure_s=0.5)


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
    """What `cogmill api` runs, with one of the two stores."""
    settings = api_settings(database_url, key_cache_s=2)
    logs.configure(settings.log)
    app = create_app(settings, connect=services.connect if store == "PostgreSQL" else without_database)
    uvicorn.run(app, port=port, loop="uvloop", http="httptools", access_log=False, log_config=None)


@contextmanager
def server(store: str, database_url: str) -> Iterator[tuple[int, psutil.Process]]:
    port = free_port()
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.submit", "--serve", store, str(port), database_url],
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


def measure(sizes: Sizes) -> None:
    database = Server.create(DURABLE, durable=True)
    try:
        migrate(database.url())
        asyncio.run(add_key(database.url()))
        postmaster = psutil.Process(database.process.pid)
        with server(STORES[0], database.url()) as bare, server(STORES[1], database.url()) as durable:
            servers = dict(zip(STORES, (bare, durable), strict=True))
            for connections in (16, 64):
                report(connections, servers, postmaster, sizes)
            for name, (_, served) in servers.items():
                print(f"memory of the API process, {name}: {served.memory_info().rss / 1e6:.0f} MB")
    finally:
        database.remove()


async def add_key(database_url: str) -> None:
    async with Store.open(database_url) as store:
        await store.add_key(KEY_ID, "acme", "benchmark")


def report(
    connections: int, servers: dict[str, tuple[int, psutil.Process]], postmaster: psutil.Process, sizes: Sizes
) -> None:
    """Alternate the stores, so that both see the same machine; print medians over the rounds."""
    runs: dict[str, list[Run]] = {name: [] for name in servers}
    for _ in range(sizes.rounds):
        for name, (port, served) in servers.items():
            watched = [served, postmaster, *postmaster.children()]
            before = cpu_s(watched)
            run = uvloop.run(drive(port, connections, sizes))
            run.cpu_s = cpu_s(watched) - before
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


def cpu_s(processes: Sequence[psutil.Process]) -> float:
    times = [one.cpu_times() for one in processes]
    return sum(one.user + one.system for one in times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--serve", nargs=3, metavar=("STORE", "PORT", "URL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        store, port, url = options.serve
        serve(store, int(port), url)
    else:
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the start")
        measure(SMALL if options.small else FULL)


if __name__ == "__main__":
    main()

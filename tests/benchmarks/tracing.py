"""What tracing costs a submit over HTTP: off beside the same code without it, and on beside off.

    python -m tests.benchmarks.tracing            sixteen connections, twelve slices of each
    python -m tests.benchmarks.tracing --small    the same for a moment, to see that it runs

One process of the API for each way, on a store that keeps nothing, so that nothing hides what is looked for; they are
driven in turn, and compared slice by slice. Spans go to a server in this process that reads and forgets them. Then the
same that a submit does for traces is done a hundred thousand times by itself: what the slices cannot tell from noise.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import uvicorn
import uvloop

from api import middleware
from api.app import create_app
from orchestrator.config import TracingSettings
from orchestrator.local import process
from orchestrator.local.process import ProcessId
from orchestrator.telemetry import logs, tracing
from tests.benchmarks.submit import WARM_UP, Run, Sizes, cpu_s, cpu_times, drive, without_database
from tests.support.api import api_settings
from tests.support.sockets import free_port

CONNECTIONS = 16
FULL = Sizes(rounds=12, warm_s=0.3, measure_s=2.0)
SMALL = Sizes(rounds=2, warm_s=0.2, measure_s=0.5)

# Each way beside the one before it that it is compared with.
WAYS = {"without": None, "off": "without", "off, again": "off", "on, 1 in 100": "off", "on, all": "off"}
RATIOS = {"on, 1 in 100": 0.01, "on, all": 1.0}


def serve(way: str, port: int, collector: str) -> None:
    """The app of `cogmill api` in one of the ways."""
    settings = api_settings("postgresql://nowhere/none", key_cache_s=2)
    settings = settings.model_copy(update={"log": settings.log.model_copy(update={"access": True})})
    logs.configure(settings.log)
    if way == "without":
        strip()
    ratio = RATIOS.get(way)
    traced = TracingSettings(endpoint=None if ratio is None else collector, ratio=ratio)
    with tracing.running(traced, "api"):
        app = create_app(settings, connect=without_database)
        uvicorn.run(app, port=port, loop="uvloop", http="httptools", access_log=False, log_config=None)


def strip() -> None:
    """Take out what requests and submits do for traces."""
    middleware._traced = lambda scope: tracing.NOTHING
    middleware._say = lambda *_: None
    logs.trace_fields = dict
    tracing.span = lambda *_, **__: tracing.NOTHING
    tracing.kept = lambda: None


@contextmanager
def served(way: str, collector: str) -> Iterator[tuple[int, psutil.Process]]:
    port = free_port()
    command = [sys.executable, "-m", "tests.benchmarks.tracing", "--serve", way, str(port), collector]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        assert process.wait_until_listening(port, ProcessId.of(child.pid), timeout_s=300)
        yield port, psutil.Process(child.pid)
    finally:
        child.terminate()
        child.wait(10)


@contextmanager
def forgetting() -> Iterator[str]:
    """A collector that keeps nothing."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()


def measure(sizes: Sizes) -> None:
    with ExitStack() as stack:
        collector = stack.enter_context(forgetting())
        servers = {way: stack.enter_context(served(way, collector)) for way in WAYS}
        for port, _ in servers.values():  # imports and caches
            uvloop.run(drive(port, 4, WARM_UP))
        runs: dict[str, list[Run]] = {way: [] for way in WAYS}
        for turn in range(sizes.rounds):
            for way in [*WAYS][:: -1 if turn % 2 else 1]:
                port, api = servers[way]
                before = cpu_times([api])
                run = uvloop.run(drive(port, CONNECTIONS, sizes))
                run.cpu_s = cpu_s(before)
                runs[way].append(run)
    for way, beside in WAYS.items():
        cpu = statistics.median(run.cpu_us for run in runs[way])
        line = f"{way:12}: {statistics.median(run.rate for run in runs[way]):6.0f}/s  CPU {cpu:4.0f} us a request"
        if beside is not None:
            ratios = [new.cpu_us / old.cpu_us for new, old in zip(runs[way], runs[beside], strict=True)]
            low, half, high = statistics.quantiles(ratios, n=4)
            line += f"  {half:.3f} of the CPU of {beside!r} (half of all slices {low:.3f} to {high:.3f})"
        print(line)


def alone(times: int) -> None:
    """Microseconds of CPU that a submit spends on traces where tracing is off, beside a loop that does nothing."""
    headers = [(b"host", b"a"), (b"authorization", b"b"), (b"content-type", b"c"), (b"content-length", b"2")]
    scope = {"type": "http", "path": "/v1/videos", "method": "POST", "headers": headers, "state": {"request_id": "x"}}
    took: dict[str, list[float]] = {"off": [], "nothing": []}
    for _ in range(5):
        for way, spent in took.items():
            before = time.process_time()
            for _ in range(times):
                if way == "off":
                    with middleware._traced(scope) as span:
                        with tracing.span("submit", {"cogmill.job": "a", "cogmill.tenant": "b", "cogmill.model": "c"}):
                            tracing.kept()
                        middleware._say(span, scope, "POST", "/v1/videos", 200)
                        logs.trace_fields()
            spent.append((time.process_time() - before) / times * 1e6)
    off, nothing = (statistics.median(took[way]) for way in ("off", "nothing"))
    print(f"by itself, off: {off - nothing:.2f} us of CPU a submit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--alone", action="store_true", help="the last of it, without the servers")
    parser.add_argument("--serve", nargs=3, metavar=("WAY", "PORT", "COLLECTOR"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        way, port, collector = options.serve
        serve(way, int(port), collector)
    else:
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the start")
        if not options.alone:
            measure(SMALL if options.small else FULL)
        alone(1_000 if options.small else 100_000)


if __name__ == "__main__":
    main()

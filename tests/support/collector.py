"""A collector of traces in this process: takes OTLP over HTTP, as OpenTelemetry's do, and answers as it is told."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Seen:
    """One span, its ids in hex and its times in seconds."""

    process: str
    name: str
    trace_id: str
    span_id: str
    # Empty of a root.
    parent_id: str
    began: float
    ended: float
    said: Mapping[str, Any]
    failed: bool
    links: tuple[tuple[str, str], ...]


@dataclass
class Collector:
    """`status` is what it answers; while `open` is cleared requests hang, and while `brief` is its answers have no end.

    `raw` is all that came, as it came.
    """

    status: int = 200
    port: int = 0
    spans: list[Seen] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    open: threading.Event = field(default_factory=threading.Event)
    brief: threading.Event = field(default_factory=threading.Event)
    came: threading.Condition = field(default_factory=threading.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def of(self, trace_id: str) -> list[Seen]:
        """What has come of a trace, in the order of its beginnings."""
        with self.came:
            return sorted((span for span in self.spans if span.trace_id == trace_id), key=lambda span: span.began)

    def until(self, trace_id: str, *names: str, within_s: float = 30.0) -> list[Seen]:
        """A trace, once it has spans of all these names."""
        deadline = time.monotonic() + within_s
        with self.came:
            while set(names) - {span.name for span in self.spans if span.trace_id == trace_id}:
                left = deadline - time.monotonic()
                assert left > 0, f"{names} are not all in {[span.name for span in self.of(trace_id)]}"
                self.came.wait(left)
        return self.of(trace_id)

    def take(self, headers: Mapping[str, str], body: bytes) -> None:
        body = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
        request = ExportTraceServiceRequest.FromString(body)
        with self.came:
            self.raw.append(body)
            self.headers.append(dict(headers))
            self.spans += spans_of(request)
            self.came.notify_all()


def spans_of(request: ExportTraceServiceRequest) -> Iterator[Seen]:
    for of_process in request.resource_spans:
        process = _said(of_process.resource.attributes)["service.name"]
        for scope in of_process.scope_spans:
            for span in scope.spans:
                yield Seen(
                    process=process,
                    name=span.name,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    began=span.start_time_unix_nano / 1e9,
                    ended=span.end_time_unix_nano / 1e9,
                    said=_said(span.attributes),
                    failed=span.status.code == span.status.STATUS_CODE_ERROR,
                    links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
                )


def _said(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """That of the session's stack."""
    with collecting() as collector:
        yield collector


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector for the block."""
    collector = Collector()
    collector.open.set()
    collector.brief.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.open.wait(60)
            if self.path != "/v1/traces":
                self.send_error(404)
                return
            if collector.status == 200:
                collector.take({name.lower(): value for name, value in self.headers.items()}, body)
            self.send_response(collector.status)
            if collector.brief.is_set():
                self.send_header("content-length", "0")
            self.end_headers()
            collector.brief.wait(60)

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, name="collector", daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        collector.open.set()
        collector.brief.set()
        server.shutdown()
        server.server_close()
        thread.join()

"""Spans made by OpenTelemetry's SDK and sent by OTLP over HTTP. Imported where tracing is on, and nowhere else.

A thread of the SDK sends them, from a queue of at most `OTEL_BSP_MAX_QUEUE_SIZE` (2,048): whoever makes a span waits
for nobody, and what a collector that is slow or away does not take in time is lost, and counted.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import requests
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.span import TraceState

from orchestrator.domain.trace import TraceContext
from orchestrator.telemetry import metrics
from orchestrator.telemetry.tracing import Kind, Made, Value

if TYPE_CHECKING:
    from orchestrator.config import TracingSettings

_KINDS = {kind: trace.SpanKind[kind.name] for kind in Kind}


class Otlp:
    """Implements `tracing.Backend`. Not OpenTelemetry's global provider: what else lives in the process has its own."""

    def __init__(self, settings: TracingSettings, process: str) -> None:
        # What is None here, OpenTelemetry's own variables say.
        exporter = OTLPSpanExporter(endpoint=settings.traces_url, headers=settings.header_fields, session=_session())
        self._exporter = _Counted(exporter)
        ratio = settings.ratio
        self._provider = TracerProvider(
            sampler=None if ratio is None else ParentBased(TraceIdRatioBased(ratio)),
            resource=_resource(process),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("cogmill", version("cogmill"))

    def begin(
        self,
        name: str,
        parent: TraceContext | None,
        kind: Kind,
        attributes: Mapping[str, Value],
        links: Sequence[TraceContext],
        at: datetime | None,
    ) -> Made:
        # Never the SDK's idea of where we are: `tracing.py` knows it.
        above = trace.INVALID_SPAN if parent is None else trace.NonRecordingSpan(_span_context(parent))
        return _Made(
            self._tracer.start_span(
                name,
                context=trace.set_span_in_context(above),
                kind=_KINDS[kind],
                attributes=attributes,
                links=[trace.Link(_span_context(each)) for each in links],
                start_time=_nanoseconds(at),
            )
        )

    def close(self, within_s: float) -> None:
        """Send what is left, for no longer than that: an exporter in the middle of its retries is left alone."""
        closing = threading.Thread(target=self._provider.shutdown, name="tracing-end", daemon=True)
        closing.start()
        closing.join(within_s)


class _Made:
    def __init__(self, span: trace.Span) -> None:
        self._span = span
        context = span.get_span_context()
        self.context = TraceContext(
            format(context.trace_id, "032x"),
            format(context.span_id, "016x"),
            context.trace_flags.sampled,
            context.trace_state.to_header(),
        )

    def name(self, name: str) -> None:
        self._span.update_name(name)

    def say(self, attributes: Mapping[str, Value]) -> None:
        self._span.set_attributes(attributes)

    def end(self, error: str | None, at: datetime | None) -> None:
        if error is not None:
            self._span.set_status(trace.StatusCode.ERROR)
            self._span.set_attribute("error.type", error)
        if self._span.is_recording():
            metrics.spans.labels("made").inc()
        self._span.end(_nanoseconds(at))


def _session() -> requests.Session | None:
    """None where a provider of credentials is named, which brings its own."""
    names = ("OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER",
             "OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER")  # fmt: skip
    return None if any(map(os.environ.get, names)) else _Statuses()


class _Statuses(requests.Session):
    """Looks at the status of an answer alone. A body without an end would fill the memory, and one that comes slowly
    hold up all that is sent later: the time limit is for each piece of it.

    A redirect, which the SDK neither follows nor takes for a failure, is one.
    """

    def send(self, request: requests.PreparedRequest, **how: Any) -> requests.Response:
        response = super().send(request, **{**how, "stream": True})
        response.close()
        if 300 <= response.status_code < 400:
            raise requests.RequestException(f"redirected ({response.status_code}): name the collector's own address")
        return response


class _Counted(SpanExporter):
    """Counts what becomes of the spans that are sent."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            fate = "sent" if result is SpanExportResult.SUCCESS else "refused"
            metrics.spans.labels(fate).inc(len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _resource(process: str) -> Resource:
    """Who we are, where `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` do not say it."""
    told = Resource.create().attributes
    ours = {"service.namespace": "cogmill", "service.version": version("cogmill"), "host.name": socket.gethostname()}
    named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    if not named:
        told = {**told, "service.name": f"cogmill-{process}"}
    return Resource({**ours, **told})


def _span_context(context: TraceContext) -> trace.SpanContext:
    return trace.SpanContext(
        int(context.trace_id, 16),
        int(context.span_id, 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED if context.sampled else trace.TraceFlags.DEFAULT),
        trace_state=TraceState.from_header([context.state]) if context.state else None,
    )


def _nanoseconds(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp() * 1e9)

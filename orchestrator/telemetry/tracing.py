"""Traces: where in one this task is, and the spans that are made of it where tracing is on.

Off, which is usual, nothing of OpenTelemetry is imported. A trace that a request came with is passed on all the same,
to its job's row, to log lines and to webhooks: it belongs to whoever called. `otlp.py` is what makes spans and sends
them; a span whose making fails is lost, and nothing else is.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from enum import StrEnum
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

import structlog

from orchestrator.domain.errors import ConfigError
from orchestrator.domain.trace import TraceContext

if TYPE_CHECKING:
    from orchestrator.config import TracingSettings

_here: ContextVar[TraceContext | None] = ContextVar("trace", default=None)

Value = str | int | float | bool

# All that a span may say. What is not named here is left out, so that no prompt, no key and no URL ever gets to a
# collector by a line that somebody adds.
SAID = frozenset({
    "http.request.method", "http.route", "http.response.status_code", "error.type",
    "cogmill.request_id", "cogmill.tenant", "cogmill.job", "cogmill.campaign", "cogmill.model", "cogmill.pool",
    "cogmill.priority", "cogmill.attempt", "cogmill.outcome", "cogmill.state", "cogmill.worker",
    "cogmill.gpu_seconds", "cogmill.resumed_at", "cogmill.stage",
    "cogmill.delivery", "cogmill.event_type", "cogmill.delivery_attempt",
})  # fmt: skip


class Kind(StrEnum):
    """What a span is in its trace."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"
    PRODUCER = "producer"
    CONSUMER = "consumer"


class Made(Protocol):
    """A span that has begun."""

    context: TraceContext

    def name(self, name: str) -> None: ...

    def say(self, attributes: Mapping[str, Value]) -> None: ...

    def end(self, error: str | None, at: datetime | None) -> None:
        """`error` is a word for what went wrong."""
        ...


class Backend(Protocol):
    """What makes spans."""

    def begin(
        self,
        name: str,
        parent: TraceContext | None,
        kind: Kind,
        attributes: Mapping[str, Value],
        links: Sequence[TraceContext],
        at: datetime | None,
    ) -> Made: ...

    def close(self, within_s: float) -> None: ...


_backend: Backend | None = None


class Span:
    """A span for a block, or what stands for one where there is none."""

    __slots__ = ("_error", "_made", "_token", "context")

    def __init__(self, made: Made | None, context: TraceContext | None) -> None:
        self._made = made
        self._error: str | None = None
        # What is begun in the block belongs under it; None where there is no trace.
        self.context = context

    def say(self, attributes: Mapping[str, Value | None]) -> None:
        if self._made is not None:
            self._made.say(_said(attributes))

    def name(self, name: str) -> None:
        if self._made is not None:
            self._made.name(name)

    def fail(self, error: str) -> None:
        """What it is of went wrong, in a word: a message could quote what must not leave."""
        self._error = error

    def __enter__(self) -> Span:
        self._token = _here.set(self.context)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        _here.reset(self._token)
        if self._made is not None:
            self._made.end(self._error or (None if kind is None else kind.__name__), None)


class _Nothing(Span):
    """No span and no trace: leaves everything as it is, and may be entered by many at once."""

    __slots__ = ()

    def __enter__(self) -> Span:
        return self

    def __exit__(self, *_: object) -> None: ...

    def fail(self, error: str) -> None: ...


# For what is not traced.
NOTHING = _Nothing(None, None)


def current() -> TraceContext | None:
    """Where in a trace this task is."""
    return _here.get()


def kept() -> str | None:
    """The same, as a row keeps it."""
    here = _here.get()
    return None if here is None else here.kept


def active() -> bool:
    """Whether spans are made here."""
    return _backend is not None


def span(
    name: str,
    attributes: Mapping[str, Value | None] | None = None,
    *,
    parent: TraceContext | None = None,
    root: bool = False,
    kind: Kind = Kind.INTERNAL,
    links: Sequence[TraceContext] = (),
) -> Span:
    """A span for a `with` block, under `parent`, else under where this task is; a `root` is under neither.

    A `root` that is not recorded stands where its first link does.
    """
    above = None if root else parent or _here.get()
    if _backend is None:
        there = above or (links[0] if links else None)
        return NOTHING if there is None else Span(None, there)
    made = _begun(_backend, name, above, kind, attributes or {}, links, None)
    return Span(made, above if made is None else made.context)


def record(
    name: str,
    parent: TraceContext,
    began: datetime,
    ended: datetime,
    attributes: Mapping[str, Value | None] | None = None,
    *,
    kind: Kind = Kind.INTERNAL,
    error: str | None = None,
) -> TraceContext:
    """Make a span of what is over; what goes below it."""
    if _backend is None:
        return parent
    made = _begun(_backend, name, parent, kind, attributes or {}, (), began)
    if made is None:
        return parent
    made.end(error, max(began, ended))
    return made.context


def _begun(
    backend: Backend,
    name: str,
    parent: TraceContext | None,
    kind: Kind,
    attributes: Mapping[str, Value | None],
    links: Sequence[TraceContext],
    at: datetime | None,
) -> Made | None:
    try:
        return backend.begin(name, parent, kind, _said(attributes), links, at)
    except Exception as error:  # whatever it is, what is traced goes on
        structlog.get_logger(component="tracing").warning("span_lost", span=name, error=type(error).__name__)
        return None


def _said(attributes: Mapping[str, Value | None]) -> dict[str, Value]:
    return {name: value for name, value in attributes.items() if value is not None and name in SAID}


# ---------------------------------------------------------------- on and off


@contextmanager
def running(settings: TracingSettings, process: str) -> Iterator[None]:
    """Make spans of this process for the block, if the settings or OpenTelemetry's own variables say so.

    `process` is its name. What has not been sent at the end has a moment to be. Raises `ConfigError` without the extra.
    """
    global _backend
    if not settings.on:
        yield
        return
    _backend = backend = _opened(settings, process)
    try:
        yield
    finally:
        _backend = None
        backend.close(_CLOSING_S)


_CLOSING_S = 2.0


def _opened(settings: TracingSettings, process: str) -> Backend:
    needed = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
    if not all(_there(name) for name in needed):
        raise ConfigError(
            f"tracing is on ({settings.because}) and needs what is not installed here: pip install 'cogmill[tracing]'; "
            "OTEL_SDK_DISABLED=true turns it off"
        )
    from orchestrator.telemetry.otlp import Otlp

    return Otlp(settings, process)


def _there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # not even what it is a part of
        return False

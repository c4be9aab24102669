"""Around every request, in plain ASGI: its path, an id, its latency, the last resort for errors, and a bounded body."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from uuid import uuid4

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import errors
from api.wire.problem import problem_of
from orchestrator.domain.audit import NOBODY, Actor
from orchestrator.domain.errors import CogmillError, TooLarge
from orchestrator.domain.trace import of_headers
from orchestrator.telemetry import acting, logs, metrics, tracing

log = logs.get("api")

# A caller's own id is echoed when it is harmless in a header and a log line.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_CLIENT_GONE = 499
_UNMATCHED = "unmatched"
_LONGEST_PATH = 200
# What looks every few seconds whether the process lives.
_PROBED = ("/healthz", "/readyz", "/metrics")
IDLE_S = 30.0
WHOLE_S = 300.0
# Bytes a second. Who sends so many may send as many as a body may have.
_SLOWEST = 256 * 1024
_LINGER_S = 2.0


class Edge:
    """Gives each request an `x-request-id`, measures it by route template, and answers what no handler foresaw.

    The id is also `scope["state"]["request_id"]`.
    """

    def __init__(self, app: ASGIApp, *, access: bool = False) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        with _traced(scope) as span:
            await self._answer(scope, receive, send, request_id, span)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: str, span: tracing.Span) -> None:
        started = time.perf_counter()
        status = sent = 0
        seconds: float | None = None  # until the answer begins: a stream of events goes on for as long as its hearer

        async def send_with_id(message: Message) -> None:
            nonlocal status, seconds, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                seconds = time.perf_counter() - started
                MutableHeaders(raw=message["headers"])["x-request-id"] = request_id
            else:
                sent += len(message.get("body", b""))
            await send(message)

        try:
            # Until its key is known, and for as long as it goes on: what comes after it is another's.
            with acting.acting(Actor(name=NOBODY.name, request_id=request_id)):
                await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = _CLIENT_GONE
        except Exception as error:
            log.exception("request_failed", request_id=request_id, method=scope["method"], path=scope["path"])
            if status:  # the answer has begun: all that is left is to break it off
                raise
            await errors.response(scope, problem_of(error))(scope, receive, send_with_id)
        finally:
            method = scope["method"] if scope["method"] in errors.METHODS else "other"
            if seconds is None:
                seconds = time.perf_counter() - started
            template = _template(scope)
            metrics.http_seconds.labels(method, template, status).observe(seconds)
            _say(span, scope, method, template, status)
            if self._access and template not in _PROBED:
                _log_access(scope, method, template, status, time.perf_counter() - started, sent)


def _traced(scope: Scope) -> tracing.Span:
    """A span for the request, under the one that it came with; what only looks whether the process lives has none."""
    parents = [str(value, "latin-1") for name, value in scope["headers"] if name == b"traceparent"]
    came = None
    if parents:
        states = [str(value, "latin-1") for name, value in scope["headers"] if name == b"tracestate"]
        came = of_headers(parents, states)
    if scope["path"] in _PROBED:
        return tracing.NOTHING
    return tracing.span("request", parent=came, kind=tracing.Kind.SERVER)


def _say(span: tracing.Span, scope: Scope, method: str, template: str, status: int) -> None:
    """Name a request's span, once its route, its key and its answer are known."""
    if not tracing.active():
        return
    state = scope["state"]
    key = state.get("key")
    span.name(f"{method} {template}")
    span.say(
        {
            "http.request.method": method,
            "http.route": template,
            "http.response.status_code": status,
            "cogmill.request_id": state["request_id"],
            "cogmill.tenant": None if key is None else key.tenant,
        }
    )
    if status >= 500:
        span.fail(str(status))


def _log_access(scope: Scope, method: str, template: str, status: int, seconds: float, sent: int) -> None:
    """One line, with the ids that the audit log has. Nothing of it is secret: no query, no header, no body.

    The path of no route is whatever a stranger likes, and is left out.
    """
    state = scope["state"]
    key, address = state.get("key"), state.get("address")
    logs.often(
        "access",
        "request",
        request_id=state["request_id"],
        key=None if key is None else key.id,
        tenant=None if key is None else key.tenant,
        address=None if address is None else str(address),
        method=method,
        route=template,
        path=None if template == _UNMATCHED else scope["path"][:_LONGEST_PATH],
        status=status,
        seconds=round(seconds, 6),
        bytes=sent,
        **logs.trace_fields(),
    )


def _request_id(scope: Scope) -> str:
    given = _header(scope, b"x-request-id")
    return given if _REQUEST_ID.fullmatch(given) else uuid4().hex


def _header(scope: Scope, name: bytes) -> str:
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return ""


def _template(scope: Scope) -> str:
    """The route's path with its parameters unfilled, so that ids do not become labels."""
    return getattr(scope.get("route"), "path", _UNMATCHED)


class BasePath:
    """Lets `base` before a path be, or not be: some proxies take their own prefix away, and some do not.

    `root_path` stays empty: with it, a path that begins like the prefix would lose its beginning twice.
    """

    def __init__(self, app: ASGIApp, *, base: str) -> None:
        self._app = app
        self._base = base

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._base and scope["type"] == "http" and f"{scope['path']}/".startswith(f"{self._base}/"):
            path = scope["path"].removeprefix(self._base) or "/"
            raw = scope.get("raw_path", b"").removeprefix(self._base.encode()) or b"/"
            scope = {**scope, "path": path, "raw_path": raw}
        await self._app(scope, receive, send)


class BodyLimit:
    """Refuses a body of more than `limit(path)` bytes: at once when it is announced, else as soon as it is seen.

    `hold` is told of each piece, and may refuse it by raising. One that does not come is a 408: after `IDLE_S` without
    a byte, or when it is not there after `WHOLE_S` and a second more for each `_SLOWEST` bytes that came.
    """

    def __init__(self, app: ASGIApp, *, limit: Callable[[str], int], hold: Callable[[Scope, int], None]) -> None:
        self._app = app
        self._limit = limit
        self._hold = hold

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        max_bytes = self._limit(scope["path"])
        announced = _header(scope, b"content-length")
        if announced.isdecimal() and int(announced) > max_bytes:
            answer = errors.response(scope, problem_of(_too_large(max_bytes)))
            await answer(scope, receive, _last_words(receive, send))
            return
        body = _Body(receive, max_bytes, partial(self._hold, scope))
        last_words = _last_words(receive, send)

        async def bounded_send(message: Message) -> None:
            await (last_words if body.refused else send)(message)

        await self._app(scope, body.receive, bounded_send)


class _Body:
    """One body as it comes in; `refused` once it was too large or too slow, or there was no room for it."""

    def __init__(self, receive: Receive, max_bytes: int, hold: Callable[[int], None]) -> None:
        self._receive = receive
        self._max_bytes = max_bytes
        self._hold = hold
        self._received = 0
        self._due: float | None = None
        self._complete = False
        self.refused = False

    async def receive(self) -> Message:
        """The next message. Raises `TooLarge`, `HTTPException` 408, or what `hold` raises."""
        if self._complete:  # now the caller waits for the answer and owes nothing
            return await self._receive()
        now = asyncio.get_running_loop().time()
        if self._due is None:
            self._due = now + WHOLE_S
        try:
            async with asyncio.timeout_at(min(now + IDLE_S, self._due + self._received / _SLOWEST)):
                message = await self._receive()
        except TimeoutError:
            self.refused = True
            raise HTTPException(408, "the body did not come in time") from None
        self._complete = not message.get("more_body")
        size = len(message.get("body", b""))
        self._received += size
        try:
            if self._received > self._max_bytes:
                raise _too_large(self._max_bytes)
            self._hold(size)
        except CogmillError:
            self.refused = True
            raise
        return message


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"the body may have at most {max_bytes} bytes")


def _last_words(receive: Receive, send: Send) -> Send:
    """A `send` that answers at once and then closes the connection, but not in the face of a caller still sending.

    Closing with unread bytes resets the connection, and most clients would lose the answer over that. So what still
    comes is discarded for a moment, as web servers do (nginx calls it lingering close).
    """

    async def send_and_linger(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(raw=message["headers"])["connection"] = "close"
        elif not message.get("more_body"):
            await send({**message, "more_body": True})
            await _discard(receive)
            message = {"type": "http.response.body", "body": b""}
        await send(message)

    return send_and_linger


async def _discard(receive: Receive) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_S):
            while (await receive()).get("more_body"):
                pass

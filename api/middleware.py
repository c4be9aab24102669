"""Around every request, in plain ASGI: a request id, its latency, the last resort for errors, and a bounded body."""

from __future__ import annotations

import re
import time
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import errors
from api.problem import problem_of
from orchestrator import logs, metrics
from orchestrator.domain.errors import TooLarge

log = logs.get("api")

# A caller's own id is echoed when it is harmless in a header and a log line.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_CLIENT_GONE = 499


class Edge:
    """Gives each request an `x-request-id`, measures it by route template, and answers what no handler foresaw.

    The id is also `scope["state"]["request_id"]`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(raw=message["headers"])["x-request-id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = _CLIENT_GONE
        except Exception as error:
            log.exception("request failed", request_id=request_id, method=scope["method"], path=scope["path"])
            if status:  # the answer has begun: all that is left is to break it off
                raise
            await errors.response(scope["path"], problem_of(error))(scope, receive, send_with_id)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            seconds = time.perf_counter() - started
            metrics.http_seconds.labels(method, _template(scope), status).observe(seconds)


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid4().hex


def _template(scope: Scope) -> str:
    """The route's path with its parameters unfilled, so that ids do not become labels."""
    return getattr(scope.get("route"), "path", "unmatched")


class BodyLimit:
    """Refuses a body of more than `max_bytes`: at once when the caller announces it, else as soon as it is seen."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > self._max_bytes:
            await self._refuse(scope, receive, send)
            return
        received = 0

        async def bounded_receive() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self._max_bytes:
                    raise self._too_large()
            return message

        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start" and received > self._max_bytes:
                MutableHeaders(raw=message["headers"])["connection"] = "close"
            await send(message)

        await self._app(scope, bounded_receive, send_and_close)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = errors.response(scope["path"], problem_of(self._too_large()))
        # The rest of the body is not read, so nothing can follow it on this connection.
        answer.headers["connection"] = "close"
        await answer(scope, receive, send)

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body may have at most {self._max_bytes} bytes")

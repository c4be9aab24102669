"""Callers' connections: how large the head of a request may be, how long it may take, and how many there may be."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi.responses import Response
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from api.wire.patience import STALLED_S, Patience
from api.wire.problem import Problem

# Of a head, or of a body's trailers.
_MAX_HEADERS = 128
# Requests that one connection may send ahead of their answers.
_MAX_AHEAD = 16
# For how long a refusal may lie unread.
_LINGER_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """`head_bytes` of one head, complete `head_s` after it may begin; `connections` in all, and from one address."""

    head_bytes: int
    head_s: float
    connections: int
    per_address: int | None


@dataclass(slots=True)
class Crowd:
    """The connections of one server. Where there is no room for a new one, the one that has been idle longest goes."""

    bounds: Bounds
    _present: set[Connection] = field(default_factory=set)
    _idle: dict[Connection, None] = field(default_factory=dict)  # in the order in which they became so
    _of_address: Counter[str] = field(default_factory=Counter)

    def enter(self, connection: Connection) -> bool:
        """Take it in, idle; False when there is no room."""
        most = self.bounds.per_address
        if most is not None and self._of_address[connection.address] >= most and not self._evict(connection.address):
            return False
        if len(self._present) >= self.bounds.connections and not self._evict(None):
            return False
        self._present.add(connection)
        self._of_address[connection.address] += 1
        self._idle[connection] = None
        return True

    def busy(self, connection: Connection) -> None:
        """It has a request, and stays until that is answered."""
        self._idle.pop(connection, None)

    def idle(self, connection: Connection) -> None:
        """It owes a request."""
        if connection in self._present:
            self._idle[connection] = None

    def leave(self, connection: Connection) -> None:
        self._idle.pop(connection, None)
        if connection in self._present:
            self._present.remove(connection)
            self._of_address[connection.address] -= 1
            if not self._of_address[connection.address]:
                del self._of_address[connection.address]

    def _evict(self, address: str | None) -> bool:
        longest = next((each for each in self._idle if address in (None, each.address)), None)
        if longest is None:
            return False
        self.leave(longest)
        longest.hang_up()
        return True


class ServerConfig(Config):
    """uvicorn's configuration, with the crowd that all its connections are in.

    `word` makes the answer to what has no path yet, and so no dialect.
    """

    def __init__(self, app: Any, *, bounds: Bounds, word: Callable[[Problem], Response], **options: Any) -> None:
        super().__init__(app, http=Connection, ws="none", **options)
        self.crowd = Crowd(bounds)
        self.word = word


class _Refused(Exception):
    """Ends the parsing; `Connection._problem` says why."""


class Connection(HttpToolsProtocol):
    """uvicorn's protocol, which by itself reads a head of any size, for any time, on any number of connections.

    One rule bounds what is kept of what a caller sends: of `head_bytes` in a row the parser must have made something, a
    head or a piece of a body. So it holds for a request line, one header, trailers, and extensions of chunks alike.
    """

    config: ServerConfig

    def __init__(
        self,
        config: ServerConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.address = ""
        self._crowd = config.crowd
        self._bounds = config.crowd.bounds
        self._timer: asyncio.TimerHandle | None = None
        self._problem: Problem | None = None
        self._refused = False
        self._in_body = False
        self._fruitful = False
        self._fruitless = 0  # bytes since the parser last made something of them
        self._head_bytes = 0  # of the present head, or of its body's trailers
        self._fields = 0
        self._unanswered = 0  # requests
        self._patience = Patience()  # with who reads the present answer

    # ------------------------------------------------------------ the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        if self._crowd.enter(self):
            self._in(self._bounds.head_s, self._late)
        else:
            self._refuse(_problem(503, "unavailable", "there are too many connections", {"retry-after": "2"}))

    def connection_lost(self, exc: Exception | None) -> None:
        self._crowd.leave(self)
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._listens():
            return
        self._fruitful = False
        super().data_received(data)
        if not self._listens():
            return
        self._fruitless = 0 if self._fruitful else self._fruitless + len(data)
        if self._fruitless > self._bounds.head_bytes:
            self._refuse(self._too_large())
        elif self._timer is None and not self._unanswered:
            self._in(self._bounds.head_s, self._late)

    def pause_writing(self) -> None:
        super().pause_writing()
        left_s = self._patience.pause(self.loop.time(), self.transport.get_write_buffer_size())
        if not self._refused:
            self._in(left_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._patience.resume(self.loop.time(), self.transport.get_write_buffer_size())
        if not self._refused:
            self._stop_timer()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._in(STALLED_S, self.transport.abort)

    def hang_up(self) -> None:
        """End it now, whatever its caller still expects."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    # ------------------------------------------------------------ what the parser makes of it

    def on_message_begin(self) -> None:
        self._fruitful, self._in_body = True, False
        self._head_bytes, self._fields = 1, 0  # the byte that began it
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        self._count(len(name) + len(value) + 4)
        if not self._in_body:  # a trailer is no header: it comes after whoever asked for headers
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._unanswered > _MAX_AHEAD:
            raise _Refused
        super().on_headers_complete()
        self._unanswered += 1
        self._fruitful, self._in_body = True, True
        self._head_bytes = self._fields = 0
        self._stop_timer()
        self._crowd.busy(self)

    def on_body(self, body: bytes) -> None:
        self._fruitful = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._fruitful, self._in_body = True, False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._unanswered -= 1
        self._patience = Patience()
        super().on_response_complete()
        if self.transport.is_closing():
            self._in(STALLED_S, self.transport.abort)
        elif not self._unanswered:
            self._crowd.idle(self)

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._problem or _problem(400, "invalid_request", "this is not HTTP"))

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing: an upgrade that is not offered is passed over (RFC 9110, section 7.8)."""

    # ------------------------------------------------------------ refusing

    def _listens(self) -> bool:
        return not self._refused and not self.transport.is_closing()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self._bounds.head_bytes or self._fields > _MAX_HEADERS:
            self._problem = self._too_large(in_url=not self._fields)
            raise _Refused

    def _too_large(self, *, in_url: bool = False) -> Problem:
        most = self._bounds.head_bytes
        if self._in_body:
            return _problem(400, "invalid_request", f"the trailers have more than {most} bytes")
        if in_url:
            return _problem(414, "url_too_long", f"the URL has more than {most} bytes")
        message = f"there are more than {_MAX_HEADERS} headers, or more than {most} bytes of them"
        return _problem(431, "headers_too_large", message)

    def _late(self) -> None:
        """The head has not come in time. Who began one hears so; who sent nothing expects nothing."""
        self._timer = None
        if (self._fruitless or self._head_bytes) and not self._in_body:
            message = f"the request's head did not come within {self._bounds.head_s:g} s"
            self._refuse(_problem(408, "request_timeout", message))
        else:
            self.hang_up()

    def _refuse(self, problem: Problem) -> None:
        """Answer where that can still be heard, read no more, and hang up once the answer has had time to arrive.

        Closing with unread bytes resets the connection, and most clients would lose the answer over that.
        """
        self._refused = True
        self.flow.pause_reading()
        if self._unanswered:
            before_its_answer = self._in_body and self._unanswered == 1 and not self.cycle.response_started
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if not before_its_answer:  # what is written now would be taken for a part of the answer to something else
                self.transport.abort()
                return
        self.transport.write(_written(self.config.word(problem)))
        self._in(_LINGER_S, self.transport.abort)

    def _in(self, seconds: float, act: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, act)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _problem(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Problem:
    return Problem(status=status, code=code, message=message, headers=headers or {})


def _written(answer: Response) -> bytes:
    headers = b"".join(b"%s: %s\r\n" % each for each in (*answer.raw_headers, (b"connection", b"close")))
    return STATUS_LINE[answer.status_code] + headers + b"\r\n" + bytes(answer.body)

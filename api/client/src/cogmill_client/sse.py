"""Server-sent events (HTML, section 9.2): the parser, and a stream that is taken up again where it broke off."""

from __future__ import annotations

import codecs
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from cogmill_client.effects import Close, Item, Read, Request, Retries, Sleep, Steps
from cogmill_client.errors import BadAnswer, ConnectionFailed, Unauthenticated
from cogmill_client.exchange import backoff_s, sent

# The server comments every quarter of a minute: a silence of three means that nobody is there.
SILENCE_S = 45.0


@dataclass(frozen=True, slots=True)
class Sse:
    """One event as it stands on the wire; `id` is the last one that the stream has said."""

    kind: str
    data: str
    id: str | None


class Parser:
    """Bytes in, in any pieces; events out."""

    def __init__(self, last_id: str | None = None) -> None:
        self.last_id = last_id
        # Seconds that the server wants a hearer to wait before it comes back.
        self.retry_s: float | None = None
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("replace").decode
        self._text = ""
        self._kind = ""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> Iterator[Sse]:
        """The events that end in this piece."""
        self._text += self._decode(piece)
        # A carriage return at the end may be half of a line's end.
        held = "\r" if self._text.endswith("\r") else ""
        whole = self._text.removesuffix("\r").replace("\r\n", "\n").replace("\r", "\n")
        *lines, rest = whole.split("\n")
        self._text = rest + held
        for line in lines:
            event = self._line(line)
            if event is not None:
                yield event

    def _line(self, line: str) -> Sse | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
            case "event":
                self._kind = value
            case "id" if "\0" not in value:
                self.last_id = value or None
            case "retry" if value.isascii() and value.isdigit():
                self.retry_s = int(value) / 1000
        return None

    def _dispatch(self) -> Sse | None:
        kind, data = self._kind or "message", self._data
        self._kind, self._data = "", []
        return Sse(kind, "\n".join(data), self.last_id) if data else None


@dataclass(slots=True)
class Place:
    """How far a stream was followed; whoever gives the same one again goes on there."""

    last_id: str | None = None
    # Events so far.
    heard: int = 0
    # Seconds that the server wants a hearer to wait before it comes back.
    retry_s: float | None = None


Typed = Callable[[str, str | None, Any], Any]


def follow(path: str, typed: Typed, *, place: Place, until: float | None = None) -> Steps[None]:
    """Hand on each event, typed, and come back after a lost connection, until one of kind `end` or the time `until`.

    `until` is of `time.monotonic`. Raises `ApiError`, of which `Unauthenticated` also says that the key was revoked
    meanwhile, and `ConnectionFailed` when it cannot come back.
    """
    retries: int = yield Retries()
    failed = 0
    while until is None or time.monotonic() < until:
        before, why = place.heard, "the server ends them, again and again"
        try:
            if (yield from _heard(path, typed, place, until)):
                return
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
        failed = 0 if place.heard > before else failed + 1
        if failed > retries:
            raise ConnectionFailed(f"the events of {path} broke off: {why}")
        yield Sleep(backoff_s(failed) if place.retry_s is None else place.retry_s)


def _heard(path: str, typed: Typed, place: Place, until: float | None) -> Steps[bool]:
    """The events of one connection; whether there is nothing more to hear."""
    headers = {"accept": "text/event-stream", "cache-control": "no-store"}
    headers |= {"last-event-id": place.last_id} if place.last_id else {}
    request = Request(method="GET", url=path, headers=headers, silence_s=SILENCE_S)
    response = yield from sent(request, open_=True)
    if response.status_code == 204:
        return True
    parser = Parser(place.last_id)
    piece: bytes | None
    try:
        while (piece := (yield Read(response))) is not None:
            for event in parser.feed(piece):
                if event.kind == "revoked":
                    yield Close(response)
                    raise _revoked(event)
                place.last_id, place.heard = event.id, place.heard + 1
                yield Item(_typed(typed, event))
                if event.kind == "end":
                    yield Close(response)
                    return True
            place.retry_s = parser.retry_s
            if until is not None and time.monotonic() >= until:
                yield Close(response)
                return True
    except httpx.HTTPError:
        yield Close(response)
        raise
    yield Close(response)
    return False


def _revoked(event: Sse) -> Unauthenticated:
    """The server does not tell this key anything any more: what it would answer to a request, as an event."""
    try:
        said = json.loads(event.data)["error"]
        return Unauthenticated(str(said["message"]), status=401, code=str(said["code"]))
    except (ValueError, KeyError, TypeError):
        return Unauthenticated("the API key is not good any more", status=401)


def _typed(typed: Typed, event: Sse) -> Any:
    try:
        return typed(event.kind, event.id, json.loads(event.data))
    except ValueError as error:
        raise BadAnswer(f"an event of kind {event.kind} cannot be read: {error}") from error

"""What a procedure asks of the world. Procedures are generators of these values; a driver, blocking or async, acts.

So everything that takes more than a line (retries, pages, downloads, streams, waiting) is written once, and touches
neither the network nor the clock by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import httpx

T = TypeVar("T")


class Body(Protocol):
    """Bytes that are sent in pieces; a stream of them is asked for by each try."""

    repeatable: bool

    def headers(self) -> Mapping[str, str]: ...

    def stream(self) -> Iterator[bytes]: ...

    def async_stream(self) -> AsyncIterator[bytes]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, and how often it may be made."""

    method: str
    # A path below the API's base URL, or a whole URL.
    url: str
    query: tuple[tuple[str, str | int], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    body: Body | None = None
    # A form's fields and its one file: (name, file, content type), as httpx takes them.
    form: Mapping[str, str] | None = None
    file: tuple[str, Any, str] | None = None
    # Without the key: what a signed URL of somewhere else must not be told.
    anonymous: bool = False
    # Seconds without a byte of the answer, where it is not the client's own time-out.
    silence_s: float | None = None
    # Whether it may be sent again when nobody knows what became of it.
    repeatable: bool = True


@dataclass(frozen=True, slots=True)
class Exchange:
    """Send it; the answer is an `httpx.Response` that is read to its end. httpx's errors are thrown in."""

    request: Request


@dataclass(frozen=True, slots=True)
class Open:
    """The same, but an answer below 300 is not read yet."""

    request: Request


@dataclass(frozen=True, slots=True)
class Read:
    """The next bytes of an open answer; None behind the last ones."""

    response: httpx.Response


@dataclass(frozen=True, slots=True)
class Close:
    """Read no more of it, or of whatever is open."""

    response: httpx.Response | None = None


@dataclass(frozen=True, slots=True)
class Sleep:
    seconds: float


@dataclass(frozen=True, slots=True)
class Run:
    """Call it, where it stops nobody else: it reads or writes a disk."""

    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a request may be tried again."""


@dataclass(frozen=True, slots=True)
class Item:
    """Hand a value to whoever iterates."""

    value: Any


Effect: TypeAlias = Exchange | Open | Read | Close | Sleep | Run | Retries | Item
Steps: TypeAlias = Generator[Effect, Any, T]


@dataclass(frozen=True, slots=True)
class Items(Generic[T]):
    """A procedure whose `Item`s are what its caller wants."""

    steps: Steps[None]


def run(function: Callable[[], T]) -> Steps[T]:
    """The function's answer."""
    answer: T = yield Run(function)
    return answer


def watch(items: Items[T], see: Callable[[T], object]) -> Steps[None]:
    """Go through items inside of another procedure, until `see` answers something true."""
    steps = items.steps
    try:
        effect = next(steps)
        while True:
            if isinstance(effect, Item):
                if see(effect.value):
                    break
                effect = next(steps)
                continue
            try:
                answer = yield effect
            except Exception as error:
                effect = steps.throw(error)
            else:
                effect = steps.send(answer)
    except StopIteration:
        return
    finally:
        steps.close()
    yield Close()

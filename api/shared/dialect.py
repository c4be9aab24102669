"""A dialect as an object: all that the application, its errors and the batches know of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from api.wire.docs import Docs
from api.wire.routes import Router
from orchestrator.config import Settings
from orchestrator.ports.batches import Lines

Bound = Callable[[Settings], int]


def one_file(settings: Settings) -> int:
    """Bytes that a form with a file may have."""
    return settings.api.max_body_bytes + settings.batches.max_file_bytes


def one_video(settings: Settings) -> int:
    """Bytes that a request for a video may have, its pictures included."""
    return settings.max_request_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One way to ask for videos over HTTP. Each folder of a dialect has its own as `dialect.DIALECT`."""

    # What its batches carry in the database: it stays.
    name: str
    # What its paths begin with. A path below it that is no route's is refused in its words too.
    prefix: str
    # How it words a problem, and documents its routes.
    docs: Docs
    # Matched in this order: busiest first, but what is spelled out before what takes an id.
    routers: Sequence[Router]
    # Bytes of the bodies that may be larger than `api.max_body_bytes`, by the beginnings of their paths, or by
    # whole paths with one `{name}` in place of an id.
    bodies: Mapping[str, Bound] = field(default_factory=dict)
    # The path of the base URL that its clients are given; None when no client is made for it.
    base_url: str | None = None
    # What reads and writes the lines of its batches; None when it has none.
    lines: Callable[[Settings], Lines] | None = None

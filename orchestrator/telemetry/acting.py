"""Who acts: said once at the edge of a process, for a request or a command, and read where a change is recorded.

It is in the context, as ids in log lines are: no signature on the way carries it, and nobody on the way says another.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from orchestrator.domain.audit import NOBODY, Actor

_actor: ContextVar[Actor] = ContextVar("actor", default=NOBODY)


def current() -> Actor:
    """Who acts here."""
    return _actor.get()


def act_as(actor: Actor) -> None:
    """From here on, in this task and those that it starts."""
    _actor.set(actor)


@contextmanager
def acting(actor: Actor) -> Iterator[None]:
    """In this block, and in what it starts."""
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)


def command_line() -> Actor:
    """Whose shell this is, as far as the machine knows."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a uid without a name, as containers have it
        user = "somebody"
    return Actor(name=f"cli:{user}@{socket.gethostname()}")


def service(name: str) -> Actor:
    """What a process does by itself."""
    return Actor(name=f"service:{name}")

"""The TCP ports of a local stack: chosen once and kept, so that signed URLs go on working after a restart."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

from orchestrator.domain.errors import ConfigError

DEFAULT_API_PORT = 8000

# Below Linux's ephemeral range (32768 and up): an outgoing connection of anyone could hold a port from there.
_RANGE = range(20_000, 32_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """One port per listening part; `dispatch` and `maintain` serve metrics."""

    api: int
    database: int
    s3: int
    ray: int
    dispatch: int
    maintain: int


def choose(known: Mapping[str, int], *, api: int | None, free: Callable[[int], bool]) -> Ports:
    """The ports of earlier runs, and for the rest free ones drawn at random; the API has 8000 at first.

    `api` asks for another port now, 0 for any free one. A known or wanted port is taken as it is: `free` is not asked.
    Raises `ConfigError` when the API would have the port of another part.
    """
    chosen = {"api": DEFAULT_API_PORT, **known}
    if api is not None:
        chosen["api"] = api
    rival = next((name for name, port in known.items() if name != "api" and port == chosen["api"]), None)
    if rival is not None:
        raise ConfigError(f"port {chosen['api']} is the one of this stack's {rival}: give the API another with --port")
    drawn = (port for port in random.sample(_RANGE, len(_RANGE)) if port not in chosen.values() and free(port))
    names = [part.name for part in fields(Ports)]
    return Ports(**{name: chosen.get(name) or next(drawn) for name in names})


def refuse_taken(ports: Mapping[str, int]) -> None:
    """Raise `ConfigError` for the first of these ports, by part name, that somebody holds."""
    for part, port in ports.items():
        if not bindable(port):
            raise ConfigError(f"port {port} is taken by another program, and the stack's {part} needs it")


def bindable(port: int, host: str = "127.0.0.1") -> bool:
    """True when a server could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what lingers in TIME_WAIT is free
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True

"""The one way to a connection: what every session is set to, and what tells that its other end is gone."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from orchestrator.config.database import DatabaseAddress
from orchestrator.domain.errors import StoreReadOnly, StoreRefused

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[Any]
else:
    Connection = asyncpg.Connection

SESSION = {
    # The plans of the queue's statements must not depend on how old the statistics are: plan once, read by index, join
    # by looking keys up. No statement of the store wants anything else.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    # A forgotten transaction keeps dead rows in the queue's way.
    "idle_in_transaction_session_timeout": "10s",
    "default_transaction_isolation": "read committed",
    "timezone": "UTC",
}
NAME = "cogmill"
# A pooler may keep a session's settings for itself, and then half of what follows fails in the strangest ways. One
# simple query: it needs no prepared statement.
_ARRIVED = """
    DO $$ BEGIN
        IF current_setting('plan_cache_mode') <> 'force_generic_plan' THEN
            RAISE EXCEPTION 'the session has not got its settings: where a pooler is in between, '
                            'set database_pooling = "transaction", and listen_url' USING ERRCODE = '08P01';
        END IF;
    END $$
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait, in seconds."""

    # For a free connection.
    queue_s: float
    # For a new connection.
    connect_s: float
    # For a statement; the server itself keeps this.
    statement_s: float
    # For a server that says nothing: more than `statement_s`, so that whoever waits longer talks to nobody.
    silence_s: float | None


# A loop tries again anyway; a caller of the API waits.
LOOPS = Patience(queue_s=10, connect_s=5, statement_s=30, silence_s=35)
CALLERS = Patience(queue_s=5, connect_s=3, statement_s=4, silence_s=5)

# A peer that acknowledges nothing for so many milliseconds, or not this many probes so many seconds apart, is gone.
_UNHEARD_MS = 10_000
_IDLE_S, _PROBE_S, _PROBES = 10, 3, 3


class _Connection(Connection):  # type: ignore[misc]  # asyncpg tells no types
    """Does not say goodbye to a server that was found silent."""

    silent = False

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's own signature
        if self.silent:
            self.terminate()
            return
        await super().close(timeout=timeout)


def leave(connection: Connection) -> None:
    """Mark a connection whose server may be silent: closing it does not wait for an answer."""
    if isinstance(connection, _Connection):
        connection.silent = True


def settings_of(patience: Patience) -> Mapping[str, str]:
    return SESSION | {"statement_timeout": f"{patience.statement_s * 1000:.0f}ms"}


def current(address: Callable[[], DatabaseAddress]) -> DatabaseAddress:
    """Where the database is now. Raises `StoreRefused` when that cannot be."""
    try:
        return address()
    except ValueError as error:  # a file that was changed
        raise StoreRefused(str(error)) from error


async def connect(
    address: DatabaseAddress,
    *,
    patience: Patience = LOOPS,
    settings: Mapping[str, str] | None = None,
    name: str = NAME,
    **options: Any,
) -> Connection:
    """A session on a server that can be written to. Raises `StoreRefused`: nothing was sent but who we are."""
    try:
        connection: Connection = await asyncpg.connect(
            address.dsn,
            timeout=address.connect_timeout_s or patience.connect_s,
            command_timeout=patience.silence_s,
            target_session_attrs=address.target_session_attrs,
            server_settings={"application_name": address.application_name or name, **(settings or {})},
            connection_class=_Connection,
            **options,
        )
        if settings:
            await _check_settings(connection)
    except asyncpg.TargetServerAttributeNotMatched as error:
        raise StoreReadOnly("PostgreSQL: the server is a standby, or read-only") from error
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StoreRefused(described(error)) from error
    _watch(connection)
    return connection


def described(error: Exception) -> str:
    """An error in one line; a time-out has no words of its own."""
    wordless = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
    return f"PostgreSQL: {str(error) or wordless}"


async def _check_settings(connection: Connection) -> None:
    try:
        await connection.execute(_ARRIVED)
    except BaseException:
        connection.terminate()
        raise


def _watch(connection: Connection) -> None:
    """Let the kernel find out that the other end is gone. asyncpg has no option for it (its issue 606)."""
    transport: asyncio.Transport = connection._transport
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is None or sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", _IDLE_S), ("TCP_KEEPINTVL", _PROBE_S), ("TCP_KEEPCNT", _PROBES),
        ("TCP_USER_TIMEOUT", _UNHEARD_MS),
    ):  # fmt: skip
        with suppress(AttributeError, OSError):  # not every system has each
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)

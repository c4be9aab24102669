"""Connections to PostgreSQL: their settings, one-statement and longer transactions, and what counts as unavailable."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
from sqlalchemy import Executable, Row, event
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from orchestrator.domain.errors import InvalidField, StoreUnavailable
from orchestrator.domain.job import RenderSpec

T = TypeVar("T")
Parameters = Mapping[str, Any]

SESSION = {
    "application_name": "cogmill",
    # The plans of the queue's statements must not depend on how old the statistics are: plan once, read by index, join
    # by looking keys up. No statement of the store wants anything else.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    # A forgotten transaction keeps dead rows in the queue's way; a stuck statement keeps its caller.
    "idle_in_transaction_session_timeout": "10s",
    "statement_timeout": "30s",
    "default_transaction_isolation": "read committed",
    "timezone": "UTC",
}
CONNECT_TIMEOUT_S = 5.0
# Above the server's own statement timeout: this one is for a server that does not answer at all.
_COMMAND_TIMEOUT_S = 35.0

_RETRYABLE = {"40001", "40P01"}  # serialization failure, deadlock: the transaction left nothing behind
_TRIES = 10
_UNTRANSLATABLE = ("22021", "22P05")  # text with a NUL, and JSON with one
# SQLSTATE classes and codes that blame the server's state, not the statement (PostgreSQL, appendix A).
_UNAVAILABLE = (
    "08", "53", "57", "58", "28", "3D",  # connection, resources, operator intervention, system, authorization, catalog
    "25006", "25P03", "42P01", "42883", "42703", "XX",  # read-only replica, idle timeout, schema missing or old, bug
)  # fmt: skip


def async_url(database_url: str) -> str:
    """The URL with SQLAlchemy's asyncpg driver named in it."""
    return database_url.replace("postgresql://", "postgresql+asyncpg://", 1)


class Database:
    """A pool of connections. Opens the first one when it is needed, and a new one after the server came back."""

    def __init__(self, database_url: str, *, connections: int) -> None:
        self._engine = create_async_engine(
            async_url(database_url),
            isolation_level="AUTOCOMMIT",
            pool_size=connections,
            max_overflow=0,
            pool_timeout=10,
            json_serializer=dumps,
            connect_args={
                "server_settings": SESSION,
                "timeout": CONNECT_TIMEOUT_S,
                "command_timeout": _COMMAND_TIMEOUT_S,
            },
        )
        self._transactional = self._engine.execution_options(isolation_level="READ COMMITTED")
        event.listen(self._engine.sync_engine, "checkout", _refuse_closed)

    async def fetch(self, statement: Executable, parameters: Parameters | None = None) -> Sequence[Row[Any]]:
        """Run one statement as a transaction of its own; its rows. Retried after a deadlock."""

        async def run() -> Sequence[Row[Any]]:
            async with self._engine.connect() as connection:
                result = await connection.execute(statement, parameters)
                return result.all() if result.returns_rows else []

        return await self._retried(run)

    async def transact(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run `work` in one READ COMMITTED transaction and commit. Retried from the start after a deadlock."""

        async def run() -> T:
            async with self._transactional.begin() as connection:
                return await work(connection)

        return await self._retried(run)

    async def close(self) -> None:
        await self._engine.dispose()

    async def _retried(self, run: Callable[[], Awaitable[T]]) -> T:
        for left in reversed(range(_TRIES)):
            try:
                with unavailable():
                    return await run()
            except DBAPIError as error:
                if not (_sqlstate(error) in _RETRYABLE or _outdated(error)) or not left:
                    raise
        raise AssertionError("unreachable")


def dumps(value: object) -> str:
    """JSON of plain values and of the domain's dataclasses, whose field names the statements use."""
    return json.dumps(value, default=_plain)


def _plain(value: Any) -> object:
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, RenderSpec):
        return value.to_dict()
    if not hasattr(value, "__slots__"):
        return dict(value)
    # Every dataclass of the domain has slots; `dataclasses.asdict` would deep-copy all they hold.
    return {name: getattr(value, name) for name in value.__slots__}


@contextmanager
def unavailable() -> Iterator[None]:
    """Turn connection-level failures into `StoreUnavailable`, and text that no column can hold into `InvalidField`.

    Mistakes in statements come through.
    """
    try:
        yield
    except DBAPIError as error:
        state = _sqlstate(error)
        if _unholdable(error):
            raise InvalidField(f"the database cannot hold this: {error.orig}", param=None) from error
        if error.connection_invalidated or isinstance(error, InterfaceError) or (state or "").startswith(_UNAVAILABLE):
            raise StoreUnavailable(f"PostgreSQL: {error.orig}") from error
        raise
    except (TimeoutError, OSError, PoolTimeout) as error:
        raise StoreUnavailable(f"PostgreSQL: {str(error) or type(error).__name__}") from error


def _unholdable(error: DBAPIError) -> bool:
    # What the driver itself cannot encode (half a surrogate pair) has no SQLSTATE.
    driver = getattr(error.orig, "__cause__", None)
    return _sqlstate(error) in _UNTRANSLATABLE or isinstance(driver, asyncpg.DataError)


def _outdated(error: DBAPIError) -> bool:
    """Whether a change of the schema made a prepared statement useless. SQLAlchemy has dropped them all by now."""
    return isinstance(getattr(error.orig, "__cause__", None), asyncpg.InvalidCachedStatementError)


def _sqlstate(error: DBAPIError) -> str | None:
    state = getattr(error.orig, "sqlstate", None)
    return state if isinstance(state, str) else None


def _refuse_closed(driver: Any, record: Any, proxy: Any) -> None:
    """Notice a connection that the server has closed meanwhile, without the round trip of a ping."""
    if driver.driver_connection.is_closed():
        raise DisconnectionError

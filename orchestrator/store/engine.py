"""Connections to PostgreSQL: their settings, one-statement and longer transactions, and what counts as unavailable."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any, TypeVar, cast
from uuid import UUID
from weakref import WeakSet

import asyncpg
from prometheus_client import Histogram
from sqlalchemy import Executable, Row, TextClause, event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from orchestrator.config.database import Access, DatabaseAddress
from orchestrator.domain.errors import CogmillError, InvalidField, StoreReadOnly, StoreUnavailable, TenantErased
from orchestrator.domain.job import RenderSpec
from orchestrator.store.connecting import LOOPS, Connection, Patience, connect, current, described, leave, settings_of
from orchestrator.telemetry import connections as connections_shown
from orchestrator.telemetry import metrics

T = TypeVar("T")
Parameters = Mapping[str, Any]

# Found once: each call of the store is measured.
_STATEMENT = metrics.database_seconds.labels("statement")
_TRANSACTION = metrics.database_seconds.labels("transaction")
_RETRYABLE = {"40001", "40P01"}  # serialization failure, deadlock: the transaction left nothing behind
_TRIES = 10
_READ_ONLY = "25006"
# Raised by `cogmill_refuse_erased`, of the migration 0026.
_ERASED = "ZE001"
# The server is being stopped or has been: it is not asked again over any connection that is open.
_GONE = (_READ_ONLY, "57P01", "57P02", "57P03")
# Data exceptions and broken constraints: all that may blame what was to be written, and with it the caller.
_CALLERS = ("22", "23")
# Of these: text with a NUL, and JSON with one.
_UNTRANSLATABLE = ("22021", "22P05")
# SQLSTATE classes and codes that blame the server's state, not the statement (PostgreSQL, appendix A).
_UNAVAILABLE = (
    "08", "53", "57", "58", "28", "3D",  # connection, resources, operator intervention, system, authorization, catalog
    "25P03", "42P01", "42883", "42703", "XX",  # idle timeout, schema missing or old, bug
    "42501",  # a right that the role lacks: `cogmill migrate` gives it
    "26", "42P05",  # statements that a pooler has mixed up: a transaction pooler that nobody told us of
)  # fmt: skip


def engine_of(
    address: Callable[[], DatabaseAddress],
    *,
    patience: Patience,
    settings: Mapping[str, str],
    pooled: bool = False,
    **options: Any,
) -> AsyncEngine:
    """An engine that does not connect yet; each connection asks for the address.

    `pooled`: no statement and no setting outlives its transaction.
    """

    async def opened(*_: Any, **__: Any) -> Connection:
        # Unnamed statements live as long as the transaction, which one session of a pooler's serves from end to end.
        cache: dict[str, Any] = {"statement_cache_size": 0} if pooled else {}
        return await connect(current(address), patience=patience, settings={} if pooled else settings, **cache)

    arguments: dict[str, Any] = {"async_creator_fn": opened}
    if pooled:
        arguments |= {"prepared_statement_cache_size": 0, "prepared_statement_name_func": str}
    return create_async_engine("postgresql+asyncpg://", connect_args=arguments, **options)


class Database:
    """A pool of connections. Opens the first one when it is needed, and a new one after the server came back."""

    def __init__(self, database: str | Access, *, connections: int, patience: Patience = LOOPS) -> None:
        access = Access.to(database)
        settings = settings_of(patience)
        self._engine = engine_of(
            lambda: access.address,
            patience=patience,
            settings=settings,
            pooled=access.transaction_pooling,
            isolation_level="AUTOCOMMIT",
            pool_size=connections,
            max_overflow=0,
            pool_timeout=patience.queue_s,
            json_serializer=dumps,
        )
        self._transactional = self._engine.execution_options(isolation_level="READ COMMITTED")
        self._settings = _local(settings) if access.transaction_pooling else None
        self._connections: WeakSet[Connection] = WeakSet()
        connections_shown.watch(cast(connections_shown.ConnectionPool, self._engine.sync_engine.pool))
        event.listen(self._engine.sync_engine, "connect", self._remember)
        event.listen(self._engine.sync_engine, "checkout", _refuse_closed)
        event.listen(self._engine.sync_engine, "handle_error", self._judge)

    async def fetch(self, statement: Executable, parameters: Parameters | None = None) -> Sequence[Row[Any]]:
        """Run one statement as a transaction of its own; its rows. Retried after a deadlock."""
        if self._settings is not None:
            return await self.transact(partial(_all, statement, parameters))

        async def run() -> Sequence[Row[Any]]:
            async with self._engine.connect() as connection:
                return await _all(statement, parameters, connection)

        return await _timed(_STATEMENT, self._retried(run))

    async def transact(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run `work` in one READ COMMITTED transaction and commit. Retried from the start after a deadlock."""

        async def run() -> T:
            async with self._transactional.begin() as connection:
                if self._settings is not None:
                    await connection.execute(self._settings)
                return await work(connection)

        return await _timed(_TRANSACTION, self._retried(run))

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
                metrics.database_errors.labels("retried").inc()
        raise AssertionError("unreachable")

    def _remember(self, driver: Any, _: object) -> None:
        self._connections.add(driver.driver_connection)

    def _judge(self, context: ExceptionContext) -> None:
        """Give up every open connection when one shows that the server is not there, or is no longer the one to write.

        SQLAlchemy replaces each when it is next wanted. Otherwise they would be found out one caller at a time.
        """
        error = context.original_exception
        if isinstance(error, TimeoutError):  # ours: the server's own limit is shorter, and it kept silent
            for connection in self._connections:
                leave(connection)
        elif getattr(error, "sqlstate", None) not in _GONE and not _out_of_step(error):
            return
        context.is_disconnect = True


async def _timed(seconds: Histogram, call: Coroutine[Any, Any, T]) -> T:
    """What the call comes to; how long it took and how it failed is counted."""
    began = time.perf_counter()
    try:
        return await call
    except StoreUnavailable as error:
        metrics.database_errors.labels(_word(error)).inc()
        raise
    finally:
        seconds.observe(time.perf_counter() - began)


def _word(error: StoreUnavailable) -> str:
    if isinstance(error, StoreReadOnly):
        return "read_only"
    return "no_connection" if isinstance(error.__cause__, PoolTimeout) else "unavailable"


async def _all(statement: Executable, parameters: Parameters | None, connection: AsyncConnection) -> Sequence[Row[Any]]:
    result = await connection.execute(statement, parameters)
    return result.all() if result.returns_rows else []


def _local(settings: Mapping[str, str]) -> TextClause:
    """A statement that sets these for as long as the transaction lasts."""
    calls = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in settings.items())
    return text(f"SELECT {calls}")


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
    """Turn what the server's state is to blame for into `StoreUnavailable`, or `StoreReadOnly` where it does not write.

    What no column can hold becomes `InvalidField`; mistakes in statements are let through.
    """
    try:
        yield
    except DBAPIError as error:
        broken = error.connection_invalidated or isinstance(error, InterfaceError) or _out_of_step(error.orig)
        if (ours := _ours(error.orig, broken=broken, unholdable=_unholdable(error))) is not None:
            raise ours from error
        raise
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        # Of COPY, which passes SQLAlchemy by.
        if (ours := _ours(error, broken=not isinstance(error, asyncpg.PostgresError))) is not None:
            raise ours from error
        raise
    except (TimeoutError, OSError, PoolTimeout) as error:
        raise StoreUnavailable(described(error)) from error


def _ours(error: BaseException | None, *, broken: bool, unholdable: bool = False) -> CogmillError | None:
    """What an error of the driver is to callers; None where the statement is to blame."""
    state = getattr(error, "sqlstate", None) or ""
    if state == _ERASED:
        return TenantErased()
    if unholdable:
        return InvalidField(f"the database cannot hold this: {error}", param=None)
    if state == _READ_ONLY:
        return StoreReadOnly(f"PostgreSQL: {error}")
    if broken or state.startswith(_UNAVAILABLE):
        return StoreUnavailable(f"PostgreSQL: {error}")
    return None


def blames_caller(error: DBAPIError) -> bool:
    """Whether PostgreSQL refused the values, not the statement, the session or the day."""
    return (_sqlstate(error) or "").startswith(_CALLERS)


def _out_of_step(error: BaseException | None) -> bool:
    """Whether the driver lost its place in the protocol, as when a server ends in the middle of an answer."""
    return isinstance(getattr(error, "__cause__", None), asyncpg.InternalClientError)


def _unholdable(error: DBAPIError) -> bool:
    # What the driver itself cannot encode (half a surrogate pair) has no SQLSTATE.
    driver = getattr(error.orig, "__cause__", None)
    return _sqlstate(error) in _UNTRANSLATABLE or isinstance(driver, asyncpg.DataError)


def _outdated(error: DBAPIError) -> bool:
    """Whether a change of the schema made a prepared statement useless. SQLAlchemy has dropped them all by now."""
    cause = getattr(error.orig, "__cause__", None)
    return isinstance(cause, asyncpg.InvalidCachedStatementError)


def _sqlstate(error: DBAPIError) -> str | None:
    state = getattr(error.orig, "sqlstate", None)
    return state if isinstance(state, str) else None


def _refuse_closed(driver: Any, record: Any, proxy: Any) -> None:
    """Notice a connection that the server has closed meanwhile, without the round trip of a ping."""
    if driver.driver_connection.is_closed():
        raise DisconnectionError

"""One connection for one errand, to the database itself: for who changes the schema or looks at it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.pool import NullPool

from orchestrator.config.database import Access
from orchestrator.store.connecting import LOOPS
from orchestrator.store.engine import engine_of, unavailable

T = TypeVar("T")


async def with_connection(database: str | Access, work: Callable[[Connection], T]) -> T:
    """What `work` makes of a connection to the database itself, past a pooler. Raises `StoreUnavailable`."""
    # No limit on statements, which a change of a large table may need, nor on the silence while one runs.
    patience = replace(LOOPS, silence_s=None)
    access = Access.to(database)
    engine = engine_of(lambda: access.direct, patience=patience, settings={}, poolclass=NullPool)
    try:
        with unavailable():
            async with engine.connect() as connection:
                return await connection.run_sync(work)
    finally:
        await engine.dispose()

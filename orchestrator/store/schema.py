"""Bring a database to this package's schema, and say how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.pool import NullPool

from orchestrator.config.database import Access
from orchestrator.store.connecting import LOOPS
from orchestrator.store.engine import engine_of, unavailable

if TYPE_CHECKING:
    from alembic.config import Config

# Alembic is imported by what migrates or asks how far: no process that serves does, and with Mako and Pygments, which
# come with it, it is a tenth of what one imports.

T = TypeVar("T")

# One migration at a time, whoever starts it: the chart's hook, the local stack, a person.
_LOCK = text("SELECT pg_advisory_lock(hashtextextended('cogmill:migrate', 0))")


def migrate(database: str | Access) -> None:
    """Upgrade to the newest schema, all of it in one transaction. Raises `StoreUnavailable`. Call it outside a loop."""
    from alembic import command

    def upgrade(connection: Connection) -> None:
        connection.execute(_LOCK)
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()

    asyncio.run(_with_connection(database, upgrade))


def schema_version(database: str | Access) -> tuple[str | None, str]:
    """The database's revision (None before the first migration) and this package's newest one."""
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    def current(connection: Connection) -> str | None:
        return MigrationContext.configure(connection).get_current_revision()

    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None, "the package holds no migrations"
    return asyncio.run(_with_connection(database, current)), head


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


async def _with_connection(database: str | Access, work: Callable[[Connection], T]) -> T:
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

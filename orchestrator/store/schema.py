"""Bring a database to this package's schema, and say how far it is."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text

from orchestrator.config.database import Access
from orchestrator.domain.audit import Action, Change
from orchestrator.store.audit import insertion
from orchestrator.store.errand import with_connection
from orchestrator.store.granting import grant

if TYPE_CHECKING:
    from alembic.config import Config

# Alembic is imported by what migrates or asks how far: no process that serves does, and with Mako and Pygments, which
# come with it, it is a tenth of what one imports.

# One migration at a time, whoever starts it: the chart's hook, the local stack, a person.
_LOCK = text("SELECT pg_advisory_lock(hashtextextended('cogmill:migrate', 0))")


def migrate(database: str | Access) -> list[str]:
    """Upgrade to the newest schema and give roles what it takes, all of it in one transaction; who got something.

    Raises `StoreUnavailable`. Call it outside a loop.
    """
    from alembic import command

    access = Access.to(database)

    def upgrade(connection: Connection) -> list[str]:
        connection.execute(_LOCK)
        config = _config()
        config.attributes["connection"] = connection
        before = _current(connection)
        command.upgrade(config, "head")
        after = _current(connection)
        if after != before:
            change = Change(
                action=Action.DATABASE_MIGRATE,
                object="database:schema",
                before={"revision": before},
                after={"revision": after},
            )
            connection.execute(insertion(change))
        given = grant(connection, access.roles)
        connection.commit()
        return given

    return asyncio.run(with_connection(access, upgrade))


def schema_version(database: str | Access) -> tuple[str | None, str]:
    """The database's revision (None before the first migration) and this package's newest one."""
    from alembic.script import ScriptDirectory

    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None, "the package holds no migrations"
    return asyncio.run(with_connection(database, _current)), head


def _current(connection: Connection) -> str | None:
    from alembic.runtime.migration import MigrationContext

    return MigrationContext.configure(connection).get_current_revision()


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config

"""An upgrade counts what is there, takes nothing away, and the release before does no harm beside this one."""

from __future__ import annotations

import asyncio

from alembic import command
from sqlalchemy import Connection, text

from orchestrator.policy.limits import Limits
from orchestrator.policy.quotas import Holding
from orchestrator.ports.campaign_values import Work
from orchestrator.store import Store, errand, migrate, schema

BEFORE = "0019"

# What the release before writes: it knows no column of this one.
ADD = """
    INSERT INTO files (id, tenant, purpose, filename, size, sha256, content_type, key)
    VALUES ('{id}', 'acme', 'batch', 'f', {size}, '', 'text/plain', '{id}')
"""
BURY = "UPDATE files SET deleted_at = cogmill_now() WHERE id = '{id}' AND deleted_at IS NULL"
SWEEP = "DELETE FROM files WHERE id = '{id}' AND deleted_at IS NOT NULL"
BATCH = """
    INSERT INTO campaigns (id, kind, tenant, state, ask, templates, priority, rows, input)
    VALUES ('{id}', 'batch', 'acme', 'running', '{{}}', '[]', 20, 7, '{{"source": "open", "key": "{key}"}}')
"""
FACE = """
    INSERT INTO batches (id, tenant, dialect, endpoint, completion_window, input_file, status, expires_at)
    VALUES ('open', 'acme', 'openai', '/v1/videos', '24h', 'open', 'in_progress', cogmill_now())
"""
LEASE = "UPDATE campaigns SET lease = gen_random_uuid() WHERE id = '{id}' AND lease IS NULL RETURNING id"


def written(database_url: str, *statements: str) -> list[int]:
    """How many rows each of them concerned."""

    def write(connection: Connection) -> list[int]:
        counts = [connection.execute(text(statement.replace(":", r"\:"))).rowcount for statement in statements]
        connection.commit()
        return counts

    return asyncio.run(errand.with_connection(database_url, write))


def at_the_release_before(database_url: str) -> None:
    def upgrade(connection: Connection) -> None:
        config = schema._config()
        config.attributes["connection"] = connection
        command.upgrade(config, BEFORE)
        connection.commit()

    asyncio.run(errand.with_connection(database_url, upgrade))


def holding(database_url: str) -> Holding:
    async def read() -> Holding:
        async with Store.open(database_url, limits=Limits(files=1)) as store:
            return (await store.holding_of("acme"))[1]

    return asyncio.run(read())


def test_files_are_counted_from_what_is_there_and_through_what_both_releases_do(empty_database_url: str) -> None:
    at_the_release_before(empty_database_url)
    written(empty_database_url, ADD.format(id="a", size=10), ADD.format(id="b", size=20), BURY.format(id="b"))
    migrate(empty_database_url)
    assert holding(empty_database_url) == Holding(files=2, stored_bytes=30), "of what is deleted until it is swept"
    written(empty_database_url, SWEEP.format(id="b"), ADD.format(id="c", size=5))
    assert holding(empty_database_url) == Holding(files=2, stored_bytes=15)
    written(empty_database_url, BURY.format(id="a"), BURY.format(id="a"))
    assert holding(empty_database_url) == Holding(files=1, stored_bytes=5)
    written(empty_database_url, SWEEP.format(id="a"))
    assert holding(empty_database_url) == Holding(files=1, stored_bytes=5), "it was counted off when it was deleted"


def test_maintainers_of_the_release_before_leave_batches_alone_that_they_could_not_read(
    empty_database_url: str,
) -> None:
    migrate(empty_database_url)
    written(empty_database_url, BATCH.format(id="copied", key=""), BATCH.format(id="open", key="files/1/open"))
    assert written(empty_database_url, LEASE.format(id="copied"), LEASE.format(id="open")) == [1, 0]
    assert holding(empty_database_url).open_batches == 2

    async def leased() -> str | None:
        """By this release."""
        async with Store.open(empty_database_url) as store:
            await store._database.fetch(text(FACE))
            hold = await store.lease_campaign(Work.MOVE, 60)
            return None if hold is None else hold.campaign.id

    assert asyncio.run(leased()) == "open"

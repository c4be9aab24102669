"""A password of the database that is changed: connections that are open live on, new ones are made with the new one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator import config
from orchestrator.config.clusters import database_from_environment
from orchestrator.config.database import Access
from orchestrator.domain.errors import StoreUnavailable
from orchestrator.store import Store, schema_version
from orchestrator.store.connecting import CALLERS
from orchestrator.store.engine import Database
from tests.support.postgres import Server
from tests.support.secrets import SecretsFolder

_ROLE = "rotated"
_WHO = text("SELECT pg_backend_pid()")
_SETTINGS = {
    "master_key": "sixteen characters",
    "default_model": "small",
    "models": {"small": {"family": "tiny-2b", "path": "/models/small"}},
    "pools": {"gpu": {"model": "small"}},
}


class Role:
    """A role that may do everything in a test's database, and the file of its URL."""

    def __init__(self, server: Server, database_url: str, folder: SecretsFolder) -> None:
        self._server = server
        self._rest = database_url.rpartition("@")[2]
        self._folder = folder
        server.execute(f"DROP ROLE IF EXISTS {_ROLE}")
        server.execute(f"CREATE ROLE {_ROLE} SUPERUSER LOGIN PASSWORD 'first'")
        self.write(password="first")

    def change(self, password: str) -> None:
        self._server.execute(f"ALTER ROLE {_ROLE} PASSWORD '{password}'")

    def write(self, *, password: str) -> None:
        self.write_url(f"postgresql://{_ROLE}:{password}@{self._rest}")

    def write_url(self, url: str) -> None:
        self._folder.write(database_url=url, listen_url=url)


@pytest.fixture
def role(postgres_server: Server, database_url: str, secrets_folder: SecretsFolder) -> Role:
    return Role(postgres_server, database_url, secrets_folder)


async def pid(connection: AsyncConnection) -> int:
    return int((await connection.execute(_WHO)).scalar_one())


@asynccontextmanager
async def held(database: Database) -> AsyncIterator[int]:
    """One of its connections, in use."""
    begun: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    done = asyncio.Event()

    async def work(connection: AsyncConnection) -> None:
        begun.set_result(await pid(connection))
        await done.wait()
        assert await pid(connection) == begun.result()

    task = asyncio.create_task(database.transact(work))
    try:
        yield await begun
    finally:
        done.set()
        await task


async def test_open_connections_live_on_and_new_ones_take_the_new_password(role: Role) -> None:
    database = Database(config.load(**_SETTINGS).database, connections=2, patience=CALLERS)
    try:
        async with held(database) as first:
            role.change("second")
            with pytest.raises(StoreUnavailable, match="password authentication failed"):
                await database.transact(pid)
            role.write(password="second")
            second = await database.transact(pid)
            assert second != first
        assert {await database.transact(pid), second, first} == {first, second}
    finally:
        await database.close()


async def test_the_way_past_a_pooler_and_the_schemas_are_made_with_the_new_password_too(role: Role) -> None:
    access = config.load(**_SETTINGS).database
    role.change("second")
    role.write(password="second")
    async with Store.open(access) as store:
        assert await store.hears(within_s=5)
        async with store.wakeups() as wakeups:
            assert await wakeups.wait(5)
    current, newest = await asyncio.to_thread(schema_version, access)
    assert current == newest


async def test_a_url_that_cannot_be_is_told_by_name_and_mended_by_the_next_change(role: Role) -> None:
    access = config.load(**_SETTINGS).database
    async with Store.open(access, connections=1) as store:
        role.write_url("postgresql://u:secret@h:nine/x")
        with pytest.raises(StoreUnavailable, match="database_url has no valid port") as refused:
            await store.deployment_id()
        assert "secret" not in str(refused.value)
        role.write(password="first")
        assert await store.deployment_id()


def test_a_url_of_the_environment_or_of_an_argument_stays_what_it_is(
    role: Role, secrets_folder: SecretsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = config.load(**_SETTINGS, database_url="postgresql://h/given").database
    monkeypatch.setenv("COGMILL_DATABASE_URL", (secrets_folder.path / "database_url").read_text().strip())
    told = config.load(**_SETTINGS).database

    assert given.url_file is told.url_file is None
    assert Access.to("postgresql://h/x").address.shown == "h/x"


def test_a_file_that_is_gone_leaves_what_was_read(role: Role, secrets_folder: SecretsFolder) -> None:
    access = config.load(**_SETTINGS).database
    before = access.address
    Path(secrets_folder.path / "database_url").unlink()

    assert access.address == before


async def test_the_commands_about_clusters_read_the_file_among_those_of_a_process(
    role: Role, secrets_folder: SecretsFolder
) -> None:
    """In a pod of the API there are more, which are none of theirs."""
    url = (secrets_folder.path / "database_url").read_text().strip()
    secrets_folder.write(database_url=url, master_key="sixteen characters", s3__secret_key="s")
    access = database_from_environment()
    role.change("second")
    role.write(password="second")
    async with Store.open(access, connections=1) as store:
        assert await store.clusters() == []

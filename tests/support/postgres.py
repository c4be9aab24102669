"""Real PostgreSQL for every test that asks: one server per session (or xdist worker), one clean database per test."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from orchestrator.local import postgres
from orchestrator.local.process import ProcessId
from orchestrator.store import Store, migrate
from tests.support.logins import make_logins
from tests.support.sockets import free_port

PASSWORD = "tests-only"

# A test's data need not survive a power cut; it should not wait for the disk.
FAST = {"fsync": "off", "full_page_writes": "off", "max_connections": "200", "shared_buffers": "64MB"}


@dataclass
class Server:
    """A running PostgreSQL that tests may stop and start again on the same port."""

    directory: Path
    port: int
    process: ProcessId
    settings: dict[str, str]
    _names: Iterator[int] = field(default_factory=itertools.count)

    @property
    def data_dir(self) -> Path:
        return self.directory / "data"

    @classmethod
    def create(cls, settings: dict[str, str] | None = None, *, durable: bool = False) -> Server:
        """Initialise and start a server in a directory that the unprivileged server user can enter."""
        directory = Path(tempfile.mkdtemp(prefix="cogmill-pg-"))
        directory.chmod(0o711)
        postgres.initialise(directory / "data", PASSWORD, durable=durable)
        port = free_port()
        chosen = settings if settings is not None else FAST
        return cls(directory, port, _start(directory, port, chosen), chosen)

    def url(self, database: str = postgres.DATABASE) -> str:
        return postgres.url(self.port, PASSWORD, database)

    def stop(self) -> None:
        postgres.stop(self.process)

    def start(self) -> None:
        self.process = _start(self.directory, self.port, self.settings)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def execute(self, sql: str, database: str = "postgres") -> str:
        """Run SQL through psql, in a session of its own; returns the bare rows."""
        return self.program("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql, self.url(database))

    def program(self, name: str, *arguments: str) -> str:
        """Run one of PostgreSQL's own programs; returns what it printed."""
        done = subprocess.run(
            [postgres.programs(self.data_dir) / name, *arguments],
            capture_output=True,
            text=True,
            env={"PATH": os.environ["PATH"]},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def new_database(self, template: str = "template1") -> str:
        name = f"test_{next(self._names)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop_database(self, name: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


class Clones:
    """Databases like the template. One that a test gives back is cleaned and given again: a clone costs ten times that.

    Where the test has changed more than rows and the clock, it is dropped.
    """

    def __init__(self, server: Server, template: str) -> None:
        self._server = server
        self._template = template
        self._clean: list[str] = []
        self._schema = server.execute(_SCHEMA, template)
        now = server.execute("SELECT pg_get_functiondef('cogmill_now'::regproc)", template)
        # Its settings are for a session of its own; psql's commands, which newer ones print, are no SQL.
        dump = server.program("pg_dump", "--data-only", "--inserts", server.url(template)).splitlines()
        rows = "\n".join(line for line in dump if not line.startswith(("SET ", "SELECT pg_catalog.set_config", "\\")))
        self._clean_up = f"{_EMPTY}; {now}; DROP TABLE IF EXISTS test_clock; {rows}; {_SCHEMA}"

    def take(self) -> str:
        return self._clean.pop() if self._clean else self._server.new_database(self._template)

    def give_back(self, name: str) -> None:
        try:
            found = self._server.execute(self._clean_up, name)
        except AssertionError as error:  # the server is away, or what a test made is in the way
            found = str(error)
        if found.endswith(self._schema):
            self._clean.append(name)
        else:
            self._server.drop_database(name)


# Ends the other sessions, and empties all tables. What has grown is truncated, or it would stay as large.
_EMPTY = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid();
    SET session_replication_role = replica;
    DO $$
    DECLARE
        it regclass;
        holds boolean;
    BEGIN
        FOR it IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' LOOP
            IF pg_relation_size(it) > 64 * 1024 THEN
                EXECUTE format('TRUNCATE %s CASCADE', it);
            ELSE
                EXECUTE format('SELECT EXISTS (SELECT FROM %s)', it) INTO holds;
                IF holds THEN
                    EXECUTE format('DELETE FROM %s', it);
                END IF;
            END IF;
        END LOOP;
    END $$"""

# What a database is besides its rows, in one word.
_SCHEMA = """
    SELECT md5(concat(
        (SELECT string_agg(concat_ws(' ', relname, relkind, reloptions, relacl), ',' ORDER BY relname)
         FROM pg_class WHERE relnamespace = 'public'::regnamespace),
        (SELECT string_agg(concat_ws(' ', attrelid::regclass, attname, atttypid, attnotnull), ','
                           ORDER BY attrelid, attnum)
         FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
         WHERE relnamespace = 'public'::regnamespace AND attnum > 0),
        (SELECT string_agg(concat_ws(' ', proname, prosrc, pg_get_function_sqlbody(oid)), ',' ORDER BY proname)
         FROM pg_proc WHERE pronamespace = 'public'::regnamespace),
        (SELECT string_agg(pg_get_constraintdef(oid), ',' ORDER BY conname, conrelid)
         FROM pg_constraint WHERE connamespace = 'public'::regnamespace),
        (SELECT string_agg(concat_ws(' ', tgname, tgenabled), ',' ORDER BY tgname)
         FROM pg_trigger WHERE NOT tgisinternal),
        (SELECT string_agg(setconfig::text, ',')
         FROM pg_db_role_setting JOIN pg_database ON pg_database.oid = setdatabase
         WHERE datname = current_database()),
        (SELECT string_agg(nspname, ',' ORDER BY nspname)
         FROM pg_namespace WHERE nspname !~ '^pg_(temp|toast_temp)')))"""


def _start(directory: Path, port: int, settings: dict[str, str]) -> ProcessId:
    server = postgres.start(directory / "data", port, directory / "log", settings=settings)
    postgres.wait_ready(server, directory / "data", directory / "log")
    return server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    server = Server.create()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def migrated_template(postgres_server: Server) -> str:
    """A database with the newest schema, from which each test's own is cloned."""
    postgres_server.execute("CREATE DATABASE migrated")
    migrate(make_logins(postgres_server.url("migrated")))
    return "migrated"


@pytest.fixture
def empty_database_url(postgres_server: Server) -> Iterator[str]:
    """A database without a schema."""
    name = postgres_server.new_database()
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def clones(postgres_server: Server, migrated_template: str) -> Clones:
    return Clones(postgres_server, migrated_template)


@pytest.fixture
def database_url(postgres_server: Server, clones: Clones) -> Iterator[str]:
    """A clean database with the newest schema."""
    name = clones.take()
    yield postgres_server.url(name)
    clones.give_back(name)


def sqlalchemy_url(database_url: str) -> str:
    """The URL with SQLAlchemy's asyncpg driver named in it, for an engine that is not the store's."""
    return database_url.replace("postgresql://", "postgresql+asyncpg://", 1)


class Clock:
    """The database's own clock, stopped: leases, backoffs and retention see time pass only when a test says so."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    @classmethod
    async def install(cls, connection: asyncpg.Connection) -> Clock:
        await connection.execute("""
            CREATE TABLE IF NOT EXISTS test_clock AS SELECT timestamptz '2030-01-01 00:00:00Z' AS now;
            GRANT SELECT ON test_clock TO PUBLIC;
            CREATE OR REPLACE FUNCTION cogmill_now() RETURNS timestamptz LANGUAGE sql STABLE
                RETURN (SELECT now FROM test_clock);
        """)
        return cls(connection)

    async def advance(self, seconds: float) -> None:
        await self._connection.execute("UPDATE test_clock SET now = now + make_interval(secs => $1)", seconds)

    async def now(self) -> datetime:
        time: datetime = await self._connection.fetchval("SELECT cogmill_now()")
        return time


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A session beside the store's, to look at rows and to get in the way."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest_asyncio.fixture
async def clock(database: asyncpg.Connection) -> Clock:
    return await Clock.install(database)


@pytest_asyncio.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with Store.open(database_url) as opened:
        yield opened

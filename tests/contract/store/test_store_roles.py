"""Roles of processes: made by who may, granted by who owns the tables, and neither a right too few nor one too many."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from typer.testing import CliRunner

from orchestrator import cli
from orchestrator.commands.doctor_database import role_findings
from orchestrator.commands.findings import Finding, Health
from orchestrator.config.database import Access
from orchestrator.config.logins import Login, names
from orchestrator.domain.errors import StoreUnavailable
from orchestrator.store import Store, migrate
from orchestrator.store.granting import standing
from orchestrator.store.roles import GRANTS, privileges
from tests.support.api import api_settings
from tests.support.logins import DEPLOYMENT, PASSWORD, acting, url_of
from tests.support.postgres import Server

DISPATCH = names(DEPLOYMENT)[Login.DISPATCH]


def judged(url: str, deployment: str = DEPLOYMENT) -> list[Finding]:
    return list(role_findings(standing(Access(url=url, roles=deployment))))


async def test_every_table_has_a_line_that_says_who_may_what(database: asyncpg.Connection) -> None:
    tables = await database.fetch("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
                                  "AND relkind IN ('r', 'p', 'v', 'm')")  # fmt: skip
    assert {row[0] for row in tables} == set(GRANTS), "add the table's line to GRANTS in orchestrator/store/roles.py"


@pytest.mark.parametrize("login", Login)
def test_a_line_means_what_it_says(login: Login) -> None:
    """A word that is none of SQL's would be passed over."""
    for table, given in GRANTS.items():
        read = ", ".join(str(each).removesuffix(f" on {table}") for each in privileges(login) if each.table == table)
        assert read == given.get(login, ""), table


def test_each_role_has_what_it_needs_and_nothing_else(database_url: str) -> None:
    found = standing(Access(url=database_url, roles=DEPLOYMENT))
    assert {role.name: (role.there, list(role.lacks), list(role.spare)) for role in found.roles} == {
        name: (True, [], []) for name in names(DEPLOYMENT).values()
    }


@pytest.fixture
def managed(postgres_server: Server) -> Iterator[str]:
    """As with a managed PostgreSQL: an empty database whose owner may create no roles; the owner's URL."""
    name = postgres_server.new_database()
    for sql in (f"CREATE ROLE plain LOGIN PASSWORD '{PASSWORD}'", f"ALTER DATABASE {name} OWNER TO plain"):
        postgres_server.execute(sql)
    yield postgres_server.url(name).replace(postgres_server.url("").split("//")[1].split("@")[0], f"plain:{PASSWORD}")
    postgres_server.drop_database(name)
    made = postgres_server.execute("SELECT rolname FROM pg_roles WHERE rolname = 'plain' OR rolname LIKE 'acme\\_%'")
    for role in made.split():
        postgres_server.execute(f"DROP ROLE {role}")


def script(url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `cogmill database roles --sql` prints for a deployment of another name."""
    monkeypatch.setattr("orchestrator.commands.database.settings_of", lambda _: api_settings(url))
    done = CliRunner().invoke(cli.app, ["database", "roles", "--sql", "--deployment", "acme"])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_who_may_create_roles_runs_what_is_printed_and_who_may_not_grants(
    managed: str, postgres_server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    database = managed.rpartition("/")[2]
    printed = script(managed, monkeypatch).splitlines()
    assert [line for line in printed if line.startswith("\\")] == [
        f'\\password "{role}"' for role in names("acme").values()
    ]
    (tmp_path / "roles.sql").write_text("\n".join(line for line in printed if not line.startswith("\\")))
    for _ in range(2):
        postgres_server.program(
            "psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-f", str(tmp_path / "roles.sql"), postgres_server.url(database)
        )
    access = Access(url=managed, roles="acme")
    assert migrate(access) == list(names("acme").values())
    assert migrate(access) == [], "nothing lacks"
    found = standing(access)
    assert [(role.there, role.lacks, role.spare) for role in found.roles] == [(True, [], [])] * len(Login)
    assert (found.user, found.owns) == ("plain", True)


def test_one_url_for_all_goes_on_and_no_role_is_made(managed: str, postgres_server: Server) -> None:
    roles = "SELECT count(*) FROM pg_roles"
    before = postgres_server.execute(roles)
    assert migrate(managed) == []
    assert postgres_server.execute(roles) == before
    (finding,) = judged(managed, "acme")
    assert finding.health is Health.NOTE
    assert finding.detail.startswith("plain may do everything with the tables, and with its URL a stolen Ray token may")
    assert "`cogmill database roles --sql`" in finding.detail


async def test_a_role_that_lacks_a_right_is_told_of_by_table_and_gets_it_from_the_next_migration(
    store: Store, database: asyncpg.Connection, database_url: str
) -> None:
    mine = url_of(Login.DISPATCH, database_url)
    assert [finding.line() for finding in await asyncio.to_thread(judged, mine)] == [
        f"ok    roles                {DISPATCH} may do what dispatch needs"
    ]
    await database.execute(f"REVOKE SELECT ON shares FROM {DISPATCH}; REVOKE UPDATE (step) ON jobs FROM {DISPATCH}")
    with pytest.raises(StoreUnavailable, match="permission denied for table shares"):
        await acting(store, Login.DISPATCH).standings("small")
    for url in (mine, database_url):  # whoever asks
        (broken,) = [finding for finding in await asyncio.to_thread(judged, url) if finding.health is Health.FAIL]
        assert broken.detail == f"{DISPATCH} lacks UPDATE (step) on jobs; SELECT on shares"
        assert "cogmill migrate" in broken.line()
    assert await asyncio.to_thread(migrate, Access(url=database_url, roles=DEPLOYMENT)) == [DISPATCH]
    assert [finding.health for finding in await asyncio.to_thread(judged, mine)] == [Health.OK]


async def test_a_right_too_many_is_told(database: asyncpg.Connection, database_url: str) -> None:
    await database.execute(f"GRANT SELECT ON keys TO {DISPATCH}; GRANT SELECT (stage) ON jobs TO {DISPATCH}")
    try:
        found = [
            finding.detail for finding in await asyncio.to_thread(judged, database_url) if DISPATCH in finding.detail
        ]
        assert found == [f"{DISPATCH} may, beyond its needs, SELECT on keys; SELECT (stage) on jobs: revoke that"]
    finally:
        await database.execute(f"REVOKE SELECT ON keys FROM {DISPATCH}; REVOKE SELECT (stage) ON jobs FROM {DISPATCH}")


def test_a_role_of_another_name_is_held_to_all_that_processes_need(managed: str, postgres_server: Server) -> None:
    migrate(managed)
    database = managed.rpartition("/")[2]
    postgres_server.execute(f"CREATE ROLE acme_one LOGIN PASSWORD '{PASSWORD}'")
    postgres_server.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO acme_one", database)
    one = managed.replace("plain:", "acme_one:")
    assert [(each.health, each.detail.split(":")[0]) for each in judged(one, "acme")] == [
        (Health.NOTE, "acme_one may do what all processes do")
    ]
    postgres_server.execute("REVOKE INSERT ON outbox FROM acme_one", database)
    (finding,) = judged(one, "acme")
    assert (finding.health, finding.detail) == (Health.FAIL, "acme_one lacks INSERT on outbox")

"""What a stolen login can do: each role tries, over every table and by hand, what its process has no need of.

Whoever holds Ray's token runs code beside the dispatcher and has its URL: that one is the first to be stolen.
"""

from __future__ import annotations

from collections.abc import Iterator

import asyncpg
import pytest

from orchestrator.config.logins import Login, names
from orchestrator.store import Store
from orchestrator.store.roles import privileges
from tests.support.jobs import new_job
from tests.support.logins import DEPLOYMENT, url_of

DENIED = asyncpg.InsufficientPrivilegeError
VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE")

# Of every table its columns.
COLUMNS = """
    SELECT c.relname AS name, array_agg(a.attname ORDER BY a.attnum) AS columns
    FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' GROUP BY c.relname
"""

# What the dispatcher's URL was good for while it was everybody's, and is with its own role no more.
STOLEN = {
    "every tenant's keys": "SELECT * FROM keys",
    "a key of one's own": "INSERT INTO keys (id, tenant, name) VALUES ('k', 'acme', 'mine')",
    "a key that goes on after it was revoked": "UPDATE keys SET revoked_at = NULL",
    "where webhooks go, and which secret signs them": "SELECT url, secret_generation FROM webhook_endpoints",
    "others' webhooks sent elsewhere": "UPDATE webhook_endpoints SET url = 'https://evil.example'",
    "what webhooks have said": "SELECT body FROM deliveries",
    "a signed webhook about anything": "INSERT INTO outbox (batch_id, tenant, event) VALUES ('b', 'acme', 'x')",
    "a tenant without limits": "UPDATE tenants SET queued = 'infinity', running = NULL, most_urgent = 0",
    "which secret signs a tenant's webhooks": "SELECT secret_generation FROM tenants",
    "under which keys requests may be repeated": "SELECT idempotency_key, request_hash FROM jobs",
    "a job of another tenant": "UPDATE jobs SET tenant = 'thief'",
    "a prompt that nobody asked for": "UPDATE jobs SET spec = '{}'",
    "a job that nobody asked for": "INSERT INTO jobs SELECT * FROM jobs",
    "no trace of what was used": "DELETE FROM usage",
    "a smaller bill": "UPDATE usage SET gpu_seconds = 0.001",
    "what others have used": "SELECT * FROM usage",
    "files of tenants": "SELECT * FROM files",
    "rows of campaigns": "SELECT * FROM campaign_rows",
    "a paused pool that goes on": "DELETE FROM pauses",
    "a cluster that ends": "UPDATE ray_clusters SET state = 'ending'",
}  # fmt: skip

# How a role may try to be more than it is; `{owner}` owns the tables.
BEYOND = (
    "SET ROLE {owner}",
    "SET SESSION AUTHORIZATION {owner}",
    "CREATE TABLE public.mine ()",
    "CREATE SCHEMA mine",
    "CREATE FUNCTION public.cogmill_now(int) RETURNS int LANGUAGE sql RETURN 1",
    "CREATE OR REPLACE FUNCTION cogmill_now() RETURNS timestamptz LANGUAGE sql STABLE RETURN now()",
    "ALTER TABLE jobs DISABLE TRIGGER ALL",
    "DROP TABLE outbox",
    "CREATE TRIGGER mine AFTER INSERT ON jobs EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "ALTER TABLE keys OWNER TO CURRENT_USER",
    "CREATE ROLE mine SUPERUSER",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "COPY jobs TO PROGRAM 'cat'",
    "COPY (SELECT 1) TO '/tmp/mine'",
    "SELECT pg_read_file('postgresql.conf')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT rolpassword FROM pg_authid",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{owner}'",
    "SELECT pg_reload_conf()",
)


async def refused(connection: asyncpg.Connection, sql: str) -> bool:
    """Whether PostgreSQL denies it; what it lets through is undone."""
    attempt = connection.transaction()
    await attempt.start()
    try:
        await connection.execute(sql)
    except DENIED:
        return True
    except asyncpg.PostgresError:  # the right is there, the values are nonsense
        return False
    finally:
        await attempt.rollback()
    return False


def attempts(login: Login, table: str, columns: list[str]) -> Iterator[str]:
    """Statements that a login has no right to: of each verb the whole table, or each column that is not its own."""
    held = {each.verb: each.columns for each in privileges(login) if each.table == table}
    for verb in VERBS:
        mine = held.get(verb, ())
        if mine is None:
            continue
        if not mine:
            yield {
                "SELECT": f"SELECT FROM {table}",
                "INSERT": f"INSERT INTO {table} DEFAULT VALUES",
                "UPDATE": f"UPDATE {table} SET {columns[0]} = DEFAULT",
                "DELETE": f"DELETE FROM {table}",
                "TRUNCATE": f"TRUNCATE {table}",
            }[verb]
        for column in columns if verb != "DELETE" and verb != "TRUNCATE" else ():
            if column not in mine:
                yield {
                    "SELECT": f"SELECT {column} FROM {table}",
                    "INSERT": f"INSERT INTO {table} ({column}) OVERRIDING SYSTEM VALUE VALUES (NULL)",
                    "UPDATE": f"UPDATE {table} SET {column} = DEFAULT",
                }[verb]


@pytest.mark.parametrize("login", Login)
async def test_a_role_is_denied_all_that_its_line_does_not_say(
    login: Login, database: asyncpg.Connection, database_url: str
) -> None:
    tables = {row["name"]: row["columns"] for row in await database.fetch(COLUMNS)}
    thief = await asyncpg.connect(url_of(login, database_url))
    tried = [sql for table, columns in tables.items() for sql in attempts(login, table, columns)]
    assert len(tried) > 150
    assert [sql for sql in tried if not await refused(thief, sql)] == []
    await thief.close()


@pytest.mark.parametrize("loot", STOLEN)
async def test_the_dispatchers_url_is_not_worth(
    loot: str, store: Store, database: asyncpg.Connection, database_url: str
) -> None:
    """Each of these goes through with the one URL for all, as it did before there were roles."""
    await store.submit(new_job())
    assert not await refused(database, STOLEN[loot])
    thief = await asyncpg.connect(url_of(Login.DISPATCH, database_url))
    assert await refused(thief, STOLEN[loot])
    await thief.close()


@pytest.mark.parametrize("login", Login)
async def test_a_role_cannot_become_more_than_it_is(
    login: Login, database: asyncpg.Connection, database_url: str
) -> None:
    owner = await database.fetchval("SELECT current_user")
    others = [f"SET ROLE {role}" for each, role in names(DEPLOYMENT).items() if each is not login]
    thief = await asyncpg.connect(url_of(login, database_url))
    tried = [*(sql.format(owner=owner) for sql in BEYOND), *others]
    assert [sql for sql in tried if not await refused(thief, sql)] == []
    await database.execute("SELECT 'a secret'")
    seen = await thief.fetch("SELECT query FROM pg_stat_activity WHERE usename = $1", owner)
    assert {row["query"] for row in seen} == {"<insufficient privilege>"}
    await thief.close()

"""An upgrade takes no urgency away that somebody has used, and tells the operator who has it."""

from __future__ import annotations

import asyncio

import pytest
from alembic import command
from sqlalchemy import Connection, text

from orchestrator.policy.limits import Limits
from orchestrator.store import Store, errand, migrate, schema

BEFORE = "0017"
DEFAULTS = Limits(most_urgent=10)

# As the release before has left it: some tenants have a row, one has none; what was used may be swept by now.
USED = """
    INSERT INTO tenants (name, queued) VALUES ('jobs', 7), ('usual', NULL), ('lanes', NULL);
    INSERT INTO jobs (id, tenant, pool, priority, state, ready, cost, max_attempts, spec, request)
    SELECT gen_random_uuid(), tenant, 'small', priority, 'queued', true, 1, 3, '{}', '{}'
    FROM (VALUES ('jobs', 3), ('jobs', 5), ('usual', 10), ('usual', 20)) AS j(tenant, priority);
    INSERT INTO lanes (pool, priority, tenant, weight) VALUES ('small', 0, 'lanes', 1), ('small', 20, 'bulk', 1);
    INSERT INTO campaigns (id, kind, tenant, state, ask, templates, priority, rows)
    VALUES ('c', 'campaign', 'campaigns', 'draft', '{}', '[]', 4, 0),
           ('b', 'batch', 'batches', 'running', '{}', '[]', 9, 0)
"""


def test_whoever_has_been_more_urgent_than_usual_may_go_on_and_nobody_else(
    empty_database_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def as_before(connection: Connection) -> None:
        config = schema._config()
        config.attributes["connection"] = connection
        command.upgrade(config, BEFORE)
        for statement in USED.split(";"):
            connection.execute(text(statement))
        connection.commit()

    asyncio.run(errand.with_connection(empty_database_url, as_before))
    capfd.readouterr()
    migrate(empty_database_url)
    told = [line.split() for line in capfd.readouterr().out.splitlines() if "priority" in line]
    kept = {"jobs": 3, "lanes": 0, "campaigns": 4, "batches": 9}
    assert {words[1]: int(words[5]) for words in told} == kept

    async def most_urgent() -> dict[str, Limits]:
        async with Store.open(empty_database_url, limits=DEFAULTS) as store:
            return {name: await store.limits_of(name) for name in (*kept, "usual", "bulk", "nobody")}

    found = asyncio.run(most_urgent())
    assert {name: limits.most_urgent for name, limits in found.items()} == {name: kept.get(name, 10) for name in found}
    assert found["jobs"].queued == 7
    migrate(empty_database_url)
    assert "priority" not in capfd.readouterr().out

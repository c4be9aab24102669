"""Statements about files and batches are served by indexes, however many rows there are."""

from __future__ import annotations

import asyncpg
from sqlalchemy import TextClause
from sqlalchemy.dialects.postgresql import asyncpg as dialect

from orchestrator.store import batches, files
from orchestrator.store.connecting import SESSION

STATEMENTS = {
    f"{module.__name__.rpartition('.')[2]}{name}": statement
    for module in (batches, files)
    for name, statement in vars(module).items()
    if isinstance(statement, TextClause)
}
ARGUMENTS = {
    **dict.fromkeys(("id", "batch_id"), "'batch_1'"),
    **{"broken": "'{}'", "number": "1", "priority": "1"},
    **dict.fromkeys(("lease_s", "older_than_s", "keep_s", "n"), "1"),
    **dict.fromkeys(("lines", "custom_ids", "bodies", "job_ids", "errors", "error", "ids", "times"), "'{}'"),
    **{"token": "gen_random_uuid()", "tenant": "'t1'"},
}


async def test_no_statement_scans_a_table(database_url: str, database: asyncpg.Connection) -> None:
    await database.execute(
        "INSERT INTO batches (id, tenant, dialect, endpoint, completion_window, input_file, status, expires_at, "
        "completed_at, ended_at) SELECT 'batch_' || n, 't' || n % 9, 'openai', '/', '24h', 'f', 'completed', now(), "
        "now(), now() FROM generate_series(1, 3000) AS n"
    )
    await database.execute(
        "INSERT INTO batch_items (batch_id, line, custom_id, body, job_id) "
        "SELECT 'batch_1', n, n, '{}', gen_random_uuid() FROM generate_series(1, 20000) AS n"
    )
    await database.execute("ANALYZE")
    session = await asyncpg.connect(database_url, server_settings=SESSION)
    assert len(STATEMENTS) >= 8
    for label, statement in STATEMENTS.items():
        compiled = statement.compile(dialect=dialect.dialect())
        await session.execute(f"PREPARE statement AS {compiled}")
        given = ", ".join(ARGUMENTS[argument] for argument in compiled.positiontup or [])
        plan = "\n".join(row[0] for row in await session.fetch(f"EXPLAIN EXECUTE statement({given})"))
        await session.execute("DEALLOCATE statement")
        assert "Seq Scan on" not in plan, f"{label}\n{plan}"
    await session.close()

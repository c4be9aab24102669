"""`cogmill audit`, on what other commands have done: listed, written out, and checked with what was kept elsewhere."""

from __future__ import annotations

import asyncio
import getpass
import json
import socket
from pathlib import Path

import asyncpg
import pytest
from typer.testing import CliRunner

from orchestrator import cli
from orchestrator.domain.audit import Actor
from orchestrator.ports.audit import AuditFilter
from orchestrator.store import Store, migrate
from orchestrator.telemetry import acting
from tests.support.api import api_settings
from tests.support.auditing import sealer
from tests.support.batches import Scene, line
from tests.support.postgres import Server


class Shell:
    """Runs commands on one database."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._runner = CliRunner()

    def __call__(self, *arguments: str, code: int = 0) -> str:
        done = self._runner.invoke(cli.app, arguments)
        assert done.exit_code == code, (done.output, done.exception)
        return done.stdout

    def seal(self) -> None:
        """What the maintainer does every few seconds."""

        async def once() -> None:
            async with Store.open(self._database_url) as store:
                await sealer(store).run_once()

        asyncio.run(once())


@pytest.fixture
def shell(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Shell:
    settings = api_settings(database_url)
    for module in ("audit", "keys", "tenants", "shares", "pools", "parked"):
        monkeypatch.setattr(f"orchestrator.commands.{module}.settings_of", lambda _: settings)
    return Shell(database_url)


def test_what_commands_do_is_told_with_who_ran_them_and_what_it_changed(shell: Shell) -> None:
    key = shell("keys", "create", "acme", "--name", "ci").strip()
    shell("tenants", "weight", "acme", "2.5")
    shell("tenants", "weight", "acme", "2.5")  # which changes nothing
    shell("tenants", "limit", "acme", "--queued", "5", "--running", "none")
    shell("tenants", "limit", "acme", "--queued", "9")
    shell("tenants", "share", "acme", "small", "--guaranteed", "1")
    shell("tenants", "budget", "acme", "--per", "day", "--gpu-seconds", "60", "--at", "80:tell")
    shell("tenants", "budget", "acme", "--per", "day", "--lift")
    shell("pools", "pause", "small", "--reason", "new driver")
    shell("pools", "resume", "small")
    shell("keys", "rotate", key.split(".")[0])
    shell("keys", "revoke", key.split(".")[0])
    me = f"cli:{getpass.getuser()}@{socket.gethostname()}"
    told = [json.loads(each) for each in shell("audit", "export", "--jsonl", "--actor", me).splitlines()]
    assert [(entry["action"], entry["before"], entry["after"]) for entry in told[1:-2]] == [
        ("tenant.weight", {"weight": 1}, {"weight": 2.5}),
        ("tenant.limits", {"queued": None, "running": None}, {"queued": 5, "running": "none"}),
        ("tenant.limits", {"queued": 5}, {"queued": 9}),
        ("tenant.share", {"guaranteed": 0}, {"guaranteed": 1}),
        ("tenant.budget", None, {"amount": 60, "actions": ["80:tell"]}),
        ("tenant.budget", {"amount": 60, "actions": ["80:tell"]}, None),
        ("pool.pause", None, {"reason": "new driver", "by": told[-4]["after"]["by"]}),
        ("pool.resume", {"reason": "new driver", "by": told[-4]["after"]["by"]}, None),
    ]
    assert [told[at]["action"] for at in (0, -2, -1)] == ["key.create", "key.rotate", "key.revoke"]
    assert key.split(".")[1] not in json.dumps(told)
    assert shell("audit", "list", "--action", "tenant.weight").endswith(
        f"""  tenant.weight  done  {me}  tenant:acme  was {{"weight":1}}  is {{"weight":2.5}}\n"""
    )
    assert len(shell("audit", "list", "--tenant", "acme", "--limit", "3").splitlines()) == 3
    assert shell("audit", "list", "--to", "2020-01-01") == ""


def test_what_others_have_written_draws_nothing_on_the_terminal(
    shell: Shell, postgres_server: Server, database_url: str
) -> None:
    """Of a webhook's URL, say: an escape that clears the screen, and an override of the direction that hides a line."""
    postgres_server.execute(
        "INSERT INTO audit (action, outcome, actor, after, salts, digests) VALUES "
        """('webhook.create', 'done', 'key:x', U&'{"url":"https://r.example/\\009b2J\\202e"}', '{}', '{}')""",
        database_url.rpartition("/")[2],
    )
    assert "https://r.example/?2J?" in shell("audit", "list")
    written = shell("audit", "export", "--jsonl")
    assert written.isascii()
    told = [json.loads(each)["after"] or {} for each in written.splitlines()]
    assert "https://r.example/\x9b2J\u202e" in [after.get("url") for after in told]


def test_a_head_that_was_kept_shows_a_log_that_was_written_anew(
    shell: Shell, postgres_server: Server, database_url: str, tmp_path: Path
) -> None:
    shell("tenants", "weight", "acme", "2")
    shell("audit", "heads", code=1)
    shell.seal()
    kept = tmp_path / "heads.jsonl"
    kept.write_text(shell("audit", "heads"))
    shell("tenants", "weight", "acme", "3")
    shell.seal()
    said = shell("audit", "verify", "--from", str(kept))
    assert "3 entries in 2 seals, 0 wait for one" in said
    name = database_url.rpartition("/")[2]
    postgres_server.execute("UPDATE audit SET actor = 'cli:somebody@else' WHERE action = 'tenant.weight'", name)
    said = shell("audit", "verify", "--from", str(kept), code=1)
    assert said.count("was changed: actor") == 2
    postgres_server.execute("TRUNCATE audit, audit_seals", name)
    assert "nothing is sealed" in shell("audit", "verify")
    assert "seal 1 was kept: the end is missing" in shell("audit", "verify", "--from", str(kept), code=1)
    kept.write_text("{}")
    shell("audit", "verify", "--from", str(kept), code=1)


def test_a_migration_is_told_with_the_schemas_it_was_between(empty_database_url: str) -> None:
    with acting.acting(Actor(name="cli:deploy@ci")):
        migrate(empty_database_url)
        migrate(empty_database_url)

    async def read() -> list[tuple[str, object]]:
        async with Store.open(empty_database_url) as store:
            page = await store.page_audit(AuditFilter(action="database.migrate"), limit=10)
            return [(entry.values["actor"], entry.before) for entry in page.entries]

    assert asyncio.run(read()) == [("cli:deploy@ci", {"revision": None})]


async def test_the_jobs_of_a_batch_name_the_key_that_the_batch_was_made_with(
    scene: Scene, database: asyncpg.Connection
) -> None:
    with acting.acting(Actor(name="key:cgm_b", key="cgm_b", tenant=scene.tenant)):
        batch = await scene.create([line("a"), line("b")])
    with acting.acting(acting.service("maintain")):
        await scene.step()
    rows = await database.fetch("SELECT made_by FROM jobs WHERE campaign = $1", batch.id)
    assert [row["made_by"] for row in rows] == ["cgm_b", "cgm_b"]

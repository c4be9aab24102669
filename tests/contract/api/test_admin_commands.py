"""Administration from the command line through a real API: no database URL, no settings, an administrator's key."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from fastapi import FastAPI
from typer.testing import CliRunner

from orchestrator import cli
from orchestrator.commands import administration
from orchestrator.config import Settings
from orchestrator.domain.errors import CogmillError
from orchestrator.domain.job import WorkerRef
from orchestrator.domain.rights import ROLES, USUAL, Role
from tests.support.api import CLUSTER, POOL, Api, in_process, listening

pytestmark = pytest.mark.asyncio(loop_scope="module")

Run = Callable[..., Awaitable[str]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def base_url(api_app: tuple[FastAPI, Settings]) -> AsyncIterator[str]:
    async with listening(api_app[0]) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that knows of no database, no stack and no profile."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("CONFIG", "DATABASE_URL", "SECRETS_DIR", "PROFILE", "API", "KEY"):
        monkeypatch.delenv(f"COGMILL_{name}", raising=False)


@pytest_asyncio.fixture(loop_scope="module")
async def run(api: Api, base_url: str, nowhere: None, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`cogmill` with these arguments, where the environment names an API and an administrator's key: what it prints."""
    monkeypatch.setenv("COGMILL_API", base_url)
    monkeypatch.setenv("COGMILL_KEY", await api.key(scopes=ROLES[Role.ADMIN]))

    async def invoke(*arguments: str, code: int = 0) -> str:
        done = await asyncio.to_thread(CliRunner().invoke, cli.app, list(arguments))
        assert done.exit_code == code, f"{done.output}{done.exception!r}"
        if code:
            return done.output + str(done.exception)
        # The API is in this process, and logs to the same place.
        return "".join(line for line in done.stdout.splitlines(keepends=True) if not line.startswith("[info "))

    return invoke


async def test_tenants_and_what_they_may_have(api: Api, run: Run) -> None:
    name = f"c-{api.tenant[:12]}"
    await run("tenants", "weight", name, "3")
    await run("tenants", "limit", name, "--queued", "7", "--running", "none", "--most-urgent", "0")
    await run("tenants", "limit", name, "--running", "default")
    assert f"{name}  weight 3  queued 7  most-urgent 0" in (await run("tenants", "list")).splitlines()
    used = {line.split()[0]: line.split()[1:] for line in (await run("tenants", "use", name)).splitlines()[1:]}
    assert (used["queued"], used["running"]) == (["7", "7", "0"], ["default", "none", "0"])
    await run("tenants", "share", name, POOL, "--guaranteed", "1", "--running", "2")
    assert f"{POOL}  {name}  guaranteed 1  running 2" in (await run("tenants", "shares")).splitlines()
    assert "would be guaranteed" in await run("tenants", "share", api.tenant, POOL, "--guaranteed", "1", code=1)
    await run("tenants", "share", name, POOL, "--guaranteed", "0", "--running", "none")
    assert name not in await run("tenants", "shares")
    await run("tenants", "budget", name, "--per", "day", "--gpu-seconds", "60", "--at", "80:tell")
    assert await run("tenants", "budgets", name) == "per day  60 gpu_seconds  used 0  reserved 0  80:tell\n"
    await run("tenants", "budget", name, "--per", "day", "--lift")
    assert await run("tenants", "budgets", name) == ""


async def test_keys_of_any_tenant(api: Api, run: Run) -> None:
    tenant = f"d-{api.tenant[:12]}"
    first = (await run("keys", "create", tenant, "--name", "ci", "--expires", "2100-01-01")).strip()
    async with in_process(api.app, first) as http:
        assert (await http.get("/v1/videos")).status_code == 200
    viewer = (await run("keys", "create", tenant, "--role", "viewer")).strip()
    assert "view " in await run("keys", "list", tenant)
    assert {first.split(".")[0], viewer.split(".")[0]} <= set((await run("keys", "list")).split())
    second = (await run("keys", "rotate", first, "--overlap", "1h")).strip()
    await run("keys", "revoke", second, "--descendants")
    async with in_process(api.app, second) as http:
        assert (await http.get("/v1/videos")).status_code == 401
    assert "no role" in await run("keys", "create", tenant, "--role", "root", code=1)
    assert "--role operator" in await run("keys", "create", tenant, "--operator", code=2)


async def test_pools_the_fleet_and_what_was_parked(run: Run) -> None:
    await run("pools", "pause", POOL, "--reason", "a test")
    await run("pools", "pause", "--all", "--reason", "all of it")
    assert "all of it" in (resumed := await run("pools", "resume", POOL))
    assert "a test" not in resumed
    await run("pools", "resume", "--all")
    (line,) = (await run("pools", "list")).splitlines()
    assert line.startswith(f"{POOL}  tiny-2b  queued ")
    assert line.endswith("  open")
    assert POOL in await run("fleet", "--decisions")
    assert json.loads(await run("predictions", "--json")) == {"data": [], "speeds": []}
    assert (await run("predictions", "--speeds")).split() == ["pool", "kind", "model", "configured", "learned"]
    assert await run("parked", "list") == ""
    assert "'nothing'" in await run("parked", "resume", "nothing", code=1)


async def test_workers_one_by_one(api: Api, run: Run) -> None:
    store: Any = api.dispatching
    await store.beat(CLUSTER, {WorkerRef(name="small-77", incarnation="first"): POOL})
    worker_id = f"{CLUSTER}:small-77"
    (asked,) = json.loads(await run("workers", "drain", worker_id, "--within", "10m", "--json"))
    assert (asked["order"]["kind"], asked["order"]["within_s"]) == ("drain", 600)
    assert "drain by" in await run("workers", "list", "--pool", POOL)
    await run("workers", "resume", worker_id)
    await run("workers", "replace", worker_id)
    assert [order.kind for order in await store.worker_orders(CLUSTER) if order.worker == "small-77"] == ["replace"]
    await run("workers", "resume", worker_id)
    assert "no worker" in await run("workers", "drain", "small-77", code=1)


async def test_jobs_of_any_tenant_and_dead_letters(api: Api, run: Run) -> None:
    made = [(await api.http.post("/v1/videos", json={"prompt": "a mill"})).json()["id"] for _ in range(2)]
    await api.fail(made[0])
    mine = ("--tenant", api.tenant)
    assert made[0] in await run("dead-letters", "list", *mine)
    shown = await run("any-jobs", "show", made[0])
    assert "out_of_memory: the render did not fit" in shown
    assert "a mill" not in shown
    (fresh,) = json.loads(await run("dead-letters", "release", made[0], "--json"))
    assert await run("dead-letters", "list", *mine, "--json") == "[]\n"
    assert {made[1], fresh["id"]} <= set((await run("any-jobs", "list", *mine, "--state", "queued")).split())
    assert "cancelled" in await run("any-jobs", "cancel", made[1])
    (again,) = json.loads(await run("any-jobs", "retry", made[1], "--json"))
    await run("any-jobs", "cancel", again["id"], fresh["id"])
    await api.fail((await api.http.post("/v1/videos", json={"prompt": "a mill"})).json()["id"])
    (letter,) = json.loads(await run("dead-letters", "list", *mine, "--json"))
    await run("dead-letters", "forget", letter["id"])
    assert await run("dead-letters", "list", *mine, "--json") == "[]\n"


async def test_everybodys_use_and_what_workers_did(api: Api, base_url: str, run: Run) -> None:
    of_all = json.loads(await run("usage", "--by", "tenant", "--json", "--api", base_url))
    assert of_all["tenant"] is None
    assert (await run("usage", "--csv", "--tenant", api.tenant, "--api", base_url)).startswith("attempts,")
    assert "busy s" in await run("usage", "--workers", "--api", base_url)
    assert "cause" in await run("usage", "--waste", "--api", base_url)
    assert "--use" in await run("usage", "--use", "work", "--api", base_url, code=2)


async def test_a_key_without_the_role_is_told_so_in_one_line(
    api: Api, base_url: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COGMILL_KEY", await api.key(scopes=USUAL))
    assert "Missing scopes: view." in await run("tenants", "list", code=1)
    assert "Missing scopes: admin." in await run("keys", "create", "acme", "--api", base_url, code=1)


async def test_which_of_the_two_is_meant(nowhere: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A database that is configured is gone to, as ever, unless the API is named; no key goes to another's API."""
    over = administration.over_api
    assert not over(None)
    assert over("http://api.test")
    monkeypatch.setenv("COGMILL_API", "http://api.test")
    assert over(None)
    assert not over(None, tmp_path)
    monkeypatch.setenv("COGMILL_DATABASE_URL", "postgresql://nowhere/none")
    assert not over(None)
    assert over("work")
    done = CliRunner().invoke(cli.app, ["tenants", "list", "--api", "http://api.test", "--data-dir", str(tmp_path)])
    assert (done.exit_code, "--data-dir" in done.output) == (2, True)
    monkeypatch.delenv("COGMILL_KEY", raising=False)
    done = CliRunner().invoke(cli.app, ["tenants", "list", "--api", "http://other.test"])
    assert isinstance(done.exception, CogmillError)
    assert "COGMILL_KEY" in str(done.exception)

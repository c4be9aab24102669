"""`cogmill keys`: keys of any tenant in the database, as whoever runs the deployment makes them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from orchestrator import cli
from orchestrator.config.masters import MasterKeySettings
from orchestrator.domain.masters import Ring
from orchestrator.domain.rights import USUAL, Scope
from orchestrator.ports import ApiKey, Person
from orchestrator.store import Store
from orchestrator.tenants import keys
from orchestrator.tenants.issuing import Issuing, Wanted
from tests.support.api import MASTER_KEY, api_settings
from tests.support.logins import as_api

Run = Callable[..., str]


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`cogmill keys` with these arguments: what it prints."""
    monkeypatch.setattr("orchestrator.commands.keys.settings_of", lambda _: as_api(api_settings(database_url)))

    def invoke(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(cli.app, ["keys", *arguments])
        assert done.exit_code == code, done.output
        return done.output + str(done.exception or "")

    return invoke


def found(database_url: str, whole: str) -> ApiKey:
    async def read() -> ApiKey | None:
        async with Store.open(database_url) as store:
            return await store.find_key(whole.split(".")[0])

    key = asyncio.run(read())
    assert key is not None
    assert keys.issue(MASTER_KEY, key.id) == whole.strip()
    return key


def test_a_key_may_what_the_command_line_says(run: Run, database_url: str) -> None:
    usual = found(database_url, run("create", "acme", "--name", "ci"))
    assert (usual.tenant, usual.name, usual.rights.scopes, usual.rights.allow) == ("acme", "ci", USUAL, ())
    assert usual.rights.expires_at is None
    narrow = found(
        database_url,
        run(
            *("create", "acme", "--scopes", "read, submit", "--scopes", "keys", "--expires", "90d"),
            *("--allow", "203.0.113.0/24", "--allow", "2001:db8::1"),
        ),
    )
    assert narrow.rights.scopes == {Scope.READ, Scope.SUBMIT, Scope.KEYS}
    assert [str(network) for network in narrow.rights.allow] == ["203.0.113.0/24", "2001:db8::1/128"]
    assert narrow.rights.expires_at is not None
    assert abs(narrow.rights.expires_at - datetime.now(UTC) - timedelta(days=90)) < timedelta(hours=1)
    operators = found(database_url, run("create", "acme", "--operator", "--expires", "2100-01-01"))
    assert operators.rights.scopes == USUAL | {Scope.OPERATE}
    assert operators.rights.expires_at == datetime(2100, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["create"], "TENANT"),
        (["create", "acme", "--mine"], "your own key"),
        (["create", "acme", "--name", "a\nb"], "--name"),
        (["create", "acme", "--name", "x" * 201], "--name"),
        (["list", "acme", "--mine"], "your own key"),
        (["list", "acme", "--use", "work"], "your own key"),
        (["create", "acme", "--scopes", "root"], "--scopes"),
        (["create", "acme", "--allow", "203.0.113.9/24"], "--allow"),
        (["create", "acme", "--expires", "2001-01-01"], "--expires"),
        (["create", "acme", "--expires", "soon"], "--expires"),
        (["create", "acme", "--expires", "2100-01-01T12:00:00"], "--expires"),
        (["rotate", "k", "--overlap", "1"], "--overlap"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(run: Run, arguments: list[str], named: str) -> None:
    assert named in run(*arguments, code=2)
    assert run("list") == ""


def test_without_the_master_key_none_is_made_and_none_ends(
    run: Run, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = found(database_url, run("create", "acme"))
    without = api_settings(database_url).model_copy(update={"master_key": None})
    monkeypatch.setattr("orchestrator.commands.keys.settings_of", lambda _: without)
    assert "master_key" in run("rotate", old.id, code=1)
    assert "master_key" in run("create", "acme", code=1)
    assert found(database_url, keys.issue(MASTER_KEY, old.id)) == old
    assert len(run("list").splitlines()) == 1


def test_a_list_tells_how_keys_stand_and_no_secret(run: Run) -> None:
    plain, ending, gone = run("create", "acme"), run("create", "acme", "--expires", "1d"), run("create", "acme")
    run("revoke", gone.split(".")[0])
    listed = run("list", "acme")
    for whole, state in ((plain, "valid  never used"), (ending, "valid until 20"), (gone, "revoked 20")):
        key_id, secret = whole.strip().split(".")
        assert re.search(rf"^{key_id}  acme  [\d :-]+  {state}", listed, re.MULTILINE)
        assert secret not in listed


def test_a_key_is_replaced_with_an_overlap_once_and_revoked_with_what_it_made(run: Run, database_url: str) -> None:
    old = run("create", "acme", "--name", "ci", "--scopes", "read").strip()
    new = found(database_url, run("rotate", old, "--overlap", "1h"))
    before = found(database_url, old)
    assert (new.name, new.rights.scopes, before.replaced_by) == ("ci", {Scope.READ}, new.id)
    assert before.rights.expires_at is not None
    assert timedelta() < before.rights.expires_at - datetime.now(UTC) <= timedelta(hours=1)
    assert new.id in run("rotate", old, code=1)
    assert "no key has the id 'nobody'" in run("rotate", "nobody", code=1)
    run("revoke", new.id, "--descendants")
    assert "no valid key" in run("revoke", new.id, code=1)


def test_generations_of_the_master_key_are_shown_with_what_lives_on_each(
    run: Run, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = [MasterKeySettings(generation=2, key=SecretStr("the second of the master keys"))]
    settings = api_settings(database_url).model_copy(update={"master_keys": listed})
    monkeypatch.setattr("orchestrator.commands.masters.settings_of", lambda _: settings)
    run("create", "acme")  # by a process that has not heard of the second

    async def forgotten() -> None:
        async with Store.open(database_url) as store:
            await store.add_key("k3", "acme", "", master=3)

    asyncio.run(forgotten())
    shown = [" ".join(line.split()) for line in run("masters").splitlines()[1:]]
    assert shown == ["2 makes new ones 0 0 -", "1 good 1 0 -", "3 missing 1 0 -"]
    assert "k3" in run("retire-master", "3", code=1)
    assert "The ring does not hold it." in run("retire-master", "3", "--yes")
    assert "makes new secrets" in run("retire-master", "2", "--yes", code=1)


def test_what_a_person_made_is_revoked_by_the_persons_name(run: Run, database_url: str) -> None:
    name = "oidc:corp#ada.l@example.com"
    ada = ApiKey(
        id=name,
        tenant="acme",
        name="",
        created_at=datetime.now(UTC),
        person=Person(issuer="corp", made_keys_s=3600),
    )

    async def make() -> None:
        async with Store.open(database_url) as store:
            await Issuing(store, Ring.of(MASTER_KEY)).create(ada, name="by hand", wanted=Wanted())

    run("create", "acme")
    asyncio.run(make())
    run("revoke", name, "--descendants")
    listed = run("list").splitlines()
    assert sorted("revoked 20" in line for line in listed) == [False, True]
    assert "no valid key" in run("revoke", name, "--descendants", code=1)

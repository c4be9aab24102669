"""Attacks with a generation of the master key that has leaked; and what its rotation must not break, while it serves.

The API reads its ring from files, as in a cluster with `secretsAsFiles`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import jwt
import pytest
import pytest_asyncio
from fastapi import FastAPI
from standardwebhooks import Webhook, WebhookVerificationError
from typer.testing import CliRunner

from orchestrator import cli, config
from orchestrator.campaigns.manifest import signature_document
from orchestrator.campaigns.signing import Keys, Signer
from orchestrator.commands import masters
from orchestrator.config import Settings
from orchestrator.domain.manifest import ManifestSignature
from orchestrator.domain.masters import Master, Ring
from orchestrator.domain.objects import signature_key
from orchestrator.domain.webhooks import secret
from orchestrator.tenants import keys
from tests.support.api import Api, api_settings, id_of, in_process, serving
from tests.support.postgres import Server
from tests.support.receivers import Received, happen, posting, receiving
from tests.support.s3 import S3Server
from tests.support.secrets import SecretsFolder

pytestmark = pytest.mark.asyncio(loop_scope="module")

LEAKED, KEPT, STRANGE = "the one that leaked, of the first day", "the one that replaced it", "one that never was ours"
VIDEOS, TASK, KEYS = "/v1/videos", "/api/paas/v4/async-result/video_0", "/v1/keys"


def ring(*of: tuple[int, str]) -> str:
    return json.dumps([{"generation": generation, "key": key} for generation, key in of])


BOTH = ring((2, KEPT), (1, LEAKED))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> SecretsFolder:
    return SecretsFolder(tmp_path_factory.mktemp("run") / "secrets")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api_app(
    postgres_server: Server, migrated_template: str, s3_server: S3Server, folder: SecretsFolder
) -> AsyncIterator[tuple[FastAPI, Settings]]:
    """As every test's, with a ring of two generations in a file."""
    database = postgres_server.new_database(migrated_template)
    told = api_settings(postgres_server.url(database), s3_server.new_bucket())
    folder.write(master_keys=BOTH)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("COGMILL_SECRETS_DIR", str(folder.path))
        settings = config.load(**{name: getattr(told, name) for name in told.model_fields_set - {"master_key"}})
    async with serving(settings) as app:
        yield app, settings
    postgres_server.drop_database(database)


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def both(folder: SecretsFolder) -> None:
    folder.write(master_keys=BOTH)


async def a_key(api: Api, master: int) -> str:
    """The id of a key of this generation."""
    key_id = keys.new_id()
    await api.services.store.add_key(key_id, api.tenant, "tests", master=master)
    return key_id


def token(key: str) -> str:
    """What the bigmodel SDKs make of a key. Source: zhipuai and zai-sdk, `core/_jwt_token.py`."""
    key_id, of_key = key.split(".")
    now = int(time.time() * 1000)
    return jwt.encode({"api_key": key_id, "exp": now + 210_000, "timestamp": now}, of_key, algorithm="HS256")


async def answers(api: Api, key: str) -> list[httpx.Response]:
    """To a key itself, and to a token that is signed with it."""
    async with in_process(api.app, key) as http, in_process(api.app, token(key)) as sdk:
        return [await http.get(VIDEOS), await sdk.get(TASK)]


async def passes(api: Api, key: str) -> bool:
    """Whether it is let in, in both forms alike."""
    (let_in,) = {answer.status_code != 401 for answer in await answers(api, key)}
    return let_in


# ---------------------------------------------------------------- forging


@pytest.mark.parametrize(("of_row", "leaked"), [(2, LEAKED), (1, KEPT)], ids=["the older", "the newer"])
async def test_a_leaked_generation_forges_no_key_of_another(api: Api, of_row: int, leaked: str) -> None:
    """Before there were rows of generations, whoever had any master key in use had every key."""
    key_id = await a_key(api, of_row)
    assert await passes(api, keys.issue({1: LEAKED, 2: KEPT}[of_row], key_id))
    forged = await answers(api, keys.issue(leaked, key_id))
    assert [answer.status_code for answer in forged] == [401, 401]
    # And is told no more than with a secret of nobody's, or with an id of nobody's.
    for other in (keys.issue(leaked, "cgm_nobodys0000000"), keys.issue(leaked, keys.new_id())):
        assert [answer.json() for answer in await answers(api, other)] == [answer.json() for answer in forged]
    (told, _), (strange, _) = forged, await answers(api, keys.issue(STRANGE, key_id))
    assert told.json() == strange.json()


async def test_a_leaked_generation_fills_no_memory_with_ids_that_it_makes_up(api: Api) -> None:
    known = await a_key(api, 1)
    assert await passes(api, keys.issue(LEAKED, known))
    before = len(api.services.keyring._lookups)
    async with in_process(api.app) as http:
        for number in range(50):
            key = keys.issue(LEAKED, f"forged-{number}")
            assert (await http.get(VIDEOS, headers={"authorization": f"Bearer {key}"})).status_code == 401
    assert len(api.services.keyring._lookups) == before


async def test_a_key_from_before_there_were_generations_is_as_good_as_ever(api: Api) -> None:
    """As the release before writes its row, with the master key that it has."""
    key_id = keys.new_id()
    connection = await asyncpg.connect(api.settings.database_url)
    await connection.execute("INSERT INTO keys (id, tenant, name) VALUES ($1, $2, '')", key_id, api.tenant)
    await connection.close()
    assert await passes(api, keys.issue(LEAKED, key_id))
    assert not await passes(api, keys.issue(KEPT, key_id))


# ---------------------------------------------------------------- the file, while it serves


async def test_a_rotation_step_by_step_turns_nobody_away(api: Api, folder: SecretsFolder) -> None:
    async def made_by(key: str, path: str = KEYS) -> str:
        async with in_process(api.app, key) as http:
            answer = await http.post(path, json={})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["key"])

    async def signers() -> list[str]:
        async with in_process(api.app) as http:
            return [key["kid"] for key in (await http.get("/.well-known/jwks.json")).json()["keys"]]

    old, new = Signer(LEAKED).key_id, Signer(KEPT).key_id
    folder.write(master_keys=ring((1, LEAKED)))
    first = keys.issue(LEAKED, await a_key(api, 1))
    made = await made_by(first)
    assert made == keys.issue(LEAKED, id_of(made))
    assert await signers() == [old]

    folder.write(master_keys=ring((1, LEAKED), (2, KEPT)))  # known everywhere, before it makes anything
    made = await made_by(first)
    assert made == keys.issue(LEAKED, id_of(made))
    assert await signers() == [old, new]

    folder.write(master_keys=BOTH)
    made = await made_by(first)
    assert made == keys.issue(KEPT, id_of(made))
    assert await passes(api, made)
    assert await passes(api, first)
    replaced = await made_by(made, f"{KEYS}/{id_of(first)}/rotate")
    assert replaced == keys.issue(KEPT, id_of(replaced))
    assert await passes(api, first)  # until their overlap is over
    assert await signers() == [new, old]

    folder.write(master_keys=BOTH[:-30])  # somebody's editor saves in two steps
    assert [await passes(api, key) for key in (first, made, replaced)] == [True] * 3
    folder.write()
    assert [await passes(api, key) for key in (first, made, replaced)] == [True] * 3

    folder.write(master_keys=ring((2, KEPT)))
    assert [await passes(api, key) for key in (first, made, replaced)] == [False, True, True]
    assert await signers() == [new]


# ---------------------------------------------------------------- webhooks


async def test_while_secrets_overlap_both_generations_sign_and_then_the_leaked_one_forges_no_more(
    api: Api,
) -> None:
    connection = await asyncpg.connect(api.settings.database_url)
    url, owner = api.settings.database_url, f"tenant:{api.tenant}"
    async with receiving() as receiver:
        async with posting(url, ring=Ring.of(LEAKED)) as before:
            endpoint = await before.subscribe(receiver.url(), api.tenant)
            named = await before.subscriptions.tenant_secret(api.tenant)
        assert named == secret(LEAKED, owner, 1)
        async with posting(url, ring=Ring((Master(2, KEPT), Master(1, LEAKED)))) as after:
            kept = await after.subscriptions.tenant_secret(api.tenant)
            assert kept == named  # until it is rotated, whatever the ring
            fresh = await after.subscriptions.rotate(api.tenant, endpoint.endpoint.id, overlap=True)
            named_after = await after.subscriptions.rotate_tenant(api.tenant, overlap=True)
            assert fresh.secret == secret(KEPT, f"endpoint:{endpoint.endpoint.id}", 2)
            assert named_after == secret(KEPT, owner, 2)
            await happen(connection, tenant=api.tenant, url=receiver.url())
            await after.round()
            signers = [(endpoint.secret, fresh.secret), (named, named_after)]
            for both in signers:
                assert [all(_verifies(key, each) for key in both) for each in receiver.received].count(True) == 1
            again = await after.subscriptions.rotate(api.tenant, endpoint.endpoint.id, overlap=False)
            await happen(connection, tenant=api.tenant)
            await after.round()
            last = receiver.received[-1]
            assert _verifies(again.secret, last)
            for generation in range(1, 5):
                forged = secret(LEAKED, f"endpoint:{endpoint.endpoint.id}", generation)
                assert not _verifies(forged, last)
    await connection.close()


def _verifies(key: str, told: Received) -> bool:
    try:
        Webhook(key).verify(told.body, told.headers)
    except WebhookVerificationError:
        return False
    return True


# ---------------------------------------------------------------- the end of a generation


async def retire(api: Api, *options: str) -> tuple[int, str]:
    def run() -> tuple[int, str]:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("orchestrator.commands.masters.settings_of", lambda _: api.settings)
            done = CliRunner().invoke(cli.app, ["keys", *options])
        return done.exit_code, done.output + str(done.exception or "")

    return await asyncio.to_thread(run)


async def test_who_makes_keys_while_a_generation_is_retired_keeps_none_of_them(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thief's first key comes when the list has been made; then one of a process that has the old ring still."""
    thiefs = await a_key(api, 1)
    loop, end = asyncio.get_running_loop(), masters._end
    there: list[str] = []

    async def steal() -> str:
        async with in_process(api.app, keys.issue(LEAKED, thiefs)) as http:
            return str((await http.post(KEYS, json={})).raise_for_status().json()["key"])

    async def raced(*of: Any, **told: Any) -> None:
        there.append(await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(steal(), loop)))
        await end(*of, **told)
        there.append(await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(a_key(api, 1), loop)))

    monkeypatch.setattr(masters, "_end", raced)
    code, told = await retire(api, "retire-master", "1", "--descendants", "--yes")
    assert not await passes(api, there[0])
    assert (code, "do this again" in told, "Nothing lives" in told) == (1, True, False)
    monkeypatch.undo()
    code, told = await retire(api, "retire-master", "1", "--descendants", "--yes")
    assert (code, there[1] in told, "Nothing lives" in told) == (0, True, True)
    assert not await passes(api, keys.issue(LEAKED, there[1]))


async def a_manifest(api: Api, connection: asyncpg.Connection, signer: Signer) -> str:
    """The id of an ended campaign whose manifest this has signed."""
    campaign = f"campaign_{api.tenant}"
    facts = {"campaign": campaign, "revision": 1, "final": True, "rows": 0, "sha256": "0" * 64}
    signed = signer.sign(campaign=campaign, revision=1, final=True, rows=0, sha256="0" * 64)
    key = f"campaigns/{campaign}/manifest.jsonl"
    api.services.objects.put(signature_key(key), signature_document(signed), "application/json")
    mark = {name: value for name, value in facts.items() if name != "campaign"} | {"key": key, "key_id": signed.key_id}
    await connection.execute(
        "INSERT INTO campaigns (id, kind, tenant, state, ask, templates, priority, manifest, ended_at) "
        "VALUES ($1, 'campaign', $2, 'completed', '{}', '[]', 10, $3, now())",
        campaign,
        api.tenant,
        json.dumps(mark),
    )
    return key


async def test_retiring_a_generation_lists_what_it_cuts_off_before_it_does(api: Api) -> None:
    doomed, safe = await a_key(api, 1), await a_key(api, 2)
    whole = {doomed: keys.issue(LEAKED, doomed), safe: keys.issue(KEPT, safe)}
    async with in_process(api.app, whole[safe]) as http:
        endpoint = (
            await http.post(
                "/v1/webhook_endpoints",
                json={"name": "ours", "url": "https://93.184.215.14/", "event_types": ["video.completed"]},
            )
        ).json()
    connection = await asyncpg.connect(api.settings.database_url)
    await connection.execute("UPDATE webhook_endpoints SET master = 1 WHERE id = $1", endpoint["id"])
    manifest = await a_manifest(api, connection, Signer(LEAKED))

    code, told = await retire(api, "retire-master", "1")
    assert code == 1
    for named in (doomed, endpoint["id"], f"campaign_{api.tenant}", "nothing was changed: --yes"):
        assert named in told
    assert safe not in told
    assert await passes(api, whole[doomed])
    code, shown = await retire(api, "masters")
    assert (code, "makes new ones" in shown) == (0, True)

    code, told = await retire(api, "retire-master", "2", "--yes")
    assert (code, "makes new secrets" in told) == (1, True)

    async with in_process(api.app, whole[doomed]) as http:  # the thief's
        whole["made"] = (await http.post(KEYS, json={})).json()["key"]
    code, told = await retire(api, "retire-master", "1", "--yes")
    assert (code, "Take it out of the ring" in told) == (0, True), told
    assert id_of(whole["made"]) in told
    assert await passes(api, whole["made"])  # as it may be its owner's, who has replaced the old one
    # In the ring it still is: what has leaked opens nothing all the same, nor signs anything.
    assert [await passes(api, each) for each in whole.values()] == [False, True, True]
    row = await connection.fetchrow(
        "SELECT master, secret_generation FROM webhook_endpoints WHERE id = $1", endpoint["id"]
    )
    assert row is not None
    assert tuple(row) == (2, 2)
    beside = b"".join(api.services.objects.stream(signature_key(manifest)))
    Keys.of(Signer(KEPT).jwks).verify(ManifestSignature.from_dict(json.loads(beside)))
    code, told = await retire(api, "retire-master", "1")
    assert (code, "Nothing lives on the generation 1 any more." in told) == (0, True)
    code, told = await retire(api, "retire-master", "1", "--descendants", "--yes")
    assert (code, [await passes(api, each) for each in whole.values()]) == (0, [False, True, False])
    await connection.close()

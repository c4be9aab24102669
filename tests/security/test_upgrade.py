"""An upgrade with the same settings breaks nobody's key, webhook or URL: a database as the release before left it.

`tests/support/recorded.py` recorded it, and what that release gave its users; there is no secret but its master key.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import jwt
import pytest
import pytest_asyncio
from alembic import command
from sqlalchemy import Connection
from standardwebhooks import Webhook, WebhookVerificationError

from orchestrator.campaigns.signing import Keys
from orchestrator.domain.manifest import ManifestSignature
from orchestrator.store import errand, migrate, schema
from tests.support import recorded
from tests.support.api import COVER, VIDEO, Api, in_process, serving
from tests.support.logins import make_logins
from tests.support.postgres import Server
from tests.support.receivers import Received, Receiver, posting, receiving, webhook_settings
from tests.support.s3 import S3Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

RECORDED = Path(recorded.__file__)
HELD: dict[str, Any] = json.loads(RECORDED.with_suffix(".json").read_text())
FILE = b'{"custom_id": "a"}\n'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def database_url(postgres_server: Server, receiver: Receiver) -> AsyncIterator[str]:
    """Restored at the release's schema, then migrated, as an upgrade does."""
    name = postgres_server.new_database()
    url = postgres_server.url(name)
    await errand.with_connection(url, as_before)
    connection = await asyncpg.connect(url)
    await restore(connection, receiver.port)
    await connection.close()
    await asyncio.to_thread(lambda: migrate(make_logins(url)))
    yield url
    postgres_server.drop_database(name)


def as_before(connection: Connection) -> None:
    config = schema._config()
    config.attributes["connection"] = connection
    command.upgrade(config, HELD["schema"])
    connection.commit()


async def restore(connection: asyncpg.Connection, port: int) -> None:
    """The rows; the receiver has another port now, the server other transactions, and no month has gone by."""
    rows = RECORDED.with_suffix(".sql").read_text().replace(recorded.HOOK, f"http://127.0.0.1:{port}/hook")
    tables = ", ".join(sorted(set(re.findall(r"^INSERT INTO (\S+)", rows, re.MULTILINE))))
    await connection.execute(f"TRUNCATE {tables};\n{rows}")
    await connection.execute(
        """
        UPDATE outbox SET xid = pg_current_xact_id();
        UPDATE files SET expires_at = now() + interval '1 day';
        UPDATE tenants SET previous_secret_until = now() + interval '1 hour' WHERE previous_secret_until IS NOT NULL;
        UPDATE webhook_endpoints SET previous_secret_until = now() + interval '1 hour'
        WHERE previous_secret_until IS NOT NULL
        """
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(database_url: str, s3_server: S3Server) -> AsyncIterator[Api]:
    """With the settings of before, and the objects that its rows name."""
    settings = webhook_settings(database_url).model_copy(update={"s3": s3_server.new_bucket()})
    async with serving(settings) as app:
        opened = Api(app, settings, tenant="acme", http=in_process(app, HELD["key"]))
        result = json.loads(await one(database_url, "SELECT result FROM jobs WHERE state = 'succeeded'"))
        for name, data in (("video", VIDEO), ("cover", COVER)):
            opened.services.objects.put(result[name]["key"], data, result[name]["content_type"])
        key = await one(database_url, "SELECT key FROM files")
        opened.services.objects.put(key, FILE, "application/jsonl")
        async with opened.http:
            yield opened


async def one(database_url: str, query: str) -> str:
    connection = await asyncpg.connect(database_url)
    try:
        return str(await connection.fetchval(query))
    finally:
        await connection.close()


def token(key: str) -> str:
    """What the bigmodel SDKs make of a key. Source: zhipuai and zai-sdk, `core/_jwt_token.py`."""
    key_id, secret = key.split(".")
    now = int(time.time() * 1000)
    return jwt.encode({"api_key": key_id, "exp": now + 210_000, "timestamp": now}, secret, algorithm="HS256")


async def got(api: Api, path: str, **options: Any) -> httpx.Response:
    answer = await api.http.get(path, **options)
    assert answer.status_code == 200, answer.text
    return answer


class TestKeys:
    @pytest.mark.parametrize("credential", [str, token], ids=["key", "token"])
    @pytest.mark.parametrize(
        "path", ["/v1/videos", "/v1/files", "/v1/campaigns", "/v1/batches", "/v1/webhook_endpoints", "/v1/keys"]
    )
    async def test_an_old_key_and_its_tokens_open_what_they_opened_and_what_is_new(
        self, api: Api, credential: Any, path: str
    ) -> None:
        async with in_process(api.app, credential(HELD["key"])) as http:
            assert (await http.get(path)).status_code == 200

    async def test_one_without_the_word_bearer_does_too(self, api: Api) -> None:
        async with in_process(api.app, headers={"authorization": HELD["key"]}) as http:
            assert (await http.get("/v1/videos")).status_code == 200

    async def test_an_operators_key_is_one_still_and_another_is_none(self, api: Api) -> None:
        async with in_process(api.app, HELD["operator"]) as operator:
            assert (await operator.get("/v1/fleet")).status_code == 200
        assert (await api.http.get("/v1/fleet")).status_code == 403

    async def test_a_key_that_was_revoked_stays_so(self, api: Api) -> None:
        async with in_process(api.app, HELD["revoked"]) as http:
            assert (await http.get("/v1/videos")).status_code == 401

    async def test_another_tenants_key_sees_nothing_of_it(self, api: Api) -> None:
        async with in_process(api.app, HELD["other"]) as http:
            assert (await http.get("/v1/videos")).json()["data"] == []
            assert (await http.get(f"/v1/videos/{HELD['done']}")).status_code == 404


class TestUrls:
    async def test_a_video_its_content_and_its_pictures_are_where_they_were(self, api: Api) -> None:
        path = f"/v1/videos/{HELD['done']}"
        assert (await got(api, path)).json()["status"] == "completed"
        assert (await got(api, f"{path}/content")).content == VIDEO
        task = (await got(api, f"/api/paas/v4/async-result/{HELD['done']}")).json()
        (links,) = task["video_result"]
        async with httpx.AsyncClient() as anybody:
            assert (await anybody.get(links["url"])).content == VIDEO
            assert (await anybody.get(links["cover_image_url"])).content == COVER

    async def test_a_failure_is_told_as_it_was(self, api: Api) -> None:
        task = (await got(api, f"/api/paas/v4/async-result/{HELD['failed']}")).json()
        assert task["task_status"] == "FAIL"

    async def test_a_page_is_continued_and_a_stream_taken_up_where_they_were(self, api: Api) -> None:
        rest = (await got(api, "/v1/videos", params={"after": HELD["failed"]})).json()
        assert [each["id"] for each in rest["data"]] == [HELD["done"]]
        events = f"/v1/videos/{HELD['done']}/events"
        assert f"id: {HELD['event']}\n" in (await got(api, events)).text
        behind = await api.http.get(events, headers={"last-event-id": HELD["event"]})
        assert behind.status_code == 204, "there is nothing behind the last event"

    async def test_a_file_is_there(self, api: Api) -> None:
        assert (await got(api, f"/v1/files/{HELD['file']}")).json()["filename"] == "in.jsonl"
        assert (await got(api, f"/v1/files/{HELD['file']}/content")).content == FILE

    async def test_a_request_that_is_sent_again_makes_no_second_video_and_the_first_is_rendered(self, api: Api) -> None:
        again = await api.http.post("/v1/videos", json={"prompt": "waiting"}, headers={"idempotency-key": "monday"})
        assert again.json()["id"] == HELD["waiting"]
        await api.succeed(HELD["waiting"])
        assert (await got(api, f"/v1/videos/{HELD['waiting']}/content")).content == VIDEO


class TestWebhooks:
    async def test_what_had_not_been_told_is_told_with_the_secrets_that_receivers_have(
        self, api: Api, database_url: str, receiver: Receiver
    ) -> None:
        """Both of an endpoint whose secret was rotated: the old one's day goes on."""
        async with posting(database_url) as post:
            while await post.round():
                pass
        told: dict[str, set[tuple[str, str]]] = {}
        for each in receiver.received:
            (whose,) = {whose for whose in ("endpoint_secrets", "tenant_secrets") if verifies(HELD[whose][0], each)}
            assert all(verifies(secret, each) for secret in HELD[whose])
            told.setdefault(whose, set()).add((each.event["type"], each.event["data"]["id"]))
        assert told["endpoint_secrets"] >= {("video.completed", HELD["done"]), ("video.failed", HELD["failed"])}
        assert told["tenant_secrets"] == {("video.completed", HELD["done"])}

    async def test_the_secret_that_is_shown_is_the_one_of_before(self, api: Api) -> None:
        assert (await got(api, "/v1/webhook_secret")).json()["signing_secret"] == HELD["tenant_secrets"][-1]
        (endpoint,) = (await got(api, "/v1/webhook_endpoints")).json()["data"]
        assert endpoint["id"] == HELD["endpoint"]


async def test_a_manifest_that_was_signed_before_is_still_vouched_for(api: Api) -> None:
    keys = Keys.of((await got(api, "/.well-known/jwks.json")).json())
    keys.verify(ManifestSignature(**HELD["manifest"]))


def verifies(secret: str, told: Received) -> bool:
    """Whether one of a delivery's signatures is by this secret."""
    try:
        Webhook(secret).verify(told.body, told.headers)
    except WebhookVerificationError:
        return False
    return True

"""A campaign's rows over HTTP: sent, listed, and what came of them."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
from collections.abc import AsyncIterator
from typing import Any, cast
from uuid import uuid4

import asyncpg
import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from orchestrator.campaigns.signing import Keys
from orchestrator.config import Settings
from orchestrator.domain.campaign import CampaignState
from orchestrator.domain.manifest import ManifestSignature
from orchestrator.kit import scratch
from tests.support.api import Api, api_settings, listening, serving
from tests.support.campaigns import FAILS, PROMPT, CampaignScene, a_campaign_scene, with_campaigns
from tests.support.postgres import Server
from tests.support.s3 import S3Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

CAMPAIGNS = "/v1/campaigns"
LARGEST = 3 * 2**20
HEAD = "custom_id,product,scene,seed,image\n"
ROWS = HEAD + "clip-0,red mug,table,7,\nclip-1,blue mug,shelf,,\n" + f"clip-2,{FAILS},table,,\n"
BAD = HEAD + "clip-0,red mug,table,,\nclip-1,,table,,\nclip-0,red mug,table,x,\n=cmd,,,,\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api_app(
    postgres_server: Server, migrated_template: str, s3_server: S3Server
) -> AsyncIterator[tuple[FastAPI, Settings]]:
    """As every test's, with inputs that are not much larger than other bodies."""
    plain = api_settings(postgres_server.url(postgres_server.new_database(migrated_template)), s3_server.new_bucket())
    settings = with_campaigns(plain, max_input_bytes=LARGEST)
    async with serving(settings) as app:
        yield app, settings


@pytest.fixture
def scene(api: Api) -> CampaignScene:
    """What works on the tenant's campaigns."""
    return a_campaign_scene(cast(Any, api.services.store), cast(Any, api.services.objects), api.settings, api.tenant)


async def a_draft(api: Api, **fields: Any) -> str:
    wish = {"prompt": PROMPT, "approval": "none", "defaults": {"size": "96x64"}, **fields}
    return str((await api.http.post(CAMPAIGNS, json=wish)).raise_for_status().json()["id"])


async def send(
    api: Api, campaign_id: str, rows: Any, content_type: str | None = "text/csv", **query: str
) -> httpx.Response:
    headers = {} if content_type is None else {"content-type": content_type}
    path = f"{CAMPAIGNS}/{campaign_id}/input"
    return await api.http.put(path, content=rows, headers=headers, params=query)


async def read(api: Api, campaign_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await api.http.get(f"{CAMPAIGNS}/{campaign_id}")).raise_for_status().json()
    return found


async def taken_in(api: Api, scene: CampaignScene, rows: Any = ROWS, *args: Any, **query: str) -> str:
    campaign_id = await a_draft(api)
    (await send(api, campaign_id, rows, *args, **query)).raise_for_status()
    while await scene.engine.ingest():
        pass
    return campaign_id


async def completed(api: Api, scene: CampaignScene, rows: Any = ROWS) -> str:
    campaign_id = await taken_in(api, scene, rows)
    await scene.until(await scene.campaigns.get(api.tenant, campaign_id), CampaignState.COMPLETED)
    return campaign_id


async def rows_of(api: Api, campaign_id: str, **query: Any) -> list[dict[str, Any]]:
    """All rows that a filter leaves, two on a page."""
    found: list[dict[str, Any]] = []
    after: dict[str, str] = {}
    while True:
        answer = await api.http.get(f"{CAMPAIGNS}/{campaign_id}/rows", params={"limit": 2, **query, **after})
        page = answer.raise_for_status().json()
        found += page["data"]
        if not page["has_more"]:
            return found
        after = {"after": page["last_id"]}


def blamed(answer: httpx.Response) -> tuple[int, str, str | None]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"]


# ---------------------------------------------------------------- sent


@pytest.mark.parametrize(
    ("data", "content_type", "query", "form"),
    [
        (ROWS.encode(), "text/csv; charset=utf-8", {}, "csv"),
        (gzip.compress(ROWS.encode()), "text/csv", {}, "csv"),
        (ROWS.encode(), None, {}, "csv"),
        (ROWS.encode(), "application/x-www-form-urlencoded", {}, "csv"),
        (b'{"product": "mug", "scene": "table"}\n', "application/x-ndjson", {}, "jsonl"),
        (b'{"product": "mug", "scene": "table"}\n', "text/plain", {"format": "jsonl"}, "jsonl"),
    ],
)
async def test_rows_are_sent_in_one_stream(
    api: Api, scene: CampaignScene, data: bytes, content_type: str | None, query: dict[str, str], form: str
) -> None:
    campaign_id = await a_draft(api)
    answer = await send(api, campaign_id, data, content_type, **query)
    assert (answer.status_code, answer.json()["state"]) == (200, "ingesting")
    assert answer.json()["input"]["bytes"] == len(data)
    while await scene.engine.ingest():
        pass
    found = await read(api, campaign_id)
    assert (found["input"]["format"], found["error"]) == (form, None)
    assert found["counts"]["rows"] == found["input"]["records_read"] == (3 if form == "csv" else 1)
    file = (await api.http.get(f"/v1/files/{found['input']['source']}")).json()
    assert (file["purpose"], file["bytes"]) == ("campaign", len(data))


async def test_what_cannot_be_rows_is_refused_by_name_and_leaves_the_draft(api: Api) -> None:
    campaign_id = await a_draft(api)
    assert blamed(await send(api, campaign_id, b"")) == (400, "invalid_value", "input")
    assert blamed(await send(api, campaign_id, b"x", "multipart/form-data"))[::2] == (400, "Content-Type")
    assert blamed(await send(api, campaign_id, b"x", format="xml"))[::2] == (400, "format")
    assert (await send(api, "campaign_0", b"x")).status_code == 404
    assert (await read(api, campaign_id))["state"] == "draft"


async def test_rows_may_have_more_bytes_than_other_bodies_and_no_other_body_may(api: Api) -> None:
    campaign_id = await a_draft(api)
    assert (await send(api, campaign_id, b"x" * (LARGEST + 1))).status_code == 413
    assert (await send(api, campaign_id, b"x" * LARGEST)).status_code == 200
    too_long = b"x" * (api.settings.api.max_body_bytes + 1)
    for path in (f"{CAMPAIGNS}/{campaign_id}", f"{CAMPAIGNS}/input", f"{CAMPAIGNS}/a/b/input"):
        assert (await api.http.patch(path, content=too_long)).status_code == 413


async def test_an_upload_that_breaks_off_leaves_the_draft_and_nothing_on_the_disk(
    api: Api, scene: CampaignScene, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(tmp_path))
    campaign_id = await a_draft(api)
    async with listening(api.app) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        head = (
            f"PUT {CAMPAIGNS}/{campaign_id}/input HTTP/1.1\r\nhost: a\r\ncontent-length: 3000000\r\n"
            f"authorization: {api.http.headers['authorization']}\r\n\r\n"
        )
        writer.write(head.encode() + b"custom_id,product,scene\n" * 100_000)
        await writer.drain()
        async with asyncio.timeout(10):
            while not any(tmp_path.iterdir()):  # noqa: ASYNC110 - a disk tells nobody
                await asyncio.sleep(0.01)
            writer.close()
            while any(tmp_path.iterdir()):  # noqa: ASYNC110 - the same
                await asyncio.sleep(0.01)
    assert (await read(api, campaign_id))["state"] == "draft"
    assert (await send(api, campaign_id, ROWS)).status_code == 200


async def test_of_two_uploads_at_once_one_is_taken_and_the_other_leaves_no_file(api: Api) -> None:
    campaign_id = await a_draft(api)
    both = asyncio.Barrier(2)

    async def body() -> AsyncIterator[bytes]:
        await both.wait()
        yield ROWS.encode()

    answers = await asyncio.gather(*(send(api, campaign_id, body()) for _ in range(2)))
    assert sorted(answer.status_code for answer in answers) == [200, 400]
    (refused,) = [answer for answer in answers if answer.status_code == 400]
    assert blamed(refused)[1] == "wrong_state"
    files = (await api.http.get("/v1/files", params={"purpose": "campaign"})).json()["data"]
    assert [file["id"] for file in files] == [(await read(api, campaign_id))["input"]["source"]]
    assert blamed(await send(api, campaign_id, ROWS))[1] == "wrong_state"


async def test_rows_are_put_to_a_signed_url_or_read_from_a_file(api: Api, scene: CampaignScene) -> None:
    campaign_id = await a_draft(api)
    path = f"{CAMPAIGNS}/{campaign_id}"
    assert blamed(await api.http.post(f"{path}/ingest")) == (400, "missing_required_parameter", "input")
    upload = (await api.http.post(f"{path}/upload")).raise_for_status().json()
    assert (upload["object"], upload["method"]) == ("campaign.upload", "PUT")
    assert blamed(await api.http.post(f"{path}/ingest", json={}))[::2] == (400, "input")
    async with httpx.AsyncClient() as stranger:
        (await stranger.put(upload["url"], content=ROWS)).raise_for_status()
    begun = (await api.http.post(f"{path}/ingest", json={"format": "csv"})).raise_for_status().json()
    assert (begun["state"], begun["input"]["source"], begun["input"]["bytes"]) == ("ingesting", "upload", len(ROWS))
    assert blamed(await api.http.post(f"{path}/upload"))[1] == "wrong_state"
    other = await a_draft(api)
    named = {"input": await scene.upload(ROWS)}
    assert (await api.http.post(f"{CAMPAIGNS}/{other}/ingest", json=named)).json()["state"] == "ingesting"


# ---------------------------------------------------------------- listed


async def test_a_row_is_shown_before_while_and_after_it_is_rendered(api: Api, scene: CampaignScene) -> None:
    campaign_id = await taken_in(api, scene)
    first, second, _ = await rows_of(api, campaign_id)
    assert first == {
        "object": "campaign.row", "custom_id": "clip-0", "line": 2, "place": 0, "state": "waiting", "video_id": None,
        "variables": {"product": "red mug", "scene": "table"}, "parameters": {"size": "96x64"},
        "prompt": "a red mug on a table", "seed": 7, "template_version": None, "attempts": 0, "gpu_seconds": 0.0,
        "error": None, "flags": [], "result": None,
    }  # fmt: skip
    await scene.step()
    queued = (await rows_of(api, campaign_id))[1]
    assert (queued["state"], queued["seed"], queued["template_version"]) == ("queued", second["seed"], 1)
    assert (await api.http.get(f"/v1/videos/{queued['video_id']}")).json()["seed"] == second["seed"]
    await scene.until(await scene.campaigns.get(api.tenant, campaign_id), CampaignState.COMPLETED)
    _, done, failed = await rows_of(api, campaign_id)
    assert {**done, "result": None} == {
        **queued, "state": "succeeded", "attempts": 1, "gpu_seconds": 1.0, "result": None
    }  # fmt: skip
    assert done["result"]["key"].endswith("/video.mp4")
    assert (done["result"]["model"], done["result"]["continuity"]) == ("tiny-2b", "whole")
    assert (failed["state"], failed["result"]) == ("failed", None)
    assert failed["error"] == {"code": "out_of_memory", "message": "it did not fit"}


async def test_rows_are_found_by_state_reason_name_and_variables(api: Api, scene: CampaignScene) -> None:
    campaign_id = await completed(api, scene)

    async def names(**query: Any) -> list[str]:
        return [row["custom_id"] for row in await rows_of(api, campaign_id, **query)]

    assert await names() == ["clip-0", "clip-1", "clip-2"]
    assert await names(state="succeeded") == ["clip-0", "clip-1"]
    assert await names(reason="out_of_memory") == ["clip-2"]
    assert await names(custom_id="clip-1") == ["clip-1"]
    assert await names(var="scene:table") == ["clip-0", "clip-2"]
    assert await names(var=["scene:table", "product:red mug"]) == ["clip-0"]
    assert await names(var="scene:floor", state="failed") == []
    for query, param in (({"var": "scene"}, "var"), ({"after": "x"}, "after"), ({"state": "odd"}, "state")):
        answer = await api.http.get(f"{CAMPAIGNS}/{campaign_id}/rows", params=query)
        assert blamed(answer)[::2] == (400, param)


async def test_lines_that_are_no_rows_are_told_with_field_and_reason(api: Api, scene: CampaignScene) -> None:
    campaign_id = await taken_in(api, scene, BAD)
    path = f"{CAMPAIGNS}/{campaign_id}/errors"
    answer = await api.http.get(path)
    assert answer.headers["content-type"] == "application/jsonl"
    told = [json.loads(line) for line in answer.text.splitlines()]
    assert [(bad["line"], bad["custom_id"], bad["field"]) for bad in told] == [
        (3, "clip-1", "product"), (4, "clip-0", "custom_id"), (5, "=cmd", "product")
    ]  # fmt: skip
    assert set(told[0]) == {"line", "custom_id", "field", "code", "reason"}
    sheet = list(csv.DictReader(io.StringIO((await api.http.get(path, params={"format": "csv"})).text)))
    assert [row["custom_id"] for row in sheet] == ["clip-1", "clip-0", "'=cmd"]
    good = await taken_in(api, scene)
    assert (await api.http.get(f"{CAMPAIGNS}/{good}/errors")).text == ""


# ---------------------------------------------------------------- accounted for


async def test_the_manifest_is_what_was_signed_and_links_open(api: Api, scene: CampaignScene) -> None:
    campaign_id = await taken_in(api, scene)
    path = f"{CAMPAIGNS}/{campaign_id}/manifest"
    for early in (path, f"{path}/signature"):
        assert blamed(await api.http.get(early))[:2] == (404, "not_found")
        assert "no manifest" in (await api.http.get(early)).json()["error"]["message"]
    await scene.until(await scene.campaigns.get(api.tenant, campaign_id), CampaignState.COMPLETED)
    mark = (await read(api, campaign_id))["manifest"]
    answer = await api.http.get(path)
    assert answer.headers["etag"] == f'"{mark["sha256"]}"'
    header, *rows = [json.loads(line) for line in answer.text.splitlines()]
    assert (header["campaign"], header["final"], len(rows)) == (campaign_id, True, 3)
    signed = (await api.http.get(f"{path}/signature")).raise_for_status().json()
    assert {name: signed[name] for name in ("sha256", "revision", "key_id")} == {
        name: mark[name] for name in ("sha256", "revision", "key_id")
    }
    Keys.of((await api.http.get("/.well-known/jwks.json")).json()).verify(ManifestSignature.from_dict(signed))
    sheet = list(csv.DictReader(io.StringIO((await api.http.get(path, params={"format": "csv"})).text)))
    assert [row["state"] for row in sheet] == ["succeeded", "succeeded", "failed"]
    key = rows[0]["key"]
    api.services.objects.put(key, b"a video", "video/mp4")
    links = [json.loads(line) for line in (await api.http.get(path, params={"format": "links"})).text.splitlines()]
    assert [link["custom_id"] for link in links] == ["clip-0", "clip-1"]
    assert links[0]["expires_at"] > 1_700_000_000
    async with httpx.AsyncClient() as stranger:
        assert (await stranger.get(links[0]["url"])).content == b"a video"


async def test_a_manifest_whose_object_is_gone_is_a_404_and_no_torn_answer(api: Api, scene: CampaignScene) -> None:
    campaign_id = await completed(api, scene)
    mark = (await scene.campaigns.get(api.tenant, campaign_id)).manifest
    assert mark is not None
    api.services.objects.delete([mark.key])
    for form in ("jsonl", "csv", "links"):
        answer = await api.http.get(f"{CAMPAIGNS}/{campaign_id}/manifest", params={"format": form})
        assert blamed(answer)[:2] == (404, "not_found")


async def test_a_campaign_like_a_manifest_has_its_prompts_and_seeds(api: Api, scene: CampaignScene) -> None:
    campaign_id = await completed(api, scene)
    manifest = (await api.http.get(f"{CAMPAIGNS}/{campaign_id}/manifest")).content
    wish = {"like": await scene.upload(manifest), "approval": "none"}
    again = (await api.http.post(CAMPAIGNS, json=wish)).raise_for_status().json()
    while await scene.engine.ingest():
        pass
    before, after = await rows_of(api, campaign_id), await rows_of(api, again["id"])
    assert [(row["prompt"], row["seed"]) for row in after] == [(row["prompt"], row["seed"]) for row in before]


async def test_a_picture_within_its_row_does_not_fill_the_page(api: Api, scene: CampaignScene) -> None:
    campaign_id = await taken_in(api, scene)
    connection = await asyncpg.connect(api.settings.database_url)
    body = {"vars": {}, "params": {"prompt": "sea"}, "image": {"image_url": "data:image/png;base64," + "A" * 9_000}}
    try:
        await connection.execute(
            "UPDATE campaign_rows SET body = $1 WHERE place = 0 AND campaign = "
            "(SELECT number FROM campaigns WHERE id = $2)", json.dumps(body), campaign_id,
        )  # fmt: skip
    finally:
        await connection.close()
    shown = (await rows_of(api, campaign_id))[0]
    assert (shown["prompt"], len(shown["parameters"]["input_reference"]["image_url"]) < 200) == ("sea", True)


async def test_nothing_of_a_campaign_that_is_not_there_is_told(api: Api) -> None:
    for path in ("rows", "errors", "manifest", "manifest/signature", "events"):
        answer = await api.http.get(f"{CAMPAIGNS}/campaign_{uuid4().hex}/{path}")
        assert answer.status_code == 404

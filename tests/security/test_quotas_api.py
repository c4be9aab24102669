"""A quota that is reached says its name, its value and how much is used, in every dialect; and who has what is told."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from tests.support.api import Api, in_process, listening, reaching
from tests.support.batches import line

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOOK = {"name": "mine", "url": "https://example.com/hook", "event_types": ["video.completed"]}


def check_refused(answer: httpx.Response, limit: str, *, most: int, used: int) -> None:
    assert answer.status_code == 429, answer.text
    error = answer.json()["error"]
    assert error["code"] == f"limit_{limit}"
    assert f"at most {most} are allowed (limit {limit})" in error["message"]
    assert f"{used} " in error["message"]
    assert answer.headers["ratelimit-policy"] == f'"{limit}";q={most}'
    assert answer.headers["ratelimit"] == f'"{limit}";r={max(0, most - used)}'
    # Waiting is no help, and the SDKs are told so.
    assert answer.headers["x-should-retry"] == "false"
    assert "retry-after" not in answer.headers


async def upload(api: Api, path: str = "/v1/files") -> httpx.Response:
    data = line("a").encode()
    return await api.http.post(path, files={"file": ("in.jsonl", data), "purpose": (None, "batch")})


async def batch(api: Api, file: str) -> httpx.Response:
    asked = {"input_file_id": file, "endpoint": "/v1/videos", "completion_window": "24h"}
    return await api.http.post("/v1/batches", json=asked)


async def limit(api: Api, **limits: float | None) -> None:
    await api.services.store.set_limits(api.tenant, limits)


async def test_files_beyond_their_number_and_their_bytes_are_refused_until_one_is_deleted(api: Api) -> None:
    await limit(api, files=1)
    first = (await upload(api)).raise_for_status().json()
    check_refused(await upload(api), "files", most=1, used=1)
    bigmodel = await upload(api, "/api/paas/v4/files")
    assert (bigmodel.status_code, bigmodel.json()["error"]["code"]) == (429, "1302")
    await limit(api, files=None, stored_bytes=10)
    check_refused(await upload(api), "stored_bytes", most=10, used=first["bytes"])
    assert (await api.http.delete(f"/v1/files/{first['id']}")).status_code == 200
    await limit(api, stored_bytes=None)
    assert (await upload(api)).status_code == 200


async def test_open_batches_beyond_their_number_are_refused_and_those_that_are_there_stay(api: Api) -> None:
    file = (await upload(api)).json()["id"]
    first = (await batch(api, file)).raise_for_status().json()["id"]
    await batch(api, file)
    await limit(api, open_batches=1)  # less than there are
    check_refused(await batch(api, file), "open_batches", most=1, used=2)
    assert (await api.http.get(f"/v1/batches/{first}")).json()["status"] == "validating"


async def test_open_campaigns_beyond_their_number_are_refused(api: Api) -> None:
    await limit(api, open_campaigns=1)
    await api.http.post("/v1/campaigns", json={"prompt": "sea"})
    check_refused(await api.http.post("/v1/campaigns", json={"prompt": "sea"}), "open_campaigns", most=1, used=1)


async def test_an_input_is_put_to_no_url_where_nothing_has_room(api: Api) -> None:
    campaign = (await api.http.post("/v1/campaigns", json={"prompt": "sea"})).json()["id"]
    await limit(api, stored_bytes=0)
    answer = await api.http.post(f"/v1/campaigns/{campaign}/upload")
    check_refused(answer, "stored_bytes", most=0, used=0)


async def test_webhook_endpoints_beyond_their_number_are_refused(api: Api) -> None:
    await limit(api, webhook_endpoints=1)
    made = await api.http.post("/v1/webhook_endpoints", json=HOOK)
    assert made.status_code == 200, made.text
    check_refused(await api.http.post("/v1/webhook_endpoints", json=HOOK), "webhook_endpoints", most=1, used=1)


@pytest.mark.parametrize("path", ["/v1/videos", "/v1/campaigns"])
async def test_streams_beyond_their_number_are_refused_in_each_process(api: Api, api_app: Any, path: str) -> None:
    await limit(api, event_streams=2)
    made = (await api.http.post(path, json={"prompt": "sea"})).json()["id"]
    async with AsyncExitStack() as open_:
        port = await open_.enter_async_context(listening(api_app[0]))
        http = await open_.enter_async_context(reaching(f"http://127.0.0.1:{port}", await api.key()))
        streams = [await open_.enter_async_context(http.stream("GET", f"{path}/{made}/events")) for _ in range(3)]
        assert [stream.status_code for stream in streams] == [200, 200, 429]
        error = json.loads(await streams[2].aread())["error"]
        assert error["code"] == "limit_event_streams"
        assert streams[2].headers["ratelimit-policy"] == '"event_streams";q=2'


async def test_a_video_is_submitted_whatever_quotas_are_full(api: Api) -> None:
    await limit(api, files=0, stored_bytes=0, waiting_rows=0, open_batches=0)
    made = await api.http.post("/v1/videos", json={"prompt": "sea"})
    assert made.status_code == 200


async def test_one_tenants_quota_is_none_of_anothers(api: Api) -> None:
    await limit(api, files=0)
    async with in_process(api.app, await api.key(f"other-{api.tenant}")) as http:
        answer = await http.post("/v1/files", files={"file": ("f", b"x"), "purpose": (None, "user_data")})
    assert answer.status_code == 200

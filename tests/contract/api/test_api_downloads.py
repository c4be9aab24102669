"""Downloads while S3 misbehaves: hung, short of bytes, or asked for headers only."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest

from api.wire import downloads, patience
from orchestrator.config import S3Settings
from tests.support.api import COVER, VIDEO, Api, api_settings, in_process, listening, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def finished(api: Api) -> str:
    video_id = str((await api.http.post("/v1/videos", json={"prompt": "a lighthouse"})).json()["id"])
    await api.succeed(video_id)
    return video_id


@asynccontextmanager
async def with_a_silent_s3(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """The same tenant's API on an S3 that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        s3 = S3Settings(
            endpoint_url=f"http://127.0.0.1:{silent.getsockname()[1]}",
            access_key="a", secret_key="s", read_timeout_s=8, max_attempts=1,
        )  # fmt: skip
        async with (
            serving(api_settings(api.settings.database_url, s3)) as app,
            in_process(app, await api.key(api.tenant)) as client,
        ):
            yield client


async def every_reader_is_taken() -> None:
    for _ in range(500):
        if sum(thread.name.startswith("s3-read") for thread in threading.enumerate()) == 32:
            return
        await asyncio.sleep(0.01)
    pytest.fail("the downloads did not reach S3")


async def test_while_s3_hangs_downloads_end_in_a_503_and_nothing_else_waits_for_it(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "DEADLINE_S", 15.0)  # time for all that is asked meanwhile
    video_id = await finished(api)
    async with with_a_silent_s3(api) as client:
        waiting = [asyncio.create_task(client.get(f"/v1/videos/{video_id}/content")) for _ in range(45)]
        await every_reader_is_taken()
        others = [
            await client.post("/v1/videos", json={"prompt": "sea"}),
            await client.post("/v1/videos", files={"prompt": (None, "sea")}),
            await client.get(f"/v1/videos/{video_id}"),
            await client.get(f"/api/paas/v4/async-result/{video_id}"),
            await client.get("/readyz"),
            await client.get("/metrics"),
        ]
        assert [answer.status_code for answer in others] == [200] * len(others)
        assert not any(task.done() for task in waiting)
        for answer in await asyncio.gather(*waiting):
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) > 0
            assert answer.headers["x-should-retry"] == "true"


@pytest.mark.parametrize("stored", [VIDEO[:100], b"", VIDEO + b"more"], ids=["short", "empty", "long"])
async def test_a_file_that_is_not_as_long_as_recorded_is_a_502_and_its_key_stays_inside(
    api: Api, stored: bytes
) -> None:
    video_id = await finished(api)
    path = f"/v1/videos/{video_id}/content"
    (key,) = (key for key in api.services.objects.list_keys("") if video_id[6:] in key and key.endswith(".mp4"))
    api.services.objects.put(key, stored, "video/mp4")
    for headers in ({}, {"range": "bytes=200-299"}, {"range": "bytes=-10"}):
        answer = await api.http.get(path, headers=headers)
        assert answer.status_code == 502
        assert answer.json()["error"]["type"] == "server_error"
        assert answer.headers["x-should-retry"] == "false"
        assert "mp4" not in answer.text
    assert (await api.http.head(path)).status_code == 502


async def test_head_tells_what_get_would_send_without_sending_it(api: Api) -> None:
    video_id = await finished(api)
    path = f"/v1/videos/{video_id}/content"
    for variant, data in (("video", VIDEO), ("thumbnail", COVER)):
        whole = await api.http.get(path, params={"variant": variant})
        # Ranges are for GET alone.
        head = await api.http.head(path, params={"variant": variant}, headers={"range": "bytes=0-1"})
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(len(data))
        assert {**head.headers, "x-request-id": ""} == {**whole.headers, "x-request-id": ""}
    assert (await api.http.head(f"/v1/videos/{video_id[:-1]}/content")).status_code == 404


async def uploaded(api: Api, data: bytes) -> str:
    sent = {"file": ("rows.jsonl", data), "purpose": (None, "user_data")}
    return f"/v1/files/{(await api.http.post('/v1/files', files=sent)).json()['id']}/content"


async def read_slowly(port: int, path: str, key: str, *, pause_s: float) -> bool:
    """Read a fortieth now and then; whether the answer came whole."""
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=raw, limit=2**16)
        writer.write(f"GET {path} HTTP/1.1\r\nhost: api\r\nauthorization: Bearer {key}\r\n\r\n".encode())
        told = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        left = int(told.lower().partition(b"content-length: ")[2].split()[0])
        piece = left // 40
        try:
            while left > 0:
                await asyncio.sleep(pause_s)
                left -= len(await asyncio.wait_for(reader.readexactly(min(piece, left)), 10))
        except (asyncio.IncompleteReadError, ConnectionError):
            return False
        finally:
            writer.close()
        return True


@pytest.mark.parametrize(("slowest", "whole"), [(2**40, False), (1, True)], ids=["trickling", "slow"])
async def test_who_reads_a_little_now_and_then_holds_a_download_no_longer_than_who_reads_nothing(
    api: Api, monkeypatch: pytest.MonkeyPatch, slowest: int, whole: bool
) -> None:
    """Each pause is far shorter than what a reader may stop for; all together are longer."""
    monkeypatch.setattr(patience, "STALLED_S", 1.0)
    monkeypatch.setattr(patience, "SLOWEST_READ", slowest)
    path = await uploaded(api, bytes(16 * 2**20))
    async with listening(api.app) as port:
        assert await read_slowly(port, path, await api.key(api.tenant), pause_s=0.08) is whole
    assert api.services.rooms.downloads.of(api.tenant) == 0


async def test_who_goes_away_amid_a_download_leaves_nothing_of_it_open_at_s3(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await uploaded(api, bytes(16 * 2**20))
    stream, closed = api.services.objects.stream, threading.Event()

    def watched(key: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        try:
            yield from stream(key, start=start, end=end)
        finally:
            closed.set()

    monkeypatch.setattr(api.services.objects, "stream", watched)
    gc.disable()  # it is not what lets go of it
    try:
        async with listening(api.app) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            key = await api.key(api.tenant)
            writer.write(f"GET {path} HTTP/1.1\r\nhost: api\r\nauthorization: Bearer {key}\r\n\r\n".encode())
            assert (await reader.readline()).split()[1] == b"200"
            assert not closed.is_set()
            writer.transport.abort()
            assert await asyncio.to_thread(closed.wait, 10)
    finally:
        gc.enable()


async def test_downloads_beyond_a_tenants_share_are_refused_by_name_and_room_comes_back(api: Api) -> None:
    path = await uploaded(api, b"rows")
    room = api.services.rooms.downloads
    for _ in range(api.settings.api.max_downloads_per_tenant):
        room.take(api.tenant)
    refused = await api.http.get(path)
    assert (refused.status_code, refused.headers["ratelimit"]) == (429, '"downloads";r=0')
    room.give_back(api.tenant, api.settings.api.max_downloads_per_tenant)
    assert (await api.http.get(path)).content == b"rows"
    assert room.of(api.tenant) == 0


async def test_where_the_deployment_says_so_content_is_a_redirect_to_a_signed_url(api: Api) -> None:
    video_id, path = await finished(api), await uploaded(api, b"rows")
    settings = api.settings.model_copy(update={"api": api.settings.api.model_copy(update={"content": "redirect"})})
    async with serving(settings) as app, in_process(app, await api.key(api.tenant)) as client:
        for place, data in ((f"/v1/videos/{video_id}/content", VIDEO), (path, b"rows")):
            answer = await client.get(place)
            assert (answer.status_code, answer.headers["cache-control"]) == (302, "no-store")
            async with httpx.AsyncClient() as anybody:
                got = await anybody.get(answer.headers["location"])
            assert got.content == data
            assert got.headers["content-disposition"].startswith("attachment")
        head = await client.head(f"/v1/videos/{video_id}/content")
        assert (head.status_code, head.headers["content-length"]) == (200, str(len(VIDEO)))

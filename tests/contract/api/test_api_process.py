"""`cogmill api` as a process: with few descriptors, with a port for its metrics, and at its end."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.support.api_process import LEAST, Served, api_process
from tests.support.postgres import Server
from tests.support.s3 import S3Server
from tests.support.sockets import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

FILES = 256
ORIGIN = "https://app.example"
SETTINGS = f"""{LEAST}
api.base_path = "/video"
api.cors_origins = ["{ORIGIN}"]
"""


@pytest.fixture
def metrics_port() -> int:
    return free_port()


@pytest_asyncio.fixture(loop_scope="module")
async def served(
    postgres_server: Server, migrated_template: str, s3_server: S3Server, tmp_path: Path, metrics_port: int
) -> AsyncIterator[Served]:
    """The API with `FILES` descriptors and a port for its metrics, and a client with a key."""
    settings = f"{SETTINGS}metrics.api_port = {metrics_port}\n"
    async with api_process(
        postgres_server, migrated_template, s3_server, tmp_path, settings=settings, files=FILES
    ) as running:
        yield running


@asynccontextmanager
async def silent(port: int, count: int) -> AsyncIterator[None]:
    """As many connections that say nothing."""
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
    try:
        yield
    finally:
        for _, writer in opened:
            writer.close()


async def test_metrics_are_apart_silence_takes_no_descriptors_and_a_stop_ends_streams_without_a_traceback(
    served: Served, metrics_port: int
) -> None:
    assert (await served.http.get("/metrics")).status_code == 404
    async with httpx.AsyncClient() as inside:
        page = (await inside.get(f"http://127.0.0.1:{metrics_port}/metrics")).text
    assert 'cogmill_http_request_seconds_count{method="GET",route="unmatched",status="404"} 1.0' in page
    async with silent(served.port, FILES + 44):
        assert (await served.http.get("/healthz")).status_code == 200
        video_id = (await served.http.post("/v1/videos", json={"prompt": "sea"})).json()["id"]

        async with AsyncExitStack() as stack:
            streams = [
                await stack.enter_async_context(
                    served.http.stream("GET", f"{base}/v1/videos/{video_id}/events", headers={"origin": ORIGIN})
                )
                for base in ("", "/video", "/video")
            ]
            assert {stream.headers["access-control-allow-origin"] for stream in streams} == {ORIGIN}
            lines = [stream.aiter_lines() for stream in streams]
            for each in lines:
                assert (await anext(each)).startswith("id: ")
            served.process.send_signal(signal.SIGTERM)
            for each in lines:  # to their ends, which are no broken connections
                async with asyncio.timeout(10):
                    async for _ in each:
                        pass
        assert await asyncio.to_thread(served.process.wait, 5) in (0, -signal.SIGTERM)
    logged = [json.loads(line) for line in served.log.read_text().splitlines()]
    assert [entry for entry in logged if entry["level"] in ("error", "critical") or "exception" in entry] == []
    assert [entry["taken"] for entry in logged if entry["event"] == "fewer_connections"] == [FILES // 2]

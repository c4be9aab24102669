"""`cogmill api` as a process: with few descriptors, and at its end."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from orchestrator.store import Store
from orchestrator.tenants import keys
from tests.support.api import MASTER_KEY
from tests.support.postgres import Server
from tests.support.s3 import S3Server
from tests.support.sockets import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

FILES = 256
ORIGIN = "https://app.example"
SETTINGS = f"""
default_model = "tiny-2b"
models.tiny-2b = {{family = "tiny-2b", source = "/models/tiny-2b"}}
pools.small = {{model = "tiny-2b"}}
api.base_path = "/video"
api.cors_origins = ["{ORIGIN}"]
"""


@dataclass
class Served:
    """One process; `log` is what it writes."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    http: httpx.AsyncClient


def started(told: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """The process, told this, writing there."""
    with log.open("wb") as sink:
        return subprocess.Popen(
            [sys.executable, "-m", "orchestrator.cli", "api"],
            env=os.environ | {f"COGMILL_{name}": value for name, value in told.items()},
            stderr=sink,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES)),
        )


@pytest_asyncio.fixture(loop_scope="module")
async def served(
    postgres_server: Server, migrated_template: str, s3_server: S3Server, tmp_path: Path
) -> AsyncIterator[Served]:
    """The API with `FILES` descriptors, and a client with a key."""
    database = postgres_server.new_database(migrated_template)
    url, bucket, port = postgres_server.url(database), s3_server.new_bucket(), free_port()
    (tmp_path / "cogmill.toml").write_text(SETTINGS)
    told = {
        "CONFIG": str(tmp_path / "cogmill.toml"), "DATABASE_URL": url, "MASTER_KEY": MASTER_KEY, "API__PORT": str(port),
        "S3__ENDPOINT_URL": bucket.endpoint_url or "", "S3__BUCKET": bucket.bucket,
        "S3__ACCESS_KEY": bucket.access_key or "",
        "S3__SECRET_KEY": bucket.secret_key.get_secret_value() if bucket.secret_key else "",
    }  # fmt: skip
    async with Store.open(url) as store:
        await store.add_key("k", "acme", "tests")
    process = started(told, tmp_path / "log")
    headers = {"authorization": f"Bearer {keys.issue(MASTER_KEY, 'k')}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=10) as client:
        try:
            async with asyncio.timeout(60):
                while not await ready(client):
                    assert process.poll() is None, (tmp_path / "log").read_text()
                    await asyncio.sleep(0.1)
            yield Served(process, port, tmp_path / "log", client)
        finally:
            process.kill()
            process.wait()
    postgres_server.drop_database(database)


async def ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False


@asynccontextmanager
async def silent(port: int, count: int) -> AsyncIterator[None]:
    """As many connections that say nothing."""
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
    try:
        yield
    finally:
        for _, writer in opened:
            writer.close()


async def test_silence_takes_no_descriptors_from_requests_and_a_stop_ends_streams_without_a_traceback(
    served: Served,
) -> None:
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

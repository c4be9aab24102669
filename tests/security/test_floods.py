"""Twenty keys cannot exhaust an API process, neither by answers that nobody reads nor by bodies that do not end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import psutil
import pytest
import pytest_asyncio

from tests.support.api_process import Served, api_process
from tests.support.postgres import Server
from tests.support.s3 import S3Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

TENANTS = tuple(f"tenant-{n}" for n in range(20))
CONNECTIONS = 1_000
FILE = bytes(range(256)) * (4 * 2**20 // 256)
# What `api.max_body_bytes` lets through.
BODY = 2**20
# How much more memory the process may hold under the flood than idle.
RATIO = 3.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def flooded(
    postgres_server: Server, migrated_template: str, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Served]:
    """A process with defaults, and tenants with a file each."""
    directory = tmp_path_factory.mktemp("floods")
    async with api_process(postgres_server, migrated_template, s3_server, directory, tenants=TENANTS) as running:
        yield running


@dataclass
class Flood:
    """Connections that begin something and then do nothing more; `statuses` of those that were answered."""

    statuses: Counter[int]
    writers: list[asyncio.StreamWriter]
    readers: list[asyncio.StreamReader]

    async def drain(self) -> None:
        for writer in self.writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self.writers), return_exceptions=True)


async def opened(served: Served, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    # Next to nothing is buffered on this side, so that what is not read stays with the sender.
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1024)
    writer.write(request)
    return reader, writer


async def flood(served: Served, requests: list[bytes], *, answered: bool) -> Flood:
    """All of them at once. `answered`: each gets the head of an answer, which is as far as anything is read."""
    pairs = await asyncio.gather(*(opened(served, request) for request in requests))
    readers, writers = [each[0] for each in pairs], [each[1] for each in pairs]
    statuses: Counter[int] = Counter()
    if answered:
        heads = await asyncio.gather(*(asyncio.wait_for(reader.readline(), 60) for reader in readers))
        statuses.update(int(head.split()[1]) for head in heads)
    else:
        await asyncio.gather(*(asyncio.wait_for(writer.drain(), 60) for writer in writers))
    return Flood(statuses, writers, readers)


def memory(served: Served) -> int:
    return psutil.Process(served.process.pid).memory_info().rss


def head(served: Served, tenant: str, method: str, path: str, length: int = 0) -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nhost: api\r\nauthorization: Bearer {served.keys[tenant]}\r\n"
        f"content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    ).encode()


async def uploaded(served: Served, tenant: str) -> str:
    files = {"file": ("rows.jsonl", FILE), "purpose": (None, "user_data")}
    headers = {"authorization": f"Bearer {served.keys[tenant]}"}
    answer = await served.http.post("/v1/files", files=files, headers=headers)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def test_memory_stays_within_its_bound_under_answers_that_nobody_reads_and_bodies_that_do_not_end(
    flooded: Served,
) -> None:
    files = {tenant: await uploaded(flooded, tenant) for tenant in TENANTS}
    idle = memory(flooded)
    half = [tenant for tenant in TENANTS for _ in range(CONNECTIONS // 2 // len(TENANTS))]
    reads = [head(flooded, tenant, "GET", f"/v1/files/{files[tenant]}/content") for tenant in half]
    bodies = [head(flooded, tenant, "POST", "/v1/videos", BODY) + b" " * (BODY - 1) for tenant in half]
    reading = await flood(flooded, reads, answered=True)
    sending = await flood(flooded, bodies, answered=False)
    try:
        async with httpx.AsyncClient(base_url=flooded.http.base_url, headers=flooded.http.headers, timeout=30) as one:
            # An answer to whoever comes after all of them.
            assert (await one.get("/readyz")).status_code == 200
        held = memory(flooded)
        print(f"idle {idle >> 20} MiB, flooded {held >> 20} MiB, {held / idle:.2f} times; {reading.statuses}")
        assert set(reading.statuses) <= {200, 503}
        assert reading.statuses[200] > 0
        assert held <= RATIO * idle
    finally:
        await reading.drain()
        await sending.drain()

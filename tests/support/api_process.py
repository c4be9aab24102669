"""`cogmill api` as a process of its own, on a real database and a real bucket."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from orchestrator.store import Store
from orchestrator.tenants import keys
from tests.support.api import MASTER_KEY
from tests.support.postgres import Server
from tests.support.s3 import S3Server
from tests.support.sockets import free_port

TENANT = "acme"
LEAST = """
default_model = "tiny-2b"
models.tiny-2b = {family = "tiny-2b", source = "/models/tiny-2b"}
pools.small = {model = "tiny-2b"}
"""


@dataclass
class Served:
    """One process; `log` is what it writes, `http` a client of the first tenant, `keys` those of all tenants."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    http: httpx.AsyncClient
    keys: dict[str, str]


@asynccontextmanager
async def api_process(
    postgres: Server, template: str, s3: S3Server, directory: Path, *, settings: str = LEAST, files: int | None = None,
    tenants: Iterable[str] = (TENANT,),
) -> AsyncIterator[Served]:  # fmt: skip
    """The process, once it is ready; with at most `files` descriptors where that is said."""
    database = postgres.new_database(template)
    url, bucket, port = postgres.url(database), s3.new_bucket(), free_port()
    (directory / "cogmill.toml").write_text(settings)
    told = {
        "CONFIG": str(directory / "cogmill.toml"), "DATABASE_URL": url, "MASTER_KEY": MASTER_KEY,
        "API__PORT": str(port), "S3__ENDPOINT_URL": bucket.endpoint_url or "", "S3__BUCKET": bucket.bucket,
        "S3__ACCESS_KEY": bucket.access_key or "",
        "S3__SECRET_KEY": bucket.secret_key.get_secret_value() if bucket.secret_key else "",
    }  # fmt: skip
    issued = {tenant: keys.issue(MASTER_KEY, f"k-{tenant}") for tenant in tenants}
    async with Store.open(url) as store:
        for tenant in issued:
            await store.add_key(f"k-{tenant}", tenant, "tests", master=1)
    process = _started(told, directory / "log", files)
    headers = {"authorization": f"Bearer {next(iter(issued.values()))}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=10) as client:
        try:
            async with asyncio.timeout(60):
                while not await ready(client):
                    assert process.poll() is None, (directory / "log").read_text()
                    await asyncio.sleep(0.1)
            yield Served(process, port, directory / "log", client, issued)
        finally:
            process.kill()
            process.wait()
    postgres.drop_database(database)


async def ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False


def _started(told: dict[str, str], log: Path, files: int | None) -> subprocess.Popen[bytes]:
    limit = None if files is None else (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)))
    with log.open("wb") as sink:
        return subprocess.Popen(
            [sys.executable, "-m", "orchestrator.cli", "api"],
            env=os.environ | {f"COGMILL_{name}": value for name, value in told.items()},
            stderr=sink,
            preexec_fn=limit,
        )

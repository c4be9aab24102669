"""The API on a real database and a real bucket, called in process; and what workers would do to its jobs."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import httpx
import pytest_asyncio
from fastapi import FastAPI

from api.app import create_app
from api.dialects import DIALECTS
from api.services import Services
from api.serving import Server
from api.shared.dialect import Dialect
from orchestrator.config import ApiSettings, S3Settings, Settings
from orchestrator.config.logins import Login
from orchestrator.domain.job import Artifact, Claim, Failure, VideoResult, WorkerRef, parse_public_id
from orchestrator.domain.outcome import Ending, settle
from orchestrator.domain.protocol import Broke, Rendered
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.rights import Rights
from orchestrator.ports import Progress, Settled
from orchestrator.store import Store
from orchestrator.tenants import keys
from tests.support.builders import prefix_of
from tests.support.logins import acting, as_api

if TYPE_CHECKING:
    from tests.support.postgres import Server as PostgresServer
    from tests.support.s3 import S3Server

MASTER_KEY = "the master key of the tests"
POOL = "small"
CLUSTER = "tests"
WORKER = WorkerRef(name="small-0", incarnation="first")
VIDEO = bytes(range(256)) * 64
COVER = b"\x89PNG and the rest of a cover"
THUMBNAIL = b"RIFF of a thumbnail"
SPRITESHEET = b"\xff\xd8 of a sprite sheet"


def api_settings(database_url: str, s3: S3Settings | None = None, **api: Any) -> Settings:
    """One tiny model in one pool, with the vendors' names as aliases."""
    return Settings.model_validate(
        {
            "database_url": database_url,
            "master_key": MASTER_KEY,
            "default_model": "tiny-2b",
            "models": {"tiny-2b": {"family": "tiny-2b", "source": "/models/tiny-2b"}},
            "pools": {POOL: {"model": "tiny-2b"}},
            "aliases": {"cogvideox-3": "tiny-2b", "sora-2": "tiny-2b"},
            "s3": s3 or S3Settings(access_key="unused", secret_key="unused"),
            "api": {"key_cache_s": 0, **api},
            "log": {"access": False},
        }
    )


@cache
def document() -> dict[str, Any]:
    """The app's own OpenAPI document, which takes a second to write: to be read only."""
    return create_app(api_settings("postgresql://nowhere/none")).openapi()


def in_process(
    app: FastAPI, key: str | None = None, *, address: str = "127.0.0.1", headers: Mapping[str, str] | None = None
) -> httpx.AsyncClient:
    """A client of an app, with this key in its header, whose connections come from `address`."""
    transport = httpx.ASGITransport(app, client=(address, 4711))
    return httpx.AsyncClient(transport=transport, base_url="http://api", headers={**_bearer(key), **(headers or {})})


def reaching(site: str, key: str | None = None) -> httpx.AsyncClient:
    """A client of a real server, patient with streams, with this key in its header."""
    return httpx.AsyncClient(base_url=site, headers=_bearer(key), timeout=20, verify=False)


def _bearer(key: str | None) -> dict[str, str]:
    return {} if key is None else {"authorization": f"Bearer {key}"}


def id_of(key: str) -> str:
    """The id in a whole key."""
    return key.split(".")[0]


@asynccontextmanager
async def serving(settings: Settings, dialects: Sequence[Dialect] = DIALECTS) -> AsyncIterator[FastAPI]:
    """The app between its startup and its shutdown, with the rights of the API's role."""
    app = create_app(as_api(settings), dialects=dialects)
    async with app.router.lifespan_context(app):
        yield app


@asynccontextmanager
async def listening(app: FastAPI, *, listener: socket.socket | None = None, **bounds: Any) -> AsyncIterator[int]:
    """The real server in front of an app that has already started; yields its port. `bounds` are of its settings."""
    # The socket listens before the server runs: who connects early waits in its backlog.
    with listener or socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(app, ApiSettings.model_validate(bounds), lifespan="off")
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await running


@dataclass
class Api:
    """`http` speaks for `tenant`."""

    app: FastAPI
    settings: Settings
    tenant: str
    http: httpx.AsyncClient

    @property
    def services(self) -> Services:
        services: Services = self.app.state.services
        return services

    async def key(self, tenant: str | None = None, **rights: Any) -> str:
        """A new key, whole, of this tenant or another, with the usual rights but for these."""
        key_id = keys.new_id()
        await self.services.store.add_key(key_id, tenant or self.tenant, "tests", rights=Rights(**rights), master=1)
        return keys.issue(MASTER_KEY, key_id)

    async def client(self, tenant: str) -> httpx.AsyncClient:
        return in_process(self.app, await self.key(tenant))

    async def rows(self) -> int:
        """How many jobs the tenant has in the table, deleted ones included."""
        connection = await asyncpg.connect(self.settings.database_url)
        try:
            return int(await connection.fetchval("SELECT count(*) FROM jobs WHERE tenant = $1", self.tenant))
        finally:
            await connection.close()

    @cached_property
    def dispatching(self) -> Store:
        """The store as a dispatcher has it."""
        found: Store = acting(self.services.store, Login.DISPATCH)
        return found

    @cached_property
    def maintaining(self) -> Store:
        """The store as a maintainer has it."""
        found: Store = acting(self.services.store, Login.MAINTAIN)
        return found

    async def claim(self, video_id: str) -> Claim:
        """Claim as a dispatcher does, until it is this job's turn."""
        await self.dispatching.beat(CLUSTER, {WORKER: POOL})
        while True:
            (claim,) = await self.dispatching.claim(POOL, CLUSTER, [WORKER])
            if claim.job_id == parse_public_id(video_id):
                return claim

    async def step(self, claim: Claim, step: int) -> None:
        await self.dispatching.record_progress(
            [Progress(job_id=claim.job_id, token=claim.token, stage="denoising", step=step)]
        )

    async def end(self, claim: Claim, ending: Ending) -> None:
        settlement = settle(claim, ending, RetryPolicy(), jitter=0)
        (result,) = await self.dispatching.settle([settlement])
        assert result.settled is Settled.APPLIED

    async def succeed(self, video_id: str) -> VideoResult:
        """Claim the job, put its objects into the bucket and publish them."""
        return await self.publish(await self.claim(video_id))

    async def publish(self, claim: Claim, *, stills: bool = False, **came_about: Any) -> VideoResult:
        """End a claim with its objects in the bucket; `stills` are the thumbnail and the sprite sheet.

        `came_about` is what else the result says.
        """
        result = VideoResult(
            video=self._put(f"{prefix_of(claim)}video.mp4", VIDEO, "video/mp4"),
            cover=self._put(f"{prefix_of(claim)}cover.png", COVER, "image/png"),
            thumbnail=self._put(f"{prefix_of(claim)}thumbnail.webp", THUMBNAIL, "image/webp") if stills else None,
            spritesheet=self._put(f"{prefix_of(claim)}spritesheet.jpg", SPRITESHEET, "image/jpeg") if stills else None,
            width=96,
            height=64,
            num_frames=33,
            fps=8,
            gpu_seconds=1.0,
            **came_about,
        )
        await self.end(claim, Rendered(result=result))
        return result

    async def fail(self, video_id: str) -> None:
        failure = Failure(code="out_of_memory", message="the render did not fit", retryable=False)
        await self.end(await self.claim(video_id), Broke(failure=failure))

    def _put(self, key: str, data: bytes, content_type: str) -> Artifact:
        artifact = self.services.objects.put(key, data, content_type)
        assert artifact.sha256 == hashlib.sha256(data).hexdigest()
        return artifact


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api_app(
    postgres_server: PostgresServer, migrated_template: str, s3_server: S3Server
) -> AsyncIterator[tuple[FastAPI, Settings]]:
    """One app for a module's tests, which `api` keeps apart by their tenants."""
    database = postgres_server.new_database(migrated_template)
    settings = api_settings(postgres_server.url(database), s3_server.new_bucket())
    async with serving(settings) as app:
        yield app, settings
    postgres_server.drop_database(database)


@pytest_asyncio.fixture(loop_scope="module")
async def api(api_app: tuple[FastAPI, Settings]) -> AsyncIterator[Api]:
    """The API for a tenant that nobody else is. Its tests run in their module's event loop."""
    opened = Api(*api_app, tenant=uuid4().hex, http=in_process(api_app[0]))
    opened.http.headers["authorization"] = f"Bearer {await opened.key()}"
    async with opened.http:
        yield opened

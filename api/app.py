"""The FastAPI application: dialects, health and errors around one set of services."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware

from api import deps, errors, health, reference
from api.bigmodel import batches as bigmodel_batches
from api.bigmodel import files as bigmodel_files
from api.bigmodel import videos as bigmodel_videos
from api.middleware import BasePath, BodyLimit, Edge
from api.native import events as openai_events
from api.native import pools as openai_pools
from api.native import webhooks as openai_webhooks
from api.openai import batches as openai_batches
from api.openai import content as openai_content
from api.openai import files as openai_files
from api.openai import models as openai_models
from api.openai import unsupported as openai_unsupported
from api.openai import videos as openai_videos
from api.wire.docs import complete
from orchestrator.config import Settings
from orchestrator.kit.loops import Loop, running
from orchestrator.telemetry.health import Pulse

# Matched in this order: busiest first, but what is spelled out before what takes an id.
_MODULES = (
    bigmodel_videos, openai_unsupported, openai_videos, openai_content, openai_events, openai_models, openai_files,
    bigmodel_files, openai_batches, bigmodel_batches, openai_webhooks, openai_pools,
    health, reference,
)  # fmt: skip

# Headers that scripts of other origins may read, beside the few that they always may.
_EXPOSED = (
    "content-disposition", "content-range", "etag", "openai-poll-after-ms", "retry-after", "x-request-id",
    "x-should-retry",
)  # fmt: skip

# How often the jobs that somebody watches are read. Nothing but their watchers depends on it.
_READ_EVERY_S = 0.5
_PATIENCE_S = 60.0

_FILES = ("/v1/files", "/api/paas/v4/files")
_VIDEOS = ("/v1/videos", "/api/paas/v4/videos")


class _App(FastAPI):
    """FastAPI, with an OpenAPI document that tells of what is read and answered by hand too."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = complete(super().openapi())
        return self.openapi_schema


def create_app(settings: Settings, *, connect: deps.Connect = deps.connect) -> FastAPI:
    """The application of these settings. `connect` opens what it serves from, when its lifespan starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with connect(settings) as services, running(Pulse(_PATIENCE_S)) as loops:
            app.state.services = services
            loops.start(Loop("feed", _READ_EVERY_S, services.feed.run_once))
            yield

    base = settings.api.base_path
    app = _App(
        title="Cogmill",
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,  # `api.reference` has a page that loads nothing from elsewhere
        redoc_url=None,
        servers=[{"url": base}] if base else None,
        dependencies=[Depends(deps.refuse_nul)],
    )
    # Each goes around those before it.
    app.add_middleware(BodyLimit, limit=partial(_largest_body, settings))
    app.add_middleware(Edge)
    app.add_middleware(BasePath, base=base)
    if settings.api.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.api.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=_EXPOSED,
        )
    errors.install(app)
    for module in _MODULES:
        app.include_router(module.router)
    return app


def _largest_body(settings: Settings, path: str) -> int:
    """Bytes that a body sent to `path` may have."""
    if path.startswith(_FILES):
        return settings.api.max_body_bytes + settings.batches.max_file_bytes
    return settings.max_request_bytes if path.startswith(_VIDEOS) else settings.api.max_body_bytes

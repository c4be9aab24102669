"""The FastAPI application: dialects, health and errors around one set of services."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from copy import deepcopy
from typing import Any

from fastapi import FastAPI

from api import deps, errors, health
from api.bigmodel import videos as bigmodel_videos
from api.docs import complete
from api.middleware import BodyLimit, Edge
from api.openai import content as openai_content
from api.openai import videos as openai_videos
from orchestrator.config import Settings

# Requests leave little garbage in cycles, and a full collection that walks every loaded module shows in the p99.
_GC_THRESHOLDS = (50_000, 20, 50)


class _App(FastAPI):
    """FastAPI, with an OpenAPI document that tells of what is read and answered by hand too."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = complete(deepcopy(super().openapi()))
        return self.openapi_schema


def create_app(settings: Settings, *, connect: deps.Connect = deps.connect) -> FastAPI:
    """The application of these settings. `connect` opens what it serves from, when its lifespan starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with connect(settings) as services:
            app.state.services = services
            with _rare_collections():
                yield

    app = _App(title="Cogmill", lifespan=lifespan, redirect_slashes=False)
    app.add_middleware(BodyLimit, max_bytes=settings.api.max_body_bytes)
    app.add_middleware(Edge)
    errors.install(app)
    for module in (bigmodel_videos, openai_videos, openai_content, health):  # matched in this order: busiest first
        app.include_router(module.router)
    return app


@contextmanager
def _rare_collections() -> Iterator[None]:
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()

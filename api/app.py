"""The FastAPI application: dialects, health and errors around one set of services."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware

from api import deps, errors, health, jwks, reference, services
from api.chapters import told
from api.console import oidc as console_oidc
from api.console import pages as console
from api.console import session as console_session
from api.dialects import DIALECTS
from api.middleware import BasePath, BodyLimit, Edge
from api.shared.dialect import Bound, Dialect
from api.wire.docs import complete
from api.wire.holding import Holding
from api.wire.routes import Router
from orchestrator.audit.refusals import FLUSH_EVERY_S as REFUSALS_EVERY_S
from orchestrator.config import Settings
from orchestrator.domain.errors import Unavailable
from orchestrator.kit.loops import Loop, running
from orchestrator.telemetry.health import Pulse
from orchestrator.tenants.uses import FLUSH_EVERY_S

# Headers that scripts of other origins may read, beside the few that they always may.
_EXPOSED = (
    "content-disposition", "content-range", "etag", "openai-poll-after-ms", "ratelimit", "ratelimit-policy",
    "retry-after", "x-request-id", "x-should-retry",
)  # fmt: skip

# How often the jobs and the campaigns that somebody watches are read. Nothing but their watchers depends on it.
_READ_EVERY_S = 0.5
_READ_CAMPAIGNS_EVERY_S = 1.0
_PATIENCE_S = 60.0


class _App(FastAPI):
    """FastAPI, with an OpenAPI document that tells of what is read and answered by hand too."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = told(complete(super().openapi()))
        return self.openapi_schema


def create_app(
    settings: Settings, *, connect: services.Connect = services.connect, dialects: Sequence[Dialect] = DIALECTS
) -> FastAPI:
    """The application of these settings and dialects; the first of these words the problems of nobody's paths.

    `connect` opens what it serves from, when its lifespan starts.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with connect(settings) as services, running(Pulse(_PATIENCE_S)) as loops:
            app.state.services = services
            loops.start(Loop("feed", _READ_EVERY_S, services.feed.run_once))
            loops.start(Loop("campaign_feed", _READ_CAMPAIGNS_EVERY_S, services.campaign_feed.run_once))
            loops.start(Loop("key_uses", FLUSH_EVERY_S, services.uses.flush))
            loops.start(Loop("refusals", REFUSALS_EVERY_S, services.refusals.flush))
            yield
            with suppress(Unavailable):  # when a key was used, and who was refused, is no reason not to stop
                await services.uses.flush()
                await services.refusals.flush()

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
    _surround(app, settings, dialects)
    errors.install(app, dialects)
    measures = [health.measures] if settings.metrics.api_port is None else []
    # The page is at every path below it that no other has.
    consoles = console_session.router, console_oidc.router, console.router
    for router in (*_routers(dialects), health.router, *measures, jwks.router, reference.router, *consoles):
        app.include_router(router)
    return app


def _surround(app: FastAPI, settings: Settings, dialects: Sequence[Dialect]) -> None:
    """Put around the routes what every request passes; each goes around those before it."""
    bounds = {path: bound for dialect in dialects for path, bound in dialect.bodies.items()}
    bounds[console_session.PATH] = lambda _: console_session.BODY_BYTES
    app.add_middleware(BodyLimit, limit=partial(_largest_body, settings, bounds), hold=deps.hold_body)
    app.add_middleware(Holding)
    app.add_middleware(Edge, access=settings.log.access)
    app.add_middleware(BasePath, base=settings.api.base_path)
    if settings.api.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.api.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=_EXPOSED,
        )


def _routers(dialects: Sequence[Dialect]) -> Iterator[Router]:
    for dialect in dialects:
        yield from dialect.routers


def _largest_body(settings: Settings, bounds: Mapping[str, Bound], path: str) -> int:
    """Bytes that a body sent to `path` may have."""
    for place, bound in bounds.items():
        if _is_at(place, path):
            return bound(settings)
    return settings.api.max_body_bytes


def _is_at(place: str, path: str) -> bool:
    """Whether a path begins so, or is the one of a thing where a name in braces stands for its id."""
    before, brace, rest = place.partition("{")
    if not brace:
        return path.startswith(place)
    behind = rest.partition("}")[2]
    thing = path[len(before) : len(path) - len(behind)]
    return path == f"{before}{thing}{behind}" and thing != "" and "/" not in thing

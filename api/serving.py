"""The server process around the application: its sockets, its descriptors, and how it stops."""

from __future__ import annotations

import asyncio
import gc
import resource
import socket
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial

import uvicorn
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send
from uvicorn.config import STARTUP_FAILURE, LifespanType

from api import errors
from api.app import create_app
from api.wire.connections import Bounds, ServerConfig
from orchestrator.config import ApiSettings, Settings
from orchestrator.telemetry import health, logs

log = logs.get("api")

# From SIGTERM on: when connections whose answers are still under way are cut, and when their requests are cancelled.
_CUT_S = 4
_CANCEL_S = 5

# Files that the process may open beside its callers' connections: the database, S3, what it fetches, uploads.
_OTHER_FILES = 256

# Requests leave little garbage in cycles, and a full collection that walks every loaded module shows in the p99.
_GC_THRESHOLDS = (50_000, 20, 50)


def serve(settings: Settings) -> None:
    """Serve the API until SIGTERM or SIGINT."""
    server = Server(create_app(settings), settings.api)
    own = settings.metrics
    measures = (
        nullcontext() if own.api_port is None else health.serve(own.host, own.api_port, health.Pulse(0), own.bearer)
    )
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    with measures, suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(STARTUP_FAILURE)


class Server(uvicorn.Server):
    """uvicorn, with bounded connections and a stop that leaves no request behind in a traceback."""

    def __init__(self, app: FastAPI, settings: ApiSettings, *, lifespan: LifespanType = "on") -> None:
        self._app = app
        config = ServerConfig(
            _until_cancelled(app),
            bounds=Bounds(
                head_bytes=settings.max_head_bytes,
                head_s=settings.head_timeout_s,
                connections=_room(settings.max_connections),
                per_address=settings.max_connections_per_address,
            ),
            word=partial(errors.worded, app.state.dialects, ""),
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            lifespan=lifespan,
            # It would believe whoever is on this machine: `api.deps` knows whom to believe.
            proxy_headers=False,
            access_log=False,
            log_config=None,
            timeout_graceful_shutdown=_CANCEL_S,
        )
        super().__init__(config)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End streams of events at once, wait for other answers a little, and cut what is still there then."""
        services = self._app.state.services
        services.feed.end_all()
        services.campaign_feed.end_all()
        cut = asyncio.get_running_loop().call_later(_CUT_S, self._cut)
        try:
            await super().shutdown(sockets)
        finally:
            cut.cancel()

    def _cut(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()


def _until_cancelled(app: FastAPI) -> Callable[[Scope, Receive, Send], object]:
    """The app, of whose requests the one that a stop cancels is a line in the log and no traceback."""

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except asyncio.CancelledError:
            if scope["type"] != "http":
                raise
            log.warning("request_cut_off", method=scope["method"], path=scope["path"])

    return served


def _room(wanted: int) -> int:
    """Connections to take in: `wanted`, or fewer where the process may not open as many files.

    The soft limit on open files is raised as far as that needs and the hard one lets it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    room = max(soft - _OTHER_FILES, soft // 2)
    log.warning("fewer_connections", wanted=wanted, taken=room, open_files=soft)
    return room

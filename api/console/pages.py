"""`/console`: the page at each of its paths, and its files, under a policy that lets nothing else load or run."""

from __future__ import annotations

import asyncio
from functools import cache
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import Response

from api import deps
from api.console.files import INDEX, File, files, index, version
from api.wire.routes import Router
from orchestrator.domain.errors import NotFound, Unavailable
from orchestrator.domain.job import Artifact

router = Router(include_in_schema=False)

_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "vary": "accept-encoding",
}
# The files of one release never change under their release's name. What is asked for by another's name is asked for
# again: it comes from a page of a release before or after this process's.
_FOR_EVER, _ASK_AGAIN = "public, max-age=31536000, immutable", "no-cache"
# Signed to see where signed URLs lead; nothing lies there. What hands out S3's credentials may hang, and the console is
# what one opens then.
_PATIENCE_S = 1.0
_NOTHING = Artifact(key="console", size=0, sha256="0" * 64, content_type="image/png")


@router.api_route("/console/static/{release}/{path:path}", methods=["GET", "HEAD"])
async def file(request: Request, release: str, path: str) -> Response:
    """A file that the page needs."""
    if path not in files() or path == INDEX:
        raise NotFound("there is no such file")
    return _answer(request, files()[path], _FOR_EVER if release == version() else _ASK_AGAIN)


@router.api_route("/console", methods=["GET", "HEAD"])
@router.api_route("/console/{path:path}", methods=["GET", "HEAD"])
async def page(request: Request, path: str = "") -> Response:
    """The one page: it shows by itself what its path names, or that there is no such page."""
    shown = _answer(request, index(deps.services(request).settings.api.base_path), _ASK_AGAIN)
    shown.headers["content-security-policy"] = policy(await _storage(request))
    return shown


@cache
def policy(storage: str) -> str:
    """What the page may load and run: this origin's own files; pictures and videos also from where signed URLs lead."""
    shown = f"'self' data: blob: {storage}".strip()
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src {shown}; media-src {shown}; "
        "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


async def _storage(request: Request) -> str:
    """The origin of signed URLs, found once; empty while it cannot be had, which no page waits for."""
    state = request.app.state
    if not hasattr(state, "storage_origin"):
        try:
            async with asyncio.timeout(_PATIENCE_S):
                url = urlsplit(await deps.services(request).downloads.sign(_NOTHING, lifetime_s=1))
        except (Unavailable, TimeoutError):
            return ""
        state.storage_origin = f"{url.scheme}://{url.netloc}"
    origin: str = state.storage_origin
    return origin


def _answer(request: Request, file: File, caching: str) -> Response:
    headers = {**_HEADERS, "etag": file.tag, "cache-control": caching}
    if file.tag in (request.headers.get("if-none-match") or ""):
        return Response(None, 304, headers)
    if file.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
        return Response(file.packed, 200, headers, file.media_type)
    return Response(file.data, 200, headers, file.media_type)

"""What the API tells of itself: `/`, `/docs`, `/llms.txt`; all from this package, under a strict security policy."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Self

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from api import deps, llms
from api.shared.dialect import Dialect
from api.wire.routes import Router
from orchestrator.domain.errors import NotFound

router = Router(include_in_schema=False)

_PAGES = Path(__file__).parent / "pages"
_HTML, _CSS, _JS, _PNG = "text/html", "text/css", "text/javascript", "image/png"

# What `/docs/NAME` serves. Swagger UI is as its publishers packed it; `pages/swagger-ui` has its licence.
_ASSETS = {
    "docs.js": (_PAGES / "docs.js", _JS),
    "docs.css": (_PAGES / "docs.css", _CSS),
    "home.css": (_PAGES / "home.css", _CSS),
    "swagger-ui.css": (_PAGES / "swagger-ui" / "swagger-ui.css", _CSS),
    "swagger-ui-bundle.js": (_PAGES / "swagger-ui" / "swagger-ui-bundle.js", _JS),
    "favicon-32x32.png": (_PAGES / "swagger-ui" / "favicon-32x32.png", _PNG),
}

# Nothing but this origin's own files; and pictures inside of Swagger UI's style sheet, which are `data:`.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    # Kept, but asked for again: a new release has new files under the same names.
    "cache-control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class _Page:
    """`tag` is the entity tag of `data`."""

    data: bytes
    media_type: str
    tag: str

    @classmethod
    def of(cls, data: bytes, media_type: str) -> Self:
        return cls(data, media_type, f'"{hashlib.sha256(data).hexdigest()}"')


@router.api_route("/", methods=["GET", "HEAD"])
async def home(request: Request) -> Response:
    """What this is and where things are: a page for people, JSON for programs."""
    base = deps.services(request).settings.api.base_path
    dialects: Sequence[Dialect] = request.app.state.dialects
    headers = {"vary": "accept"}
    if _HTML in request.headers.get("accept", ""):
        return _answer(request, _home(base), headers)
    return JSONResponse(
        {
            "name": "cogmill",
            "console": f"{base}/console",
            "docs": f"{base}/docs",
            "openapi": f"{base}/openapi.json",
            "llms": f"{base}/llms.txt",
            "base_urls": {each.name: f"{base}{each.base_url}" for each in dialects if each.base_url},
        },
        headers=headers,
    )


@router.api_route("/docs", methods=["GET", "HEAD"])
async def docs(request: Request) -> Response:
    """The API reference. Its links are relative, so that any prefix of a proxy may stand before them."""
    return _answer(request, _file(_PAGES / "docs.html", _HTML))


@router.api_route("/docs/{name}", methods=["GET", "HEAD"])
async def asset(request: Request, name: str) -> Response:
    """A file that one of the pages needs."""
    if name in _ASSETS:
        return _answer(request, _file(*_ASSETS[name]))
    if name.endswith((".md", ".txt")):
        return _answer(request, _text(request, f"/docs/{name}"))
    raise NotFound("there is no such file")


@router.api_route("/llms.txt", methods=["GET", "HEAD"])
async def index(request: Request) -> Response:
    """Where a language model finds what (llmstxt.org)."""
    return _answer(request, _text(request, "/llms.txt"))


def _text(request: Request, path: str) -> _Page:
    """One of the texts for language models, which are written once. Raises `NotFound`."""
    app = request.app
    if not hasattr(app.state, "texts"):
        written = llms.texts(app.openapi(), deps.services(request).settings.api.base_path)
        app.state.texts = {place: _Page.of(text.encode(), _kind_of(place)) for place, text in written.items()}
    pages: Mapping[str, _Page] = app.state.texts
    if path not in pages:
        raise NotFound("there is no such file")
    return pages[path]


def _kind_of(place: str) -> str:
    return "text/markdown" if place.endswith(".md") else "text/plain"


@cache
def _file(path: Path, media_type: str) -> _Page:
    return _Page.of(path.read_bytes(), media_type)


@cache
def _home(base: str) -> _Page:
    return _Page.of((_PAGES / "home.html").read_text().replace("BASE", base).encode(), _HTML)


def _answer(request: Request, page: _Page, more: Mapping[str, str] = MappingProxyType({})) -> Response:
    headers = {**_HEADERS, "etag": page.tag, **more}
    if request.headers.get("if-none-match") == page.tag:
        return Response(None, 304, headers)
    return Response(page.data, 200, headers, page.media_type)

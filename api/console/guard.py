"""Requests by the console's cookie: which cookie it is, and whether the console itself sends the request.

A browser sends a cookie whoever has made it send the request. So what could change anything must carry the session's
CSRF token, which only the console's own page can read, and must not come from another origin.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import Response

from orchestrator.config import Settings
from orchestrator.domain.addresses import IPAddress
from orchestrator.domain.errors import ForgedRequest
from orchestrator.tenants import cookies
from orchestrator.tenants.sessions import Opened, Sessions

_SESSION, _SIGN_IN = "cogmill_session", "cogmill_sign_in"
_CSRF = "x-csrf-token"
# RFC 9110, section 9.2.1.
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def session_cookie(request: Request) -> str | None:
    """What the session's cookie holds, if there is one."""
    if "cookie" not in request.headers:
        return None
    return request.cookies.get(_name(request, _SESSION))


def sign_in_cookie(request: Request) -> str | None:
    """What the browser has kept of a sign-in with an issuer."""
    return request.cookies.get(_name(request, _SIGN_IN))


async def opened(request: Request, sessions: Sessions, cookie: str, address: IPAddress | None) -> Opened:
    """The session of a request that the console has sent. Raises what `Sessions.open` does, and `ForgedRequest`."""
    safe = request.method in _SAFE
    # Whoever follows a link from elsewhere to what is only read is not refused: pages of others cannot read it.
    if not safe or request.headers.get("sec-fetch-mode", "navigate") != "navigate":
        check_origin(request)
    found = await sessions.open(cookie, address)
    if not safe and not cookies.same(request.headers.get(_CSRF), found.csrf):
        raise ForgedRequest(f"the header {_CSRF} has not the token of this session: reload the page")
    return found


def check_origin(request: Request) -> None:
    """Raise `ForgedRequest` for what a page of another origin has sent.

    As Go's `http.CrossOriginProtection` (words.filippo.io/csrf): browsers say it in Sec-Fetch-Site, which no script can
    change, over https and on this machine; elsewhere in Origin. What says neither is no browser's.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        fine = site in ("same-origin", "none")
    else:
        origin = request.headers.get("origin")
        fine = origin is None or origin in _own_origins(request)
    if not fine:
        raise ForgedRequest("another site's page has sent this request")


def keep_session(request: Request, response: Response, cookie: str) -> None:
    """Have the browser keep a session, until it ends by itself."""
    settings = _settings(request)
    _keep(request, response, _SESSION, cookie, settings.console.session_s, strict=True, path=_root(settings))


def drop_session(request: Request, response: Response) -> None:
    settings = _settings(request)
    _keep(request, response, _SESSION, "", 0, strict=True, path=_root(settings))


def keep_sign_in(request: Request, response: Response, cookie: str, life_s: float) -> None:
    """Have the browser keep a sign-in while it is away.

    Lax: it is an issuer's page that leads it back, by GET, and a strict cookie would stay at home.
    """
    _keep(request, response, _SIGN_IN, cookie, life_s, strict=False, path=_root(_settings(request)))


def drop_sign_in(request: Request, response: Response) -> None:
    keep_sign_in(request, response, "", 0)


def _keep(
    request: Request, response: Response, name: str, value: str, life_s: float, *, strict: bool, path: str
) -> None:
    response.set_cookie(
        _name(request, name),
        value,
        max_age=int(life_s),
        path=path,
        secure=_secure(request),
        httponly=True,
        samesite="strict" if strict else "lax",
    )


def _name(request: Request, name: str) -> str:
    """With the prefix for which browsers take it from nobody but this host (RFC 6265bis, section 4.1.3)."""
    return f"__Host-{name}" if _secure(request) and _root(_settings(request)) == "/" else name


def _secure(request: Request) -> bool:
    """Whether the browser speaks https. A proxy's word that is wrong costs its own caller the cookie, and no more."""
    url = _settings(request).console.url
    if url is not None:
        return url.startswith("https:")
    said = request.headers.get("x-forwarded-proto", request.url.scheme)
    return said.split(",")[0].strip() == "https"


def _own_origins(request: Request) -> tuple[str, ...]:
    """This server's origins, as a browser may know it: of `console.url`, and of the request itself."""
    url = urlsplit(_settings(request).console.url or "")
    host = request.headers.get("host", "")
    return f"{url.scheme}://{url.netloc}", f"http://{host}", f"https://{host}"


def _root(settings: Settings) -> str:
    return settings.api.base_path or "/"


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.services.settings
    return settings

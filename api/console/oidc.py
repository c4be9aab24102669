"""`/console/oidc`: to an issuer and back, with a session. What goes wrong is said on the console's own page."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import RedirectResponse, Response

from api import deps
from api.console import guard
from api.wire.problem import problem_of
from api.wire.routes import Router
from orchestrator.domain.errors import Crowded, IssuerUnavailable, LimitExceeded, NoAccess, NotFound, Unauthenticated
from orchestrator.telemetry import logs
from orchestrator.tenants.signing_in import HOME, LIFE_S, Arrived

router = Router(include_in_schema=False)

_log = logs.get("oidc")
_NOBODYS = {"cache-control": "no-store", "referrer-policy": "no-referrer"}


@router.get("/console/oidc/{issuer}")
async def begin(request: Request, issuer: str, next: str | None = None) -> Response:
    """Lead the browser to an issuer; `next` is where in the console it wants to be then."""
    services = deps.services(request)
    instead_of = services.sessions.id_of(guard.session_cookie(request))
    try:
        leaving = await services.signing_in.begin(issuer, place=next, instead_of=instead_of)
    except (IssuerUnavailable, NotFound) as error:
        return _failed(request, error)
    answer = RedirectResponse(leaving.location, 303, _NOBODYS)
    guard.keep_sign_in(request, answer, leaving.cookie, LIFE_S)
    return answer


@router.get("/console/oidc/{issuer}/callback")
async def end(request: Request, issuer: str) -> Response:
    """Whom the issuer has led back is signed in.

    The browser comes from another site, so it has not sent the session's cookie, which is strict, and does not send
    the new one when it follows to the console, either. That page needs none, and what it then asks for by itself is
    this site's own: the cookie comes along.
    """
    services = deps.services(request)
    request.state.address = deps.address_of(request)
    said = {name: values[0] for name in request.query_params if len(values := request.query_params.getlist(name)) == 1}
    try:
        with deps.noting_refusals(request, None):
            arrived = await services.signing_in.end(issuer, said, guard.sign_in_cookie(request))
        answer = await _signed_in(request, arrived)
    except (Unauthenticated, NoAccess, NotFound, IssuerUnavailable, LimitExceeded, Crowded) as error:
        answer = _failed(request, error)
    guard.drop_sign_in(request, answer)
    return answer


async def _signed_in(request: Request, arrived: Arrived) -> Response:
    sessions = deps.services(request).sessions
    await deps.let_in(request, arrived.person)
    begun = await sessions.begin(
        arrived.person, name=arrived.name, instead_of=arrived.instead_of, sign_in=arrived.sign_in
    )
    answer = RedirectResponse(_place(request, arrived.place), 303, _NOBODYS)
    guard.keep_session(request, answer, begun.cookie)
    return answer


def _failed(request: Request, error: Exception) -> Response:
    """To the page for signing in, with a word of ours: what others say is in the log alone."""
    code = problem_of(error).code
    _log.warning("sign_in_failed", code=code, error=str(error)[:200], request_id=request.state.request_id)
    query = urlencode({"error": code, "request": request.state.request_id})
    return RedirectResponse(_place(request, f"{HOME}/sign-in?{query}"), 303, _NOBODYS)


def _place(request: Request, path: str) -> str:
    return f"{deps.services(request).settings.api.base_path}{path}"

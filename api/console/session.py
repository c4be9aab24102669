"""`/console/session` and `/console/about`: who is signed in to the console, and what it may know before anybody is."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from api import deps
from api.console import guard
from api.wire.bodies import read_json, typed
from api.wire.replies import unix
from api.wire.routes import Router
from orchestrator.domain.errors import InvalidField, Unauthenticated
from orchestrator.domain.rights import ROLES, Scope
from orchestrator.tenants import keys
from orchestrator.tenants.sessions import Opened

router = Router(include_in_schema=False)

# Of a body: it is read before anybody is known.
BODY_BYTES = 4096
PATH = "/console/session"
_HEADERS = {"cache-control": "no-store"}


class SignIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    key: str = Field(min_length=1, max_length=1000)


@router.post(PATH)
async def sign_in(request: Request) -> Response:
    """Begin a session with a whole key, in the place of the one that the browser has."""
    services = deps.services(request)
    request.state.address = address = deps.address_of(request)
    guard.check_origin(request)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise InvalidField("must be application/json, which no form of another site sends", param="content-type")
    whole = typed(SignIn, await read_json(request)).key.strip()
    with deps.noting_refusals(request, whole):
        # A token would not outlive ten minutes, and a session made of it would.
        if not isinstance(keys.parse(whole), keys.Key):
            raise Unauthenticated("this is no key of the form id.secret", reason="malformed")
        key = await services.keyring.key(whole, address)
    await deps.let_in(request, key)
    begun = await services.sessions.begin(key, instead_of=services.sessions.id_of(guard.session_cookie(request)))
    answer = JSONResponse(shown(begun.opened), 201, _HEADERS)
    guard.keep_session(request, answer, begun.cookie)
    return answer


@router.get(PATH)
async def session(request: Request) -> Response:
    """Who is signed in. Asking is no use of it that another site could make: the answer is only for this origin."""
    return JSONResponse(shown(await _opened(request)), 200, _HEADERS)


@router.delete(PATH)
async def sign_out(request: Request) -> Response:
    """End the session, everywhere. One that is over is none to end."""
    services = deps.services(request)
    answer = Response(None, 204, _HEADERS)
    guard.drop_session(request, answer)
    try:
        opened = await _opened(request)
    except Unauthenticated:
        return answer
    await services.sessions.end(opened.session.id)
    return answer


@router.get("/console/about")
async def about(request: Request) -> Response:
    """What there is to sign in with, for who is not signed in yet."""
    issuers = deps.services(request).signing_in.issuers
    named = [{"name": name, "title": title} for name, title in sorted(issuers.items())]
    return JSONResponse({"issuers": named, "version": _version()}, 200, {"cache-control": "no-cache"})


async def _opened(request: Request) -> Opened:
    """The session of a request. Raises as `guard.opened` does, and `Unauthenticated` where there is none."""
    services = deps.services(request)
    request.state.address = address = deps.address_of(request)
    cookie = guard.session_cookie(request)
    if cookie is None:  # as whoever opens the console for the first time: nothing was tried
        raise Unauthenticated("nobody is signed in", reason="missing")
    with deps.noting_refusals(request, None):
        opened = await guard.opened(request, services.sessions, cookie, address)
    await deps.let_in(request, opened.key)
    return opened


@cache
def _version() -> str:
    return version("cogmill")


def shown(opened: Opened) -> dict[str, Any]:
    """What the console knows of its session; the cookie it cannot read."""
    key, person = opened.key, opened.key.person
    scopes = key.rights.scopes
    role = next((role for role, its in reversed(ROLES.items()) if its <= scopes), None)
    return {
        "tenant": key.tenant,
        "name": opened.session.name if person else key.name,
        "key_id": None if person else key.id,
        "person": key.id if person else None,
        "rights": sorted(scopes),
        "role": role,
        "all_tenants": Scope.VIEW in scopes,
        "csrf": opened.csrf,
        "expires_at": unix(opened.session.expires_at),
    }

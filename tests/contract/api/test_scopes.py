"""Every route that needs a key names one scope, in the document and in fact: with it a key gets in, without it not."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import Route

from api.app import create_app
from api.wire.scopes import scope_of
from orchestrator.domain.rights import Scope
from tests.support.api import Api, api_settings, document, in_process

pytestmark = pytest.mark.asyncio(loop_scope="module")


def _security(operation: dict[str, Any]) -> str:
    """The scope that an operation of the document names."""
    ((scheme, scopes),) = operation["security"][0].items()
    (scope,) = scopes
    assert scheme in DOCUMENT["components"]["securitySchemes"]
    return str(scope)


APP = create_app(api_settings("postgresql://nowhere/none"))
DOCUMENT: dict[str, Any] = document()
# What needs no key at all, of the document's routes.
OPEN = {"/healthz", "/readyz", "/metrics", "/.well-known/jwks.json"}
# The console's: its page and files are everybody's, its sessions need a cookie (`tests/security/test_sessions.py`).
CONSOLE = {"/console", "/console/{path}", "/console/static/{release}/{path}", "/console/about", "/console/session"}
CONSOLE |= {"/console/oidc/{issuer}", "/console/oidc/{issuer}/callback"}
OPERATIONS = [
    (method.upper(), path, operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if path not in OPEN
]
# Beside the document's: the same as its GET.
HIDDEN = [("HEAD", "/v1/videos/{video_id}/content", Scope.READ)]
ROUTES = [(method, path, Scope(_security(operation))) for method, path, operation in OPERATIONS] + HIDDEN


async def test_every_documented_route_needs_one_scope_or_is_open_to_everybody() -> None:
    for path in OPEN:
        for operation in DOCUMENT["paths"][path].values():
            assert "security" not in operation
    for _, path, operation in OPERATIONS:
        assert len(operation["security"]) == 1, path
        assert "403" in operation["responses"], path


async def test_every_scope_opens_some_route() -> None:
    assert {scope for _, _, scope in ROUTES} == set(Scope)


async def test_a_route_names_a_scope_exactly_where_it_is_closed_without_a_key(api: Api) -> None:
    closed: set[tuple[str, str]] = set()
    open_: set[str] = set()
    async with in_process(api.app) as http:
        for route in (context.original_route for context in iter_route_contexts(APP.routes)):
            assert isinstance(route, Route)
            path = route.path.replace(":path", "")
            if path in CONSOLE:
                continue
            for method in route.methods or ():
                answer = await http.request(method, path.replace("{", "").replace("}", ""))
                if answer.status_code != 401:
                    open_.add(path)
                    continue
                closed.add((method, path))
                assert isinstance(route, APIRoute)
                assert scope_of(route.openapi_extra) in Scope
    assert closed == {(method, path) for method, path, _ in ROUTES}
    assert open_ == {"/", "/docs", "/docs/{name}", "/openapi.json", "/llms.txt", *OPEN}


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
async def test_a_key_with_all_but_a_routes_scope_is_told_which_one_it_lacks(
    api: Api, method: str, path: str, scope: Scope
) -> None:
    async with in_process(api.app, await api.key(scopes=frozenset(Scope) - {scope})) as http:
        answer = await http.request(method, path.replace("{", "").replace("}", ""))
    assert answer.status_code == 403
    assert answer.headers["www-authenticate"] == f'Bearer error="insufficient_scope", scope="{scope}"'
    if method == "HEAD":
        return
    error = answer.json()["error"]
    assert f"Missing scopes: {scope}." in error["message"]
    if path.startswith("/api/paas/"):
        assert error["code"] == "1220"
    else:
        code = "operators_only" if scope is Scope.OPERATE else "missing_scope"
        assert (error["code"], error["type"], error["param"]) == (code, "invalid_request_error", None)


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
async def test_a_key_with_a_routes_scope_alone_gets_in(api: Api, method: str, path: str, scope: Scope) -> None:
    async with in_process(api.app, await api.key(scopes=frozenset({scope}))) as http:
        answer = await http.request(method, path.replace("{", "").replace("}", ""))
    assert answer.status_code not in (401, 403)
    assert answer.status_code < 500

"""Every route that needs a key names one scope, in the document and in fact: with it a key gets in, without it not."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from api import deps
from api.app import create_app
from api.wire.scopes import scope_of
from orchestrator.domain.rights import Rights, Scope
from orchestrator.tenants import keys
from tests.support.api import MASTER_KEY, Api, api_settings, in_process

pytestmark = pytest.mark.asyncio(loop_scope="module")


def _security(operation: dict[str, Any]) -> str:
    """The scope that an operation of the document names."""
    ((scheme, scopes),) = operation["security"][0].items()
    (scope,) = scopes
    assert scheme in DOCUMENT["components"]["securitySchemes"]
    return str(scope)


APP = create_app(api_settings("postgresql://nowhere/none"))
DOCUMENT: dict[str, Any] = APP.openapi()
# What needs no key at all, of the document's routes.
OPEN = {"/healthz", "/readyz", "/metrics", "/.well-known/jwks.json"}
OPERATIONS = [
    (method.upper(), path, operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if path not in OPEN
]
# Beside the document's: the same as its GET.
HIDDEN = [("HEAD", "/v1/videos/{video_id}/content", Scope.READ)]
ROUTES = [(method, path, Scope(_security(operation))) for method, path, operation in OPERATIONS] + HIDDEN


async def keyed(api: Api, scopes: frozenset[Scope]) -> str:
    key_id = keys.new_id()
    await api.services.store.add_key(key_id, api.tenant, "tests", rights=Rights(scopes=scopes))
    return keys.issue(MASTER_KEY, key_id)


async def test_every_documented_route_needs_one_scope_or_is_open_to_everybody() -> None:
    for path in OPEN:
        for operation in DOCUMENT["paths"][path].values():
            assert "security" not in operation
    for _, path, operation in OPERATIONS:
        assert len(operation["security"]) == 1, path
        assert "403" in operation["responses"], path


async def test_every_scope_but_that_of_administrators_opens_some_route() -> None:
    assert {scope for _, _, scope in ROUTES} == set(Scope) - {Scope.ADMIN}


async def test_a_route_names_a_scope_exactly_where_it_takes_a_key() -> None:
    routes = [context.original_route for context in iter_route_contexts(APP.routes)]
    keyed_routes = [route for route in routes if isinstance(route, APIRoute) and _takes_a_key(route.dependant)]
    for route in keyed_routes:
        assert scope_of(route.openapi_extra) in Scope
    assert {route.path for route in routes if route not in keyed_routes} == {
        "/", "/docs", "/docs/{name}", "/openapi.json", *OPEN,
    }  # fmt: skip
    assert {route.path.replace(":path", "") for route in keyed_routes} == {path for _, path, _ in ROUTES}


def _takes_a_key(part: Dependant) -> bool:
    return part.call in (deps._key, deps._tenant) or any(map(_takes_a_key, part.dependencies))


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
async def test_a_key_with_all_but_a_routes_scope_is_told_which_one_it_lacks(
    api: Api, method: str, path: str, scope: Scope
) -> None:
    async with in_process(api.app, await keyed(api, frozenset(Scope) - {scope})) as http:
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
    async with in_process(api.app, await keyed(api, frozenset({scope}))) as http:
        answer = await http.request(method, path.replace("{", "").replace("}", ""))
    assert answer.status_code not in (401, 403)
    assert answer.status_code < 500

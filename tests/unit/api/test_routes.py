"""Routers that are asked only about what may be theirs answer for everything that is."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.wire.routes import Router

one, many, nested, anything = Router(), Router(), Router(prefix="/v1/nested"), Router()


@one.get("/v1/jobs/{job_id}")
@many.get("/v1/keys")
@many.get("/v1/keys/{key_id}/{more:path}")
@many.get("/v1/kinds")
@nested.get("")
@nested.get("/{deep}")
@anything.get("/{rest:path}")
def told() -> str:
    return "told"


anything.include_router(nested, prefix="/within")


@pytest.fixture(scope="module")
def http() -> TestClient:
    app = FastAPI()
    for router in (one, many, nested, anything):
        app.include_router(router)
    return TestClient(app)


PATHS = (
    "/v1/jobs/a", "/v1/keys", "/v1/keys/a/b/c", "/v1/kinds", "/v1/nested", "/v1/nested/x", "/within/v1/nested/x",
    "/", "/x/y",
)  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_every_path_is_found(http: TestClient, path: str) -> None:
    assert http.get(path).json() == "told"
    assert http.post(path).status_code == 405


@pytest.mark.parametrize(("router", "path"), [(one, "/v1/job"), (many, "/v2/keys"), (nested, "/v1")])
def test_a_router_tries_no_route_for_a_path_that_begins_otherwise(
    router: Router, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Router.__base__, "matches", lambda *_: pytest.fail("it was asked"))
    router.matches({"path": path})

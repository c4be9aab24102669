"""Text that no column can hold (a NUL, half a surrogate pair) is refused by every route, wherever it stands.

The walk goes over the routes and the bodies of the app's own OpenAPI document.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.api import Api, document

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOCUMENT = document()
OPERATIONS = [
    (method.upper(), path, operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
    if method in ("get", "post", "delete")
]
UNFIT = {"a NUL": "a\x00b", "half a surrogate pair": "a\ud800b"}
# What a body must have beside the field that is tried.
BASE = {"prompt": "a lighthouse", "model": "cogvideox-3"}


def _asked(path: str, thing: str = "x") -> str:
    """The path with something in each of its parameters."""
    head, brace, tail = path.partition("{")
    return head if not brace else head + thing + _asked(tail.partition("}")[2], thing)


def _parameters(kind: str) -> list[tuple[str, str, str]]:
    return [
        (method, path, parameter["name"])
        for method, path, operation in OPERATIONS
        for parameter in operation.get("parameters", ())
        if parameter.get("in") == kind
    ]


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return _resolved(DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    return schema


def _fields() -> Iterator[tuple[str, str, str]]:
    """Every field of every JSON body."""
    for method, path, operation in OPERATIONS:
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is not None:
            for name in _resolved(content["schema"]).get("properties", {}):
                yield method, path, name


@pytest.mark.parametrize(("method", "path", "name"), _parameters("query"))
async def test_a_query_parameter_with_a_nul_is_refused_by_its_name(api: Api, method: str, path: str, name: str) -> None:
    answer = await api.http.request(method, f"{_asked(path)}?{name}=a%00b")
    assert answer.status_code == 400, answer.text
    assert name in answer.text


@pytest.mark.parametrize(("method", "path"), sorted({(method, path) for method, path, _ in _parameters("path")}))
async def test_an_id_with_a_nul_is_nobodys(api: Api, method: str, path: str) -> None:
    answer = await api.http.request(method, _asked(path, "a%00b"))
    assert answer.status_code in (400, 404), answer.text


@pytest.mark.parametrize("unfit", UNFIT)
@pytest.mark.parametrize(("method", "path", "name"), sorted(set(_fields())))
async def test_a_field_with_unfit_text_is_the_callers_mistake(
    api: Api, method: str, path: str, name: str, unfit: str
) -> None:
    for value in (UNFIT[unfit], {"deep": UNFIT[unfit]}, [UNFIT[unfit]], {UNFIT[unfit]: "value"}):
        body = json.dumps({**BASE, name: value})
        answer = await api.http.request(
            method, _asked(path), content=body, headers={"content-type": "application/json"}
        )
        assert answer.status_code < 500, f"{body}: {answer.text}"


@pytest.mark.parametrize("header", ["idempotency-key", "last-event-id", "x-request-id", "authorization"])
@pytest.mark.parametrize("value", [b"a\xed\xa0\x80b", b"\xff\xfe", b"a\x0bb"])
async def test_a_header_with_unfit_bytes_breaks_nothing(api: Api, header: str, value: bytes) -> None:
    headers = [(header.encode(), value)]
    if header != "authorization":
        headers.append((b"authorization", api.http.headers["authorization"].encode()))
    answer = await api.http.post("/v1/videos", json={"prompt": "a lighthouse"}, headers=headers)
    assert answer.status_code < 500, answer.text

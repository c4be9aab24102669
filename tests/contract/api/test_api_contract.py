"""The OpenAPI document is whole, and the API keeps to it whatever schemathesis sends."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import pytest_asyncio
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

import api as api_package
from api.chapters import MARK, ORDER, chapters
from api.wire.headers import ANSWERED, OF_STATUS, SENT
from api.wire.problem import problem_of
from orchestrator.config import Settings
from orchestrator.domain import errors
from tests.support.api import Api, document, in_process, listening

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOCUMENT: dict[str, Any] = document()
# What makes up a message (RFC 9110, RFC 9112), and so is in no list of headers.
FRAMING = {"content-type", "content-length", "transfer-encoding", "connection", "date", "server"}


def _asked(document: dict[str, Any]) -> dict[str, Any]:
    """The document as schemathesis takes it: with a word of OpenAPI 3.2 for the events of streams.

    And without the headers that every route takes alike, which are sent to each route below.
    """
    asked = deepcopy(document)
    for path in asked["paths"].values():
        for operation in path.values():
            operation["parameters"] = [each for each in operation["parameters"] if "$ref" not in each]
            if stream := operation["responses"].get("200", {}).get("content", {}).get("text/event-stream"):
                stream["itemSchema"] = stream.pop("schema")["x-item-schema"]
    return asked


SCHEMA = schemathesis.openapi.from_dict(_asked(DOCUMENT))
OPERATIONS = [
    (method.upper(), path, operation) for path, item in DOCUMENT["paths"].items() for method, operation in item.items()
]


def headers_are_documented(_: object, response: Any, case: schemathesis.Case) -> None:
    """Nothing is answered that the document has no word for."""
    _documented(case.operation.method.upper(), case.operation.path, response.status_code, response.headers)


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    headers_are_documented,
]
EXAMPLES = 8
# How the code reads a header by its name.
READS = re.compile(r"(?:headers\.get(?:list)?\(|request\.headers\[|_header\(scope, b|name == b)\"([\w-]+)\"")


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=[f"{o[0]} {o[1]}" for o in OPERATIONS])
async def test_a_route_is_documented_with_examples_and_its_errors(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    assert operation["summary"]
    assert operation["description"]
    for parameter in operation.get("parameters", []):
        assert "$ref" in parameter or parameter["in"] == "path" or parameter["description"]
    for body in operation.get("requestBody", {}).get("content", {}).values():
        assert body["examples"]
        for example in body["examples"].values():
            _valid(example["value"], body["schema"])
    answers = operation["responses"]
    for answer in answers.values():
        assert answer["description"]
        if shown := answer.get("content", {}).get("application/json"):
            _valid(shown["example"], shown["schema"])
        assert "x-request-id" in answer["headers"]
    assert {"400", "413", "500"} <= answers.keys()
    if "security" in operation:
        assert {"401", "403", "429", "503"} <= answers.keys()
    if "requestBody" in operation:
        assert {"400", "408", "413"} <= answers.keys()
    if "{" in path:
        assert "404" in answers
    sent = {parameter["$ref"].rpartition("/")[2] for parameter in operation["parameters"] if "$ref" in parameter}
    assert sent == SENT.keys() == DOCUMENT["components"]["parameters"].keys()


async def test_the_document_is_valid_openapi() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert [error.message for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


async def test_every_group_says_what_it_is_for_and_has_examples_of_its_routes() -> None:
    groups: dict[str, set[tuple[str, str]]] = {}
    for method, path, operation in OPERATIONS:
        groups.setdefault(operation["tags"][0], set()).add((method, path))
    assert groups.keys() == set(ORDER)
    assert [tag["name"] for tag in DOCUMENT["tags"]] == list(ORDER)
    for tag, chapter in chapters().items():
        assert chapter.description
        assert set() != chapter.examples.keys() <= groups[tag]
    shown = {(method, path) for method, path, operation in OPERATIONS if MARK in operation["description"]}
    assert shown == {route for chapter in chapters().values() for route in chapter.examples}


async def test_every_header_that_the_code_reads_is_documented_or_is_the_consoles_or_a_proxys() -> None:
    root = Path(api_package.__file__).parent
    files = [file for file in root.rglob("*.py") if not {"client", "console"} & set(file.relative_to(root).parts)]
    read = {name.lower() for file in files for name in READS.findall(file.read_text())}
    told = {each["name"] for _, _, operation in OPERATIONS for each in operation["parameters"] if "in" in each}
    # A key, a body and its form have words of their own in OpenAPI; the others belong to pages, and to proxies.
    elsewhere = {"authorization", "content-type", "content-length"}
    assert read - elsewhere - {"accept", "if-none-match", "x-forwarded-for"} <= told | SENT.keys()
    assert SENT.keys() | {"range", "if-range"} <= read


PROBLEMS: list[Exception] = [
    errors.Unauthenticated("no", reason="invalid"), errors.MissingScope("read"), errors.NotFound("no"),
    errors.LimitExceeded("no", limit="queued", retry_after_s=3, most=1, used=1), errors.Unavailable(),
    errors.LimitExceeded("no", limit="most_urgent", retry_after_s=None),
    errors.LimitExceeded("no", limit="largest_request", retry_after_s=None),
    errors.SubmitUnconfirmed(), errors.Crowded(), errors.IntegrityError(), RuntimeError(),
]  # fmt: skip


@pytest.mark.parametrize("error", PROBLEMS, ids=lambda error: type(error).__name__)
async def test_the_headers_of_a_problem_are_those_of_its_status(error: Exception) -> None:
    problem = problem_of(error)
    assert problem.headers.keys() <= set(OF_STATUS.get(str(problem.status), ()))


async def test_what_every_route_refuses_is_documented_on_every_route(api: Api) -> None:
    sent = {"x-request-id": "mine", "traceparent": f"00-{1:032x}-{1:016x}-01", "tracestate": "a=b"}
    async with in_process(api.app, headers=sent) as nobody:
        for method, path, operation in OPERATIONS:
            there, nowhere = re.sub(r"{[^}]*}", "x", path), re.sub(r"{[^}]*}", "%00", path)
            asked = [(f"{there}?x=%00", {}, 400), (there, {"content-length": "999999999999"}, 413)]
            if "security" in operation:
                asked.append((there, {}, 401))
            if nowhere != path:
                asked.append((nowhere, {}, 404))
            for url, headers, status in asked:
                answer = await nobody.request(method, url, headers=headers)
                assert answer.status_code == status, (method, url)
                assert answer.headers["x-request-id"] == "mine"
                _documented(method, path, status, answer.headers)
                schema = operation["responses"][str(status)]["content"]["application/json"]["schema"]
                _valid(answer.json(), schema)


async def test_the_examples_of_schemas_are_valid() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        for example in schema.get("examples", ()):
            _valid(example, schema)


def _documented(method: str, path: str, status: int, headers: Any) -> None:
    """Fails where an answer's status, or one of its headers, is not in the document."""
    answer = DOCUMENT["paths"][path][method.lower()]["responses"][str(status)]
    named = {name.lower() for name in headers}
    assert named - FRAMING <= answer["headers"].keys() <= ANSWERED.keys(), f"{method} {path} {status}"


def _valid(example: object, schema: dict[str, Any]) -> None:
    jsonschema.validate(example, schema | {"components": DOCUMENT["components"]})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(api_app: tuple[FastAPI, Settings]) -> AsyncIterator[str]:
    async with listening(api_app[0]) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(("method", "path"), [operation[:2] for operation in OPERATIONS])
async def test_whatever_is_sent_is_answered_as_documented(
    api: Api, server: str, method: str, path: str, mode: GenerationMode
) -> None:
    video_id = str((await api.http.post("/v1/videos", json={"prompt": "sea"})).json()["id"])
    await api.succeed(video_id)
    # Ids made up are all the same 404, so what is sent as it should be is about a video that is there.
    named = next((name for name in ("video_id", "job_id") if f"{{{name}}}" in path), None)
    known = {"path_parameters": {named: video_id}} if named and mode.is_positive else {}
    # Nobody works on this campaign, so that its events would never end.
    if "{campaign_id}" in path and mode.is_positive and not path.endswith("/events"):
        made = await api.http.post("/v1/campaigns", json={"prompt": "a {product}"})
        known = {"path_parameters": {"campaign_id": made.raise_for_status().json()["id"]}}
    headers = {"authorization": api.http.headers["authorization"]}

    def attack() -> None:
        @settings(
            max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(SCHEMA[path][method].as_strategy(mode, **known))
        def each(case: schemathesis.Case) -> None:
            case.call_and_validate(base_url=server, headers=headers, checks=CHECKS, timeout=20)

        each()

    with suppress(Unsatisfiable):  # nothing about such a route can be wrong
        await asyncio.to_thread(attack)

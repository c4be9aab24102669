"""The OpenAPI document is whole, and the API keeps to it whatever schemathesis sends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import jsonschema
import pytest
import pytest_asyncio
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from orchestrator.config import Settings
from tests.support.api import Api, document, listening

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOCUMENT: dict[str, Any] = document()
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS = [
    (method.upper(), path, operation) for path, item in DOCUMENT["paths"].items() for method, operation in item.items()
]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 8


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=[f"{o[0]} {o[1]}" for o in OPERATIONS])
async def test_a_route_is_documented_with_examples_and_its_errors(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    assert operation["summary"]
    assert operation["description"]
    for parameter in operation.get("parameters", []):
        assert parameter["in"] == "path" or parameter["description"]
    for body in operation.get("requestBody", {}).get("content", {}).values():
        assert body["examples"]
        for example in body["examples"].values():
            _valid(example["value"], body["schema"])
    answers = operation["responses"]
    for answer in answers.values():
        assert answer["description"]
        if shown := answer.get("content", {}).get("application/json"):
            _valid(shown["example"], shown["schema"])
    if "security" in operation:
        assert {"401", "429", "500", "503"} <= answers.keys()
    if "requestBody" in operation:
        assert {"400", "408", "413"} <= answers.keys()


async def test_the_examples_of_schemas_are_valid() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        for example in schema.get("examples", ()):
            _valid(example, schema)


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

"""The parts of the OpenAPI document that FastAPI cannot see, since bodies, keys and errors are handled by hand."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

from pydantic import BaseModel, JsonValue
from starlette.exceptions import HTTPException

from api.wire.headers import add_headers, parameter, sent_with
from api.wire.problem import Problem, problem_of
from api.wire.scopes import SECURITY_SCHEMES, keyed
from orchestrator.domain.errors import (
    IntegrityError,
    LimitExceeded,
    MissingScope,
    NotFound,
    Outdated,
    PlanChanged,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unsupported,
)
from orchestrator.domain.rights import Scope

_SCHEMAS = "#/components/schemas/{model}"
# Stands for null until the document is complete: FastAPI leaves nulls out, those of examples too.
_NULL = "\0null"

# One problem for each status that a route may document; its dialect words it.
_PROBLEMS: dict[int, tuple[str, Exception]] = {
    400: ("A field that is wrong, or asks for what cannot be done.", Unsupported("must be even", param="size")),
    401: ("No key, or one that is not good.", Unauthenticated("the API key is not valid", reason="invalid")),
    403: (
        "The key lacks the scope of the route, or may not be used from there; or its tenant may not be so urgent.",
        MissingScope("read"),
    ),
    404: ("Nothing of this tenant has that id.", NotFound("no video with the id 'video_0'")),
    408: ("The body did not come in time.", HTTPException(408, "the body did not come in time")),
    409: (
        "The plan has changed; the message says its token.",
        PlanChanged("the plan has changed: it is plan_7c", token="plan_7c"),
    ),
    412: ("It is no longer in the version of `If-Match`.", Outdated("it has been changed: it is in version 4, not 3")),
    413: ("The body is too large.", TooLarge("the body may have at most 1048576 bytes")),
    416: ("The range lies behind the end.", HTTPException(416, "the object has 4096 bytes")),
    429: (
        "One of the tenant's limits.",
        LimitExceeded("at most 100 videos may wait", limit="queued", retry_after_s=30),
    ),
    500: ("A bug of ours.", RuntimeError()),
    502: ("The stored file is damaged.", IntegrityError()),
    503: ("A part of the service does not answer; trying again helps.", Unavailable()),
}
# A query that holds a NUL is refused on every route, and so is a body that says it is too large.
_OF_ALL = (400, 413, 500)
_OF_KEYED = (*_OF_ALL, 401, 403, 429, 503)
_OF_BODIES = (408,)


class Route(TypedDict):
    """What a route's decorator takes: `@router.get(path, **docs.route(...))`."""

    responses: dict[int | str, dict[str, Any]]
    openapi_extra: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A body that a route reads by hand: its fields, examples of it by name, and whether it may be a form too."""

    fields: type[BaseModel]
    examples: Mapping[str, JsonValue] = field(default_factory=dict)
    multipart: bool = False
    json: bool = True
    required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """A body that is bytes: an example of it in each media type that it may have."""

    media: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Docs:
    """Documents the routes of one dialect: `error` models its errors, and `word` makes one of a problem."""

    error: type[BaseModel]
    word: Callable[[Problem], BaseModel]

    def route(
        self,
        scope: Scope,
        *,
        example: JsonValue = None,
        reads: Body | Raw | None = None,
        errors: Collection[int] = (),
        answers: Mapping[int | str, dict[str, Any]] | None = None,
        sends: Collection[str] = (),
        takes: Mapping[str, str] | None = None,
    ) -> Route:
        """A route that needs a key with this scope. `example` is a 200's body; `answers` are more, or other, answers.

        `errors` are statuses beyond those that every keyed route, and every route with a body, may answer; `sends` are
        the headers of what is none, and `takes` those that it reads by hand, described.
        """
        statuses = {*_OF_KEYED, *errors, *(_OF_BODIES if reads is not None else ())}
        responses: dict[int | str, dict[str, Any]] = {status: self.error_of(status) for status in sorted(statuses)}
        if example is not None:
            responses[200] = {"content": {"application/json": {"example": _kept(example)}}}
        responses |= {status: _replaced(answer, None, _NULL) for status, answer in (answers or {}).items()}
        return Route(
            responses={
                status: sent_with(answer, sends) if int(status) in (200, 206) else answer
                for status, answer in responses.items()
            },
            openapi_extra=keyed(scope)
            | ({} if reads is None else _request_body(reads))
            | ({} if takes is None else {"parameters": [parameter(*each) for each in takes.items()]}),
        )

    def open_route(self, *statuses: int) -> dict[int | str, dict[str, Any]]:
        """The errors of a route that needs no key: these, and those of every route."""
        return {status: self.error_of(status) for status in sorted({*_OF_ALL, *statuses})}

    def error_of(self, status: int) -> dict[str, Any]:
        """What a route answers with this status, described and with an example."""
        description, error = _PROBLEMS[status]
        example = self.word(problem_of(error)).model_dump(mode="json")
        return {
            "model": self.error,
            "description": description,
            "content": {"application/json": {"example": _kept(example)}},
        }


def listed(example: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """An example of a page with one thing on it."""
    return {
        "object": "list",
        "data": [example],
        "first_id": example["id"],
        "last_id": example["id"],
        "has_more": False,
    }


def binary(*media_types: str) -> dict[str, Any]:
    """The `content` of an answer that is bytes."""
    return {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in media_types}}


def _request_body(body: Body | Raw) -> dict[str, Any]:
    if isinstance(body, Raw):
        schema = {"type": "string", "format": "binary"}
        raw = {
            kind: {"schema": schema, "examples": {"typical": {"value": example}}}
            for kind, example in body.media.items()
        }
        return {"requestBody": {"required": True, "content": raw}}
    media: dict[str, Any] = {"schema": body.fields.model_json_schema(ref_template=_SCHEMAS)}
    if body.examples:
        media["examples"] = {name: {"value": _kept(value)} for name, value in body.examples.items()}
    kinds = (["application/json"] if body.json else []) + (["multipart/form-data"] if body.multipart else [])
    return {"requestBody": {"required": body.required, "content": dict.fromkeys(kinds, media)}}


def _kept(value: JsonValue) -> Any:
    return _replaced(value, None, _NULL)


def _replaced(value: Any, old: str | None, new: str | None) -> Any:
    match value:
        case dict():
            return {name: _replaced(inner, old, new) for name, inner in value.items()}
        case list():
            return [_replaced(inner, old, new) for inner in value]
    return new if value == old else value


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """A document with its keys, headers, nested models where references point, and nulls; without FastAPI's own 422."""
    document = _replaced(document, _NULL, None)
    components = document.setdefault("components", {})
    components["securitySchemes"] = SECURITY_SCHEMES
    schemas = components.setdefault("schemas", {})
    add_headers(document)
    for path in document["paths"].values():
        for operation in path.values():
            for media in operation.get("requestBody", {}).get("content", {}).values():
                schemas |= media["schema"].pop("$defs", {})
            operation["responses"].pop("422", None)  # parameters that are wrong are a 400 (`api.wire.problem`)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return document

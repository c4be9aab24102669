"""Request bodies, read leniently: JSON objects and multipart forms as plain dicts, then typed fields, or a named error.

Null means absent. Numbers may be written as strings, as forms and many hand-written clients do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, NoReturn, TypeVar

from fastapi import Request
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError
from starlette.datastructures import UploadFile

from orchestrator.domain.errors import InvalidField, RequestError, Unsupported

Fields = TypeVar("Fields", bound=BaseModel)

_SIZE = re.compile(r"\s*(\d{1,5})\s*[xX]\s*(\d{1,5})\s*")
_MAX_PARTS = 100


# ---------------------------------------------------------------- types of fields


def _not_bool(value: object) -> object:
    if isinstance(value, bool):
        raise PydanticCustomError("invalid_value", "must be a number, not a boolean")
    return value


def _parse_size(value: object) -> tuple[int, int]:
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise PydanticCustomError("invalid_value", "must be a string like '720x480', width first")
    return int(match[1]), int(match[2])


def _refuse(value: object) -> object:
    if value:
        raise PydanticCustomError("unsupported_value", "this deployment cannot do that yet")
    return value


Integer = Annotated[int, BeforeValidator(_not_bool), Field(ge=-(2**63), lt=2**63)]
Number = Annotated[float, BeforeValidator(_not_bool), Field(allow_inf_nan=False)]
SizeField = Annotated[
    tuple[int, int],
    BeforeValidator(_parse_size),
    WithJsonSchema({"type": "string", "pattern": r"^\d+x\d+$", "examples": ["720x480"]}),
]
# Part of the dialect and of later work. Refused by name when set: ignoring it would render another video than asked.
Later = Annotated[Any, AfterValidator(_refuse)]
OnlyFalse = Annotated[bool, AfterValidator(_refuse)]


# ---------------------------------------------------------------- reading


async def read_json(request: Request) -> dict[str, Any]:
    """The body as a JSON object. Raises `InvalidField` when it is none, and `TooLarge` from the size limit."""
    media_type = content_type(request)
    if media_type not in ("", "application/json") and not media_type.endswith("+json"):
        raise InvalidField(f"the body must be application/json, not {media_type[:80]}", param=None, code="invalid_body")
    raw = await request.body()
    if not raw:
        raise InvalidField("the body is empty; send a JSON object", param=None, code="invalid_body")
    return parse_object(raw)


def parse_object(raw: bytes | str, param: str | None = None) -> dict[str, Any]:
    """Strict JSON (no NaN, no Infinity) whose top is an object."""
    try:
        value = json.loads(raw, parse_constant=_no_constant)
    except RecursionError:
        raise InvalidField("the JSON is nested too deeply", param=param, code="invalid_json") from None
    except ValueError as error:
        raise InvalidField(f"not valid JSON: {error}", param=param, code="invalid_json") from None
    if not isinstance(value, dict):
        raise InvalidField("must be a JSON object", param=param, code="invalid_body")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


async def read_form(request: Request) -> dict[str, Any]:
    """A multipart body as a dict. `a[b]` becomes a nested key and `a[]` a list; files without content are absent.

    Source: how the OpenAI clients encode `extra_body` and optional files. Raises `HTTPException` 400 from the parser.
    """
    fields: dict[str, Any] = {}
    async with request.form(max_files=_MAX_PARTS, max_fields=_MAX_PARTS) as form:
        for name, value in form.multi_items():
            root, bracket, rest = name.partition("[")
            if isinstance(value, UploadFile):
                if value.size:
                    fields[root] = {"file": value.filename}
            elif not bracket:
                fields[name] = value
            elif rest == "]":
                _nested(fields, root, list).append(value)
            else:
                _nested(fields, root, dict)[rest.removesuffix("]")] = value
    return fields


def _nested(fields: dict[str, Any], root: str, kind: type[Any]) -> Any:
    value = fields.setdefault(root, kind())
    if not isinstance(value, kind):
        raise InvalidField("is given in two forms that contradict each other", param=root)
    return value


def content_type(request: Request) -> str:
    """The media type of the body, in lower case and without parameters; empty when the caller did not say."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def typed(fields: type[Fields], body: Mapping[str, Any]) -> Fields:
    """Validate a body; raise the `RequestError` of the first field that is wrong."""
    try:
        return fields.model_validate({name: value for name, value in body.items() if value is not None})
    except ValidationError as error:
        raise _explain(error) from None


def _explain(error: ValidationError) -> RequestError:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    param = str(first["loc"][0]) if first["loc"] else None
    match first["type"]:
        case "missing":
            return InvalidField("is required", param=param, code="missing")
        case "extra_forbidden":
            return InvalidField("is not a field of this request", param=param, code="unknown_field")
        case "unsupported_value":
            return Unsupported(first["msg"], param=param)
        case _:
            return InvalidField(first["msg"], param=param)

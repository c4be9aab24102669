"""Request bodies, read leniently: JSON objects and multipart forms as plain dicts, then typed fields, or a named error.

Null means absent. Numbers may be written as strings, as forms and many hand-written clients do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, LiteralString, NoReturn, TypeVar

from fastapi import Request
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError

from api.wire.forms import UploadedFile, Value, parse_form
from orchestrator.domain import jsontext
from orchestrator.domain.errors import InvalidField, RequestError, Unsupported

Fields = TypeVar("Fields", bound=BaseModel)

_SIZE = re.compile(r"\s*(\d{1,5})\s*[xX]\s*(\d{1,5})\s*", re.ASCII)
# Python's own readers of numbers would also take 1_0 and digits of other scripts.
_INTEGER = re.compile(r"\s*[+-]?\d+(\.0*)?\s*", re.ASCII)
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", re.ASCII | re.IGNORECASE)
# RFC 3339, section 5.6.
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
# The last second of the year 9999: what every client's date type can still hold.
LAST_SECOND = 253_402_300_799

# More values than any request has; a body of many millions would keep the event loop for seconds.
_MAX_VALUES = 10_000

# A root, and then nothing, `[]`, or keys in brackets.
_FORM_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")


# ---------------------------------------------------------------- types of fields


def _integer(value: object) -> object:
    return _written(value, _INTEGER, "must be an integer")


def _number(value: object) -> object:
    return _written(value, _NUMBER, "must be a number")


def _written(value: object, pattern: re.Pattern[str], message: LiteralString) -> object:
    if isinstance(value, bool) or (isinstance(value, str) and not pattern.fullmatch(value)):
        raise PydanticCustomError("invalid_value", message)
    return value


def _parse_size(value: object) -> tuple[int, int]:
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise PydanticCustomError("invalid_value", "must be a string like '720x480', width first")
    return int(match[1]), int(match[2])


def _parse_size_or_auto(value: object) -> tuple[int, int] | None:
    return None if isinstance(value, str) and value.strip().lower() == "auto" else _parse_size(value)


def _moment(value: object) -> datetime:
    """RFC 3339, or Unix seconds. Pydantic's own reader would guess between seconds and milliseconds."""
    try:
        if isinstance(value, str) and _TIME.fullmatch(value):
            moment = datetime.fromisoformat(value).astimezone(UTC)
        else:
            moment = datetime.fromtimestamp(_unix_seconds.validate_python(value), UTC)
        if 0 <= moment.timestamp() <= LAST_SECOND:
            return moment
    except (ValueError, OverflowError, OSError):  # the last two: numbers that no calendar of the system holds
        pass
    raise PydanticCustomError("invalid_value", "must be an RFC 3339 time with its zone, or Unix seconds, from 1970 on")


def _mapping(value: object) -> object:
    if isinstance(value, str):
        try:
            return parse_object(value)
        except InvalidField:
            raise PydanticCustomError("invalid_value", "must be an object, or the JSON text of one") from None
    return value


def unsupported(why: str) -> AfterValidator:
    """For a field that would change the video and that nothing here can do: refused by name when it is set."""

    def refuse(value: object) -> object:
        if value:
            raise PydanticCustomError("unsupported_value", "{why}", {"why": why})
        return value

    return AfterValidator(refuse)


Integer = Annotated[
    int,
    BeforeValidator(_integer),
    Field(ge=-(2**63), lt=2**63),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string", "pattern": r"^[+-]?\d+$"}]}),
]
Number = Annotated[
    float,
    BeforeValidator(_number),
    Field(allow_inf_nan=False),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^[+-]?\d+(\.\d+)?$"}]}),
]
SizeField = Annotated[
    tuple[int, int],
    BeforeValidator(_parse_size),
    WithJsonSchema({"type": "string", "pattern": r"^\d{1,5}x\d{1,5}$", "examples": ["720x480"]}),
]
# With `auto`, which is None: what an absent size is, said aloud.
AutoSizeField = Annotated[
    tuple[int, int] | None,
    BeforeValidator(_parse_size_or_auto),
    WithJsonSchema({"type": "string", "pattern": r"^(\d{1,5}x\d{1,5}|auto)$", "examples": ["720x480", "auto"]}),
]
Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "number", "minimum": 0}]}),
]
Texts = Annotated[dict[str, str], BeforeValidator(_mapping)]
_unix_seconds: TypeAdapter[float] = TypeAdapter(Number)


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


async def read_optional(request: Request) -> dict[str, Any]:
    """As `read_json`; a body that is left out is an empty object."""
    return await read_json(request) if await request.body() else {}


def parse_object(raw: bytes | str, param: str | None = None) -> dict[str, Any]:
    """Strict JSON (no NaN, no Infinity) whose top is an object of at most ten thousand values."""
    if _separators(raw) > _MAX_VALUES:
        raise InvalidField(f"the JSON has more than {_MAX_VALUES} values", param=param, code="invalid_json")
    try:
        value = jsontext.parse(raw, parse_constant=_no_constant)
    except ValueError as error:
        raise InvalidField(f"not valid JSON: {error}", param=param, code="invalid_json") from None
    if not isinstance(value, dict):
        raise InvalidField("must be a JSON object", param=param, code="invalid_body")
    return value


def _separators(raw: bytes | str) -> int:
    """No fewer than the values of a JSON text; counting them takes a hundredth of the time that parsing does."""
    if isinstance(raw, str):
        return sum(map(raw.count, ",[{"))
    return sum(map(raw.count, (b",", b"[", b"{")))


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


async def read_form(request: Request) -> dict[str, Any]:
    """A multipart body as a dict. `a[b]` becomes a nested key and `a[]` a list.

    A file without name and content, as browsers send for an untouched field, is absent.

    Source: how the OpenAI clients encode `extra_body` and optional files. Raises `InvalidField` and `TooLarge`.
    """
    return nested(parse_form(await request.body(), request.headers["content-type"]))


def nested(form: Iterable[tuple[str, Value]]) -> dict[str, Any]:
    """The parts of a form as a dict, names in brackets resolved. Raises `InvalidField`."""
    fields: dict[str, Any] = {}
    for name, value in form:
        match = _FORM_NAME.fullmatch(name)
        if match is None:
            raise InvalidField("is not a name that a form field may have", param=name, code="invalid_body")
        root, brackets = match.groups()
        if isinstance(value, UploadedFile) and not value.filename and not value.data:
            continue
        if brackets == "[]":
            _nested(fields, root, list).append(value)
        elif brackets:
            _set_once(_nested(fields, root, dict), brackets[1:-1], value, param=name)
        else:
            _set_once(fields, root, value, param=name)
    return fields


def _nested(fields: dict[str, Any], root: str, kind: type[Any]) -> Any:
    value = fields.setdefault(root, kind())
    if not isinstance(value, kind):
        raise InvalidField("is given in two forms that contradict each other", param=root)
    return value


def _set_once(fields: dict[str, Any], key: str, value: object, *, param: str) -> None:
    if key in fields:
        raise InvalidField("is given twice", param=param)
    fields[key] = value


def content_type(request: Request) -> str:
    """The media type of the body, in lower case and without parameters; empty when the caller did not say."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def typed(fields: type[Fields], body: Mapping[str, Any], *, nulls: bool = False, nested: bool = False) -> Fields:
    """Validate a body; raise the `RequestError` of the first field that is wrong.

    With `nulls` null is a value of its own, as a patch has it. With `nested` what is wrong inside of a field is named
    whole, `budget.amount`, and otherwise its field.
    """
    try:
        return fields.model_validate({name: value for name, value in body.items() if nulls or value is not None})
    except ValidationError as error:
        raise _explain(error, nested=nested) from None


def _explain(error: ValidationError, *, nested: bool) -> RequestError:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    names = [str(name) for name in first["loc"]]
    param = ".".join(names if nested else names[:1]) or None
    match first["type"]:
        case "missing":
            return InvalidField("is required", param=param, code="missing")
        case "extra_forbidden":
            return InvalidField("is not a field of this request", param=param, code="unknown_field")
        case "unsupported_value":
            return Unsupported(first["msg"], param=param)
        case _:
            return InvalidField(first["msg"], param=param)

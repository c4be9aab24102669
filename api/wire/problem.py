"""What went wrong, free of any dialect: the one value between an exception and the body of an error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from orchestrator.domain.errors import (
    Crowded,
    Forbidden,
    IntegrityError,
    InvalidField,
    IssuerUnavailable,
    LimitExceeded,
    MissingScope,
    NotFound,
    Outdated,
    PlanChanged,
    RequestError,
    StoreRefused,
    SubmitUnconfirmed,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

_RETRY_AFTER_S = 2
_LONGEST_NAME = 80
_HTTP_CODES = {404: "unknown_route", 405: "method_not_allowed", 408: "request_timeout", 413: "request_too_large"}
_NO_RETRY = {"x-should-retry": "false"}
_SOON = ("requests_per_s", "queued", "large_bodies", "requests_in_flight", "body_bytes", "downloads")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """`status` is HTTP's; `code` a stable word; `param` the field to blame, by its neutral name, or None."""

    status: int
    code: str
    message: str
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def problem_of(error: Exception) -> Problem:
    """The problem that an exception stands for. What nobody foresaw becomes a 500 that tells nothing of the inside."""
    match error:
        case Unauthenticated():
            headers = {"www-authenticate": "Bearer"}
            return Problem(status=401, code=f"api_key_{error.reason}", message=error.message, headers=headers)
        case MissingScope():  # RFC 6750, section 3.1
            headers = {"www-authenticate": f'Bearer error="insufficient_scope", scope="{error.scope}"'}
            return Problem(status=403, code=error.code, message=error.message, headers=headers)
        case LimitExceeded():
            return _limit(error)
        case RequestError():
            # Cut, since the name of an unknown field is the caller's own and may be most of the body.
            param = None if error.param is None else error.param[:_LONGEST_NAME]
            return Problem(status=_status(error), code=error.code, message=error.message, param=param)
        case SubmitUnconfirmed():
            message = "the request may have been accepted or not: look for its video before you send it again"
            return Problem(status=503, code="unavailable", message=message, headers=_NO_RETRY)
        case StoreRefused():
            headers = {"retry-after": str(_RETRY_AFTER_S), "x-should-retry": "true"}
            message = "the database takes nothing at this moment, so nothing was accepted; please try again"
            return Problem(status=503, code="unavailable", message=message, headers=headers)
        case Crowded():
            headers = {"retry-after": str(_RETRY_AFTER_S), "x-should-retry": "true"}
            message = "too much is going on in this process at this moment, so nothing was begun; please try again"
            return Problem(status=503, code="unavailable", message=message, headers=headers)
        case IssuerUnavailable():
            headers = {"retry-after": str(_RETRY_AFTER_S), "x-should-retry": "true"}
            return Problem(status=503, code="unavailable", message=str(error), headers=headers)
        case Unavailable():
            headers = {"retry-after": str(_RETRY_AFTER_S), "x-should-retry": "true"}
            message = "a part of the service does not answer; please try again"
            return Problem(status=503, code="unavailable", message=message, headers=headers)
        case IntegrityError():
            message = "the stored file of this video is damaged"
            return Problem(status=502, code="file_damaged", message=message, headers=_NO_RETRY)
        case RequestValidationError():
            return _invalid_parameter(error)
        case HTTPException():
            return _http(error)
        case _:
            # Not to be retried by machines: a POST that broke after its commit would render twice.
            return Problem(status=500, code="internal_error", message="internal error", headers=_NO_RETRY)


def _status(error: RequestError) -> int:
    match error:
        case Forbidden():
            return 403
        case NotFound():
            return 404
        case PlanChanged():
            return 409
        case Outdated():
            return 412
        case TooLarge():
            return 413
        case _:
            return 400


def _limit(error: LimitExceeded) -> Problem:
    """`retry-after` where waiting helps; and machines are told to wait where that is a matter of seconds.

    Where its value is known, so do `ratelimit-policy` and `ratelimit` (draft-ietf-httpapi-ratelimit-headers-10).
    """
    if error.limit == "largest_request":
        return Problem(status=400, code=f"limit_{error.limit}", message=error.message, param=error.param)
    if error.limit == "most_urgent":
        return Problem(status=403, code=f"limit_{error.limit}", message=error.message, param=error.param)
    headers = {"x-should-retry": str(error.limit in _SOON and error.retry_after_s is not None).lower()}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    if error.most is not None and error.used is not None:
        headers["ratelimit-policy"] = f'"{error.limit}";q={error.most}'
        headers["ratelimit"] = f'"{error.limit}";r={max(0, error.most - error.used)}'
    return Problem(status=429, code=f"limit_{error.limit}", message=error.message, param=error.param, headers=headers)


def _invalid_parameter(error: RequestValidationError) -> Problem:
    first = error.errors()[0]
    return Problem(status=400, code=InvalidField.code, message=str(first["msg"]), param=_name(first["loc"]))


def _name(loc: Sequence[int | str]) -> str:
    """The name of what a place lies in: of one of several values, that of all."""
    return next((part for part in reversed(loc) if isinstance(part, str)), str(loc[-1]))


def _http(error: HTTPException) -> Problem:
    detail = str(error.detail)
    if detail == HTTPStatus(error.status_code).phrase:
        detail = {404: "there is no such route", 405: "this route does not have that method"}.get(
            error.status_code, detail
        )
    code = _HTTP_CODES.get(error.status_code, RequestError.code)
    return Problem(status=error.status_code, code=code, message=detail, headers=error.headers or {})

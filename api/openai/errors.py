"""Problems as the OpenAI dialect words them."""

from __future__ import annotations

from api.openai.schemas import ErrorKind, OpenAIError, OpenAIErrorDetail
from api.wire.docs import Docs
from api.wire.problem import Problem

_CODES = {
    "missing": "missing_required_parameter",
    "too_long": "string_above_max_length",
    "unknown_field": "unknown_parameter",
    "limit_requests_per_s": "rate_limit_exceeded",
    "limit_queued": "rate_limit_exceeded",
    "limit_large_bodies": "rate_limit_exceeded",
    "limit_requests_in_flight": "rate_limit_exceeded",
    "limit_body_bytes": "rate_limit_exceeded",
    "limit_downloads": "rate_limit_exceeded",
    "limit_gpu_seconds_per_day": "insufficient_quota",
    "limit_largest_request": "request_limit_exceeded",
}


# The neutral names that this dialect calls otherwise.
_FIELDS = {"image": "input_reference", "idempotency_key": "Idempotency-Key"}


def body(problem: Problem) -> OpenAIError:
    """`{"error": {message, type, param, code}}`; the message names the field too, for readers of logs."""
    param = None if problem.param is None else _FIELDS.get(problem.param, problem.param)
    message = problem.message if param is None else f"{param}: {problem.message}"
    code = "invalid_api_key" if problem.code.startswith("api_key_") else _CODES.get(problem.code, problem.code)
    return OpenAIError(error=OpenAIErrorDetail(message=message, type=_kind(problem, code), param=param, code=code))


def _kind(problem: Problem, code: str) -> ErrorKind:
    if problem.status == 429:
        return "insufficient_quota" if code == "insufficient_quota" else "rate_limit_error"
    return "server_error" if problem.status >= 500 else "invalid_request_error"


# Documents this dialect's routes.
DOCS = Docs(OpenAIError, body)

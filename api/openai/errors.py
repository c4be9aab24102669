"""Problems as the OpenAI dialect words them."""

from __future__ import annotations

from api.docs import Dialect
from api.openai.schemas import OpenAIError, OpenAIErrorDetail
from api.problem import Problem

_CODES = {
    "missing": "missing_required_parameter",
    "too_long": "string_above_max_length",
    "unknown_field": "unknown_parameter",
}


def body(problem: Problem) -> OpenAIError:
    """`{"error": {message, type, param, code}}`; the message names the field too, for readers of logs."""
    message = problem.message if problem.param is None else f"{problem.param}: {problem.message}"
    code = "invalid_api_key" if problem.code.startswith("api_key_") else _CODES.get(problem.code, problem.code)
    kind = "server_error" if problem.status >= 500 else "invalid_request_error"
    return OpenAIError(error=OpenAIErrorDetail(message=message, type=kind, param=problem.param, code=code))


# Documents this dialect's routes.
DOCS = Dialect(OpenAIError, body)

"""Problems as the bigmodel dialect words them: business codes, which are strings of digits."""

from __future__ import annotations

from api.bigmodel.schemas import BigmodelError, BigmodelErrorDetail, BigmodelRefusal, ContentFilter
from api.wire.docs import Docs
from api.wire.problem import Problem
from orchestrator.domain.errors import Refused

_BAD_REQUEST = "1210"
_OUR_FAULT = "500"
_CODES = {
    "api_key_missing": "1001",
    "api_key_malformed": "1002",
    "api_key_invalid": "1000",
    "api_key_revoked": "1000",
    "api_key_expired": "1003",
    "api_key_unverified": "1004",
    "missing_scope": "1220",
    "operators_only": "1220",
    "address_not_allowed": "1220",
    "no_access": "1220",
    "method_not_allowed": "1212",
    "unknown_route": "1222",
    "not_found": "1222",
    "model_not_found": "1211",
    "missing": "1213",
    "invalid_value": "1214",
    "unsupported_value": "1214",
    "too_long": "1261",
    "unavailable": "1234",
    "idempotency_key_reused": "1231",
    "limit_requests_per_s": "1303",
    "limit_queued": "1302",
    "limit_large_bodies": "1302",
    "limit_requests_in_flight": "1302",
    "limit_body_bytes": "1302",
    "limit_downloads": "1302",
    "limit_open_batches": "1302",
    "limit_waiting_rows": "1302",
    "limit_files": "1302",
    "limit_stored_bytes": "1302",
    "limit_gpu_seconds_per_day": "1304",
    "limit_most_urgent": "1220",
    Refused.code: "1301",
}

# The neutral names that this dialect calls otherwise.
_FIELDS = {
    "seconds": "duration",
    "image": "image_url",
    "idempotency_key": "request_id",
    "profile": "quality",
}


def body(problem: Problem) -> BigmodelError:
    """`{"error": {code, message}}`; the message begins with the field to blame, which has no other place."""
    message = problem.message
    if problem.param is not None:
        message = f"{_FIELDS.get(problem.param, problem.param)}: {message}"
    code = _CODES.get(problem.code, _OUR_FAULT if problem.status >= 500 else _BAD_REQUEST)
    detail = BigmodelErrorDetail(code=code, message=message)
    if problem.code == Refused.code:
        return BigmodelRefusal(error=detail, contentFilter=[ContentFilter()])
    return BigmodelError(error=detail)


# Documents this dialect's routes.
DOCS = Docs(BigmodelError, body)

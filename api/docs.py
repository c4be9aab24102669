"""The parts of the OpenAPI document that FastAPI cannot see, since bodies and keys are read by hand."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

_KEY = "API key"


def json_body(fields: type[BaseModel], *, multipart: bool = False) -> dict[str, Any]:
    """`openapi_extra` of a route that reads this body, as JSON and perhaps as a multipart form."""
    media = {"schema": fields.model_json_schema()}
    content = {"application/json": media} | ({"multipart/form-data": media} if multipart else {})
    return KEYED | {"requestBody": {"required": True, "content": content}}


# `openapi_extra` of every route that needs a key.
KEYED: dict[str, Any] = {"security": [{_KEY: []}]}

SECURITY_SCHEMES = {
    _KEY: {
        "type": "http",
        "scheme": "bearer",
        "description": "`Authorization: Bearer id.secret`; `Bearer` may be left out.",
    }
}

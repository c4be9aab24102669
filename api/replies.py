"""The answers of both dialects when all went well."""

from __future__ import annotations

from fastapi.responses import Response
from pydantic import BaseModel


def reply(body: BaseModel, *, headers: dict[str, str] | None = None, exclude_none: bool = False) -> Response:
    """A 200 with this body, serialised once."""
    return Response(body.model_dump_json(exclude_none=exclude_none), 200, headers, "application/json")

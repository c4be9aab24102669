"""The answers of both dialects when all went well."""

from __future__ import annotations

from datetime import datetime
from typing import overload

from fastapi.responses import Response
from pydantic import BaseModel


def reply(body: BaseModel, *, headers: dict[str, str] | None = None, exclude_none: bool = False) -> Response:
    """A 200 with this body, serialised once."""
    return Response(body.model_dump_json(exclude_none=exclude_none), 200, headers, "application/json")


@overload
def unix(moment: datetime) -> int: ...


@overload
def unix(moment: datetime | None) -> int | None: ...


def unix(moment: datetime | None) -> int | None:
    """A moment in whole Unix seconds, as every answer has it."""
    return None if moment is None else int(moment.timestamp())

"""Uploads of one file: a form or a bare body that goes to the disk as it comes in, whatever its size."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import Request

from api.wire.bodies import content_type, nested
from api.wire.forms import FormReader, SpooledFile
from api.wire.holding import held
from orchestrator.domain.errors import InvalidField
from orchestrator.kit.scratch import scratch
from orchestrator.kit.threads import Threads

_PIECE = 256 * 1024
# A disk that hangs must not take the threads that others need.
_WRITING = Threads("uploads", count=8, deadline_s=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A received file, where its bytes are, and the form's other fields."""

    path: Path
    filename: str
    size: int
    fields: dict[str, Any]


@asynccontextmanager
async def streamed(request: Request) -> AsyncIterator[Path]:
    """Receive a body as it is; the file is gone when the block ends.

    Raises `ScratchUnavailable`, or what the body limit raises.
    """
    with scratch() as spool:
        async for piece in _pieces(request):
            await _WRITING.run(spool.file.write, piece)
        await _WRITING.run(spool.file.flush)
        yield spool.path


@asynccontextmanager
async def received(request: Request, name: str) -> AsyncIterator[Upload]:
    """Receive a form whose file is the field `name`; the file is gone when the block ends.

    Raises `InvalidField`, `ScratchUnavailable`, or what the body limit raises.
    """
    if content_type(request) != "multipart/form-data":
        raise InvalidField("the body must be multipart/form-data", param=None, code="invalid_body")
    with scratch() as spool:
        reader = FormReader(request.headers["content-type"], spool.file)
        async for piece in _pieces(request):
            await _WRITING.run(reader.write, piece)
        await _WRITING.run(spool.file.flush)
        fields = nested(reader.end())
        file = fields.pop(name, None)
        if file is None:
            raise InvalidField("is required", param=name, code="missing")
        if not isinstance(file, SpooledFile):
            raise InvalidField("must be a file", param=name)
        if any(isinstance(value, SpooledFile) for value in fields.values()):
            raise InvalidField(f"the form's file belongs into {name}", param=None, code="invalid_body")
        yield Upload(path=spool.path, filename=file.filename, size=file.size, fields=fields)


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    """The body in pieces that are worth a call to the disk; the last one may be empty."""
    piece = bytearray()
    async for chunk in request.stream():
        piece += chunk
        if len(piece) >= _PIECE:
            yield bytes(piece)
            held(request).write_body(len(piece))
            piece.clear()
    yield bytes(piece)

"""Answers that are made while they are sent, and let go of what they are made of when their caller goes away."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping

from fastapi.responses import StreamingResponse
from starlette.types import Send


class Streamed(StreamingResponse):
    """Sends pieces as they are made, and closes what makes them at the end, whichever it is.

    Starlette leaves a broken-off one to the garbage collector, which may come late: until then a download would keep
    its connection to S3.
    """

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None] | AsyncGenerator[str, None],
        status: int,
        headers: Mapping[str, str],
        kind: str,
    ) -> None:
        super().__init__(pieces, status, headers, kind)
        self._pieces = pieces

    async def stream_response(self, send: Send) -> None:
        try:
            await super().stream_response(send)
        finally:
            await self._pieces.aclose()

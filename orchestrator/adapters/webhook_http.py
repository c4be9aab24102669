"""Carries a delivery to its receiver: one guarded POST, bounded in time, whose answer's body nobody reads."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from datetime import UTC, datetime

import httpx

from orchestrator.adapters.fetch import PUBLIC, ForbiddenAddress, GuardedTransport, check_url
from orchestrator.adapters.tunnel import ProxyUnavailable
from orchestrator.domain.addresses import Reach
from orchestrator.domain.errors import InvalidField
from orchestrator.domain.webhooks import Answer, Reply, Silence, asked_pause_s

# Enough of an answer to leave its connection fit for the next request.
_MAX_ANSWER_BYTES = 64 * 1024
_MAX_IDLE = 64


class HttpSender:
    """Implements `ports.WebhookSender`. Requests go straight to the transport: no redirects, no cookies."""

    def __init__(
        self,
        *,
        timeout_s: float,
        reach: Reach = PUBLIC,
        proxy_url: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._reach = reach
        self._transport = transport or GuardedTransport(reach, proxy_url=proxy_url, max_idle=_MAX_IDLE)

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        answer: Answer = Silence(error=f"no answer within {self._timeout_s:g} s")
        try:
            async with asyncio.timeout(self._timeout_s):
                checked = check_url(url, "url", reach=self._reach)
                request = httpx.Request("POST", checked, headers=headers, content=body)
                async with aclosing(await self._transport.handle_async_request(request)) as response:
                    pause_s = asked_pause_s(response.headers.get("retry-after", ""), datetime.now(UTC))
                    answer = Reply(status=response.status_code, retry_after_s=pause_s)
                    await _discard(response)
        except (TimeoutError, httpx.TransportError, InvalidField) as error:
            # The answer stands once its head is there, whatever becomes of its body.
            return answer if isinstance(answer, Reply) or isinstance(error, TimeoutError) else _silence(error)
        return answer

    async def close(self) -> None:
        await self._transport.aclose()


def host_of(url: httpx.URL) -> str:
    """The host that deliveries to a URL are counted under, one for all its spellings."""
    return url.raw_host.decode("ascii").rstrip(".")


async def _discard(response: httpx.Response) -> None:
    read = 0
    async for chunk in response.aiter_raw():
        read += len(chunk)
        if read > _MAX_ANSWER_BYTES:
            return


def _silence(error: Exception) -> Silence:
    match error:
        case InvalidField():
            return Silence(error=f"the URL {error.message}")
        case ProxyUnavailable():
            return Silence(error="it could not be sent from here")
        case ForbiddenAddress():
            return Silence(error="the host has no public address")
        case httpx.ConnectError() | httpx.ConnectTimeout():
            return Silence(error="the host cannot be connected to")
        case _:
            return Silence(error="the receiver broke off, or does not speak HTTP")

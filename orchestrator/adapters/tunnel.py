"""Connections through an HTTP proxy: it is asked to CONNECT to an address that somebody else has checked."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import Iterable
from ipaddress import ip_address

import httpcore
import httpx

from orchestrator.telemetry import logs

_log = logs.get("proxy")


class ProxyUnavailable(httpx.ConnectError):
    """The proxy does not answer as one, or not to us: an operator's to mend, no receiver's and no caller's."""


class Tunnels(httpcore.AsyncNetworkBackend):
    """A network whose every connection is a tunnel (RFC 9110, 9.3.6). The proxy hears addresses, and never a name.

    `proxy_url` is `http://` or `https://`, with `user:password@` where the proxy asks for them.
    """

    def __init__(self, proxy_url: str, ssl_context: ssl.SSLContext) -> None:
        url = httpx.URL(proxy_url)
        self._tls = ssl_context if url.scheme == "https" else None
        self._host = url.host
        self._port = url.port or (443 if self._tls else 80)
        self._origin = httpcore.Origin(url.raw_scheme, url.raw_host, self._port)
        self._headers = [(b"Proxy-Authorization", b"Basic " + b64encode(_credentials(url)))] if url.userinfo else []
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's name for it
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A stream to an address. Raises `ProxyUnavailable`, or httpcore's errors where the address is to blame."""
        try:
            async with asyncio.timeout(timeout):
                stream = await self._to_proxy(socket_options)
                try:
                    return await self._through(stream, host, port)
                except BaseException:
                    await stream.aclose()
                    raise
        except TimeoutError:
            raise httpcore.ConnectTimeout from None

    async def _to_proxy(self, socket_options: Iterable[httpcore.SOCKET_OPTION] | None) -> httpcore.AsyncNetworkStream:
        try:
            stream = await self._network.connect_tcp(self._host, self._port, None, None, socket_options)
            return stream if self._tls is None else await stream.start_tls(self._tls, self._host)
        except httpcore.ConnectError as error:
            raise _unavailable(f"it cannot be connected to: {error}") from None

    async def _through(self, stream: httpcore.AsyncNetworkStream, host: str, port: int) -> httpcore.AsyncNetworkStream:
        target = f"[{host}]:{port}" if ip_address(host).version == 6 else f"{host}:{port}"
        origin = self._origin
        request = httpcore.Request(
            b"CONNECT",
            httpcore.URL(scheme=origin.scheme, host=origin.host, port=origin.port, target=target.encode()),
            headers=[(b"Host", target.encode()), (b"User-Agent", b"cogmill"), *self._headers],
        )
        try:
            response = await httpcore.AsyncHTTP11Connection(origin, stream).handle_async_request(request)
        except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError):
            raise _unavailable("it broke off, or does not speak HTTP") from None
        if response.status == httpx.codes.PROXY_AUTHENTICATION_REQUIRED:
            raise _unavailable("it wants other credentials than those of fetch.proxy_url")
        if not 200 <= response.status < 300:
            raise httpcore.ConnectError(f"the proxy answered with status {response.status}")
        tunnel: httpcore.AsyncNetworkStream = response.extensions["network_stream"]
        return tunnel


def _unavailable(why: str) -> ProxyUnavailable:
    _log.warning("proxy_unavailable", error=why)
    return ProxyUnavailable(f"the proxy of fetch.proxy_url: {why}")


def _credentials(url: httpx.URL) -> bytes:
    return f"{url.username}:{url.password}".encode()

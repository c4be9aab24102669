"""The only place that opens URLs which users gave: checked, pinned to the address that was checked, and bounded."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from ipaddress import ip_address

import httpcore
import httpx

from orchestrator.adapters.tunnel import ProxyUnavailable, Tunnels
from orchestrator.config import FetchSettings
from orchestrator.domain.addresses import IPAddress, Reach, may_reach
from orchestrator.domain.errors import InvalidField, TooLarge, Unavailable
from orchestrator.kit.threads import Threads

MAX_URL_CHARS = 2048

# Asking the resolver blocks, for as long as a stranger's name server likes: never in threads that others need, and in
# one for each fetch. Who asks has a shorter deadline.
_RESOLVERS = 64
_RESOLVE_S = 60.0

_FETCHES = 64
_PARAM = "image"
_HEADERS = {
    "accept": "image/png, image/jpeg, image/webp",
    "accept-encoding": "identity",  # what is not compressed cannot be a bomb
    "user-agent": "cogmill",
}

_PORTS = {"http": 80, "https": 443}

# What an operator who says nothing wants.
PUBLIC = Reach()

Resolve = Callable[[str], Awaitable[Sequence[IPAddress]]]


class ForbiddenAddress(httpx.ConnectError):
    """The host has no address, or one that is not public. Which of the two is for nobody outside to know."""


def check_url(url: str, param: str, *, reach: Reach = PUBLIC) -> httpx.URL:
    """The URL, parsed as it will be opened. Raises `InvalidField` for one that `GuardedTransport` could never open.

    A host name is not resolved here: what it stands for now says nothing of what it stands for later.
    """
    if len(url) > MAX_URL_CHARS:
        raise InvalidField(f"is a URL of more than {MAX_URL_CHARS} characters", param=param, code="too_long")
    try:
        parsed = httpx.URL(url)
        host = parsed.host
    except (httpx.InvalidURL, ValueError):  # ValueError: half surrogate pairs, and `xn--` before what is no Punycode
        raise InvalidField("is no valid URL", param=param) from None
    if parsed.scheme not in ("http", "https"):
        raise InvalidField("must be an http or https URL", param=param)
    if not host:
        raise InvalidField("is a URL without a host", param=param)
    if parsed.userinfo:
        raise InvalidField("must not carry a user name or a password", param=param)
    if parsed.port is not None and parsed.port > 0xFFFF:
        raise InvalidField("is a URL with a port that there is not", param=param)
    if not reach.calls(parsed.port or _PORTS[parsed.scheme]):
        raise InvalidField(f"must have one of the ports {', '.join(map(str, reach.ports or ()))}", param=param)
    literal = _literal(parsed.raw_host.decode("ascii"))
    if literal is not None and not reach.takes(literal):
        what = "that is not reached from here" if may_reach(literal, reach.allow) else "that is not public"
        raise InvalidField(f"is a URL with an address {what}", param=param)
    return parsed


class Fetcher:
    """Pictures behind users' URLs. What their servers do wrong is the user's to mend, and an `InvalidField`.

    No error says more of what answered than its status. Requests go straight to the transport: a client would carry one
    tenant's cookies to another's request.
    """

    def __init__(self, settings: FetchSettings, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._settings = settings
        self._transport = transport or GuardedTransport(
            settings.reach, proxy_url=settings.proxy, max_connections=_FETCHES
        )

    async def image(self, url: str) -> bytes:
        """What the URL, or where it redirects, answers with. Whether that is a picture is for others to say.

        Raises `InvalidField`, `TooLarge`, or `Unavailable` when too much is being fetched already.
        """
        limit_s = self._settings.timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return await self._follow(check_url(url, _PARAM, reach=self._settings.reach))
        except TimeoutError:
            raise _unreachable(f"did not arrive within {limit_s:g} s") from None
        except httpx.PoolTimeout:
            raise Unavailable("too many images are being fetched at this moment") from None
        except ProxyUnavailable as error:
            raise Unavailable(str(error)) from None
        except ForbiddenAddress:
            raise _unreachable("is at a host without a public address") from None
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise _unreachable("is at a host that cannot be connected to") from None
        except httpx.TransportError:
            raise _unreachable("did not arrive: its server broke off, or does not speak HTTP") from None

    async def _follow(self, url: httpx.URL) -> bytes:
        for _ in range(self._settings.max_redirects + 1):
            async with aclosing(await self._get(url)) as response:
                if not response.has_redirect_location:
                    return await self._read(response)
                url = self._next(url, response.headers["location"])
        raise _unreachable(f"redirects more than {self._settings.max_redirects} times")

    async def _get(self, url: httpx.URL) -> httpx.Response:
        # Two halves of the deadline of the whole; reading has what is left of it.
        half_s = self._settings.timeout_s / 2
        timeouts = {"pool": half_s, "connect": half_s}
        request = httpx.Request("GET", url, headers=_HEADERS, extensions={"timeout": timeouts})
        return await self._transport.handle_async_request(request)

    def _next(self, url: httpx.URL, location: str) -> httpx.URL:
        try:
            return check_url(str(url.join(location)), _PARAM, reach=self._settings.reach)
        except InvalidField as error:
            raise _unreachable(f"redirects to a URL that is refused: it {error.message}") from None
        except (httpx.InvalidURL, ValueError):
            raise _unreachable("redirects to no valid URL") from None

    async def _read(self, response: httpx.Response) -> bytes:
        if response.status_code != httpx.codes.OK:
            raise _unreachable(f"is not there: its server answered with status {response.status_code}")
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise _unreachable("came compressed, which was not asked for")
        limit = self._settings.max_image_bytes
        too_large = TooLarge(f"the image behind the URL has more than {limit} bytes", param=_PARAM)
        if int(response.headers.get("content-length", "0")) > limit:  # digits, or it would be no HTTP
            raise too_large
        data = bytearray()
        async for chunk in response.aiter_raw():
            data += chunk
            if len(data) > limit:
                raise too_large
        return bytes(data)


def _unreachable(message: str) -> InvalidField:
    return InvalidField(message, param=_PARAM, code="image_unreachable")


class GuardedTransport(httpx.AsyncBaseTransport):
    """HTTP to where `reach` goes only; anything else raises `ForbiddenAddress`.

    With `proxy_url` the addresses are found and checked here all the same, and it is asked to connect to them.
    A client on it must be made with `trust_env=False`: a proxy from the environment would go around it. And it must
    check where a redirect leads with `check_url`, or follow none.
    """

    def __init__(
        self,
        reach: Reach = PUBLIC,
        *,
        proxy_url: str | None = None,
        max_connections: int | None = None,
        max_idle: int = 0,
        resolve: Resolve | None = None,
    ) -> None:
        ssl_context = httpx.create_ssl_context()
        network = httpcore.AnyIOBackend() if proxy_url is None else Tunnels(proxy_url, ssl_context)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl_context,
            max_connections=max_connections,
            max_keepalive_connections=max_idle,
            keepalive_expiry=5.0,
            network_backend=_GuardedBackend(reach, resolve or Resolver(), network),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        with _httpx_errors():
            response = await self._pool.handle_async_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(
                        scheme=request.url.raw_scheme,
                        host=request.url.raw_host,
                        port=request.url.port,
                        target=request.url.raw_path,
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(response),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _httpx_errors():
            async for chunk in self._response.aiter_stream():
                yield chunk

    async def aclose(self) -> None:
        with _httpx_errors():
            await self._response.aclose()


class _GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects by name only to an address that it has checked. TLS still asks for the name, and so does `Host`."""

    def __init__(self, reach: Reach, resolve: Resolve, network: httpcore.AsyncNetworkBackend) -> None:
        self._reach = reach
        self._resolve = resolve
        self._network = network

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's name for it
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout) as deadline:
                if not self._reach.calls(port):
                    raise ForbiddenAddress("the port is none of those that may be called")
                literal = _literal(host)
                addresses = [literal] if literal is not None else await self._resolve(host)
                # One bad address condemns the name: whose name it is chooses which of them answers.
                if not addresses or not all(map(self._reach.takes, addresses)):
                    raise ForbiddenAddress("the host leads to no public address")
                return await self._connect_one(addresses, port, deadline, socket_options)
        except TimeoutError:
            raise httpcore.ConnectTimeout from None

    async def _connect_one(
        self,
        addresses: Sequence[IPAddress],
        port: int,
        deadline: asyncio.Timeout,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None,
    ) -> httpcore.AsyncNetworkStream:
        """The first address that answers; each has its share of the time that is left."""
        *others, last = addresses
        for tried, address in enumerate(others):
            share = _left(deadline, among=len(addresses) - tried)
            try:
                return await self._network.connect_tcp(str(address), port, share, None, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._network.connect_tcp(str(last), port, _left(deadline, among=1), None, socket_options)


class Resolver:
    """The system's resolver, in threads of its own."""

    def __init__(self) -> None:
        self._threads = Threads("resolve", count=_RESOLVERS, deadline_s=_RESOLVE_S)

    async def __call__(self, host: str) -> list[IPAddress]:
        """All addresses of a host, none when it has none."""
        try:
            found = await self._threads.run(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):  # UnicodeError: a label that no name may have
            return []
        return [ip_address(sockaddr[0]) for *_, sockaddr in found if isinstance(sockaddr[0], str)]


def _literal(host: str) -> IPAddress | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _left(deadline: asyncio.Timeout, *, among: int) -> float | None:
    """Seconds of the time that is left, for one of `among` equal parts."""
    when = deadline.when()
    return None if when is None else (when - asyncio.get_running_loop().time()) / among


@contextmanager
def _httpx_errors() -> Iterator[None]:
    """Each error of httpcore as httpx's own, which has the same name; and of TLS, once a connection has begun."""
    try:
        yield
    except ssl.SSLError as error:
        raise httpx.ReadError(str(error)) from error
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
        ours: type[httpx.TransportError] = getattr(httpx, type(error).__name__)
        raise ours(str(error)) from error

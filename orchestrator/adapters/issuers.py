"""Asks an OpenID Connect issuer for its public keys: as its discovery document says, bounded, without redirects."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from orchestrator.adapters.fetch import ForbiddenAddress, GuardedTransport
from orchestrator.config.oidc import OidcSettings, check_url
from orchestrator.domain import jsontext
from orchestrator.domain.addresses import is_loopback
from orchestrator.domain.errors import ConfigError, IssuerUnavailable
from orchestrator.ports.issuers import Fetch

# Those of large providers have some 10 KiB.
_MAX_ANSWER_BYTES = 256 * 1024
# OpenID Connect Discovery 1.0, section 4.
_DISCOVERY = "/.well-known/openid-configuration"
_CLIENT: dict[str, Any] = {
    "headers": {"accept": "application/json", "accept-encoding": "identity", "user-agent": "cogmill"},
    "timeout": None,  # there is one for all
    "follow_redirects": False,
    "limits": httpx.Limits(max_keepalive_connections=0),
}


def fetch_of(name: str, settings: OidcSettings) -> Fetch:
    """Reads the keys of this issuer. Raises `ConfigError` for `ca_file` that cannot be read."""
    address = settings.jwks_url or settings.issuer.rstrip("/") + _DISCOVERY
    clients = Clients.of(name, settings, address)

    async def fetch() -> Mapping[str, Any]:
        async with within(settings.timeout_s, "its 'jwks_uri'"):
            said = await _get(clients.own, address)
            if settings.jwks_url is not None:
                return said
            place = place_of(checked(said, settings.issuer), "jwks_uri")
            return await _get(clients.to(place), place)

    return fetch


def discovery_of(name: str, settings: OidcSettings) -> tuple[Fetch, Clients]:
    """Reads the discovery document of this issuer; and who asks for what it names. Raises as `fetch_of` does."""
    address = settings.issuer.rstrip("/") + _DISCOVERY
    clients = Clients.of(name, settings, address)

    async def fetch() -> Mapping[str, Any]:
        async with within(settings.timeout_s, "its document"):
            return checked(await _get(clients.own, address), settings.issuer)

    return fetch, clients


@dataclass(frozen=True, slots=True)
class Clients:
    """What the settings name may lie inside. What a document names beyond its own server may not."""

    address: str
    own: httpx.AsyncClient
    others: httpx.AsyncClient

    @classmethod
    def of(cls, name: str, settings: OidcSettings, address: str) -> Self:
        # An issuer on the loopback is reached without a proxy, whatever the environment names.
        proxied = not is_loopback(urlsplit(address).hostname or "")
        own = httpx.AsyncClient(verify=_context(name, settings), trust_env=proxied, **_CLIENT)
        return cls(address, own, httpx.AsyncClient(transport=GuardedTransport(), trust_env=False, **_CLIENT))

    def to(self, place: str) -> httpx.AsyncClient:
        """Who asks there."""
        return self.own if urlsplit(place)[:2] == urlsplit(self.address)[:2] else self.others


@asynccontextmanager
async def within(timeout_s: float, what: str) -> AsyncIterator[None]:
    """So long, and whatever goes wrong on the way is `IssuerUnavailable`; `what` is what may lead inside."""
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError:
        raise IssuerUnavailable(f"no answer within {timeout_s:g} s") from None
    except ForbiddenAddress:
        raise IssuerUnavailable(f"{what} leads to an address that is not public") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise IssuerUnavailable(f"no answer ({type(error).__name__})") from None


def _context(name: str, settings: OidcSettings) -> ssl.SSLContext:
    if settings.ca_file is None:
        return httpx.create_ssl_context()
    try:
        return ssl.create_default_context(cafile=str(settings.ca_file))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"oidc.{name}.ca_file: {settings.ca_file} cannot be used: {error}") from None


def checked(said: Mapping[str, Any], issuer: str) -> Mapping[str, Any]:
    """The same, where it is this issuer's discovery document. Raises `IssuerUnavailable`."""
    if said.get("issuer") != issuer:  # section 4.3: they must be the same
        raise IssuerUnavailable("its discovery document is another issuer's")
    return said


def place_of(said: Mapping[str, Any], what: str) -> str:
    """Where a discovery document says that something is. Raises `IssuerUnavailable`."""
    place = said.get(what)
    if not isinstance(place, str):
        raise IssuerUnavailable(f"its discovery document has no {what!r}")
    try:
        check_url(place)
    except ValueError as error:
        raise IssuerUnavailable(f"its {what!r} {error}") from None
    return place


async def _get(client: httpx.AsyncClient, url: str) -> Mapping[str, Any]:
    """The object in JSON that is there."""
    status, said = await exchange(client, client.build_request("GET", url))
    if status != httpx.codes.OK:
        raise IssuerUnavailable(f"its server answers with status {status}")
    return said


async def exchange(client: httpx.AsyncClient, request: httpx.Request) -> tuple[int, Mapping[str, Any]]:
    """The status of an answer and the object in JSON; an empty one where the status is not 200 and it is none.

    Raises `IssuerUnavailable` for what is too large, or no such object.
    """
    answer = await client.send(request, stream=True)
    try:
        if answer.headers.get("content-encoding", "identity").lower() != "identity":
            raise IssuerUnavailable("its answer is compressed, which was not asked for")
        data = bytearray()
        async for chunk in answer.aiter_raw():
            data += chunk
            if len(data) > _MAX_ANSWER_BYTES:
                raise IssuerUnavailable(f"its answer has more than {_MAX_ANSWER_BYTES} bytes")
    finally:
        await answer.aclose()
    try:
        said = jsontext.parse(bytes(data))
    except ValueError:
        said = None
    if isinstance(said, dict):
        return answer.status_code, said
    if answer.status_code != httpx.codes.OK:
        return answer.status_code, {}
    raise IssuerUnavailable("its answer is no object in JSON")

"""Asks an OpenID Connect issuer for its public keys: as its discovery document says, bounded, without redirects."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any
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
    # An issuer on the loopback is reached without a proxy, whatever the environment names.
    proxied = not is_loopback(urlsplit(address).hostname or "")
    own = httpx.AsyncClient(verify=_context(name, settings), trust_env=proxied, **_CLIENT)
    others = httpx.AsyncClient(transport=GuardedTransport(), trust_env=False, **_CLIENT)

    async def fetch() -> Mapping[str, Any]:
        try:
            async with asyncio.timeout(settings.timeout_s):
                said = await _get(own, address)
                if settings.jwks_url is not None:
                    return said
                place = _place(said, settings.issuer)
                # What the settings name may lie inside. What a document names beyond its own server may not.
                return await _get(own if urlsplit(place)[:2] == urlsplit(address)[:2] else others, place)
        except TimeoutError:
            raise IssuerUnavailable(f"no answer within {settings.timeout_s:g} s") from None
        except ForbiddenAddress:
            raise IssuerUnavailable("its 'jwks_uri' leads to an address that is not public") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise IssuerUnavailable(f"no answer ({type(error).__name__})") from None

    return fetch


def _context(name: str, settings: OidcSettings) -> ssl.SSLContext:
    if settings.ca_file is None:
        return httpx.create_ssl_context()
    try:
        return ssl.create_default_context(cafile=str(settings.ca_file))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"oidc.{name}.ca_file: {settings.ca_file} cannot be used: {error}") from None


def _place(said: Mapping[str, Any], issuer: str) -> str:
    """Where a discovery document says that the keys are. Raises `IssuerUnavailable`."""
    if said.get("issuer") != issuer:  # section 4.3: they must be the same
        raise IssuerUnavailable("its discovery document is another issuer's")
    place = said.get("jwks_uri")
    if not isinstance(place, str):
        raise IssuerUnavailable("its discovery document has no 'jwks_uri'")
    try:
        check_url(place)
    except ValueError as error:
        raise IssuerUnavailable(f"its 'jwks_uri' {error}") from None
    return place


async def _get(client: httpx.AsyncClient, url: str) -> Mapping[str, Any]:
    """The object in JSON that is there."""
    async with client.stream("GET", url) as answer:
        if answer.status_code != httpx.codes.OK:
            raise IssuerUnavailable(f"its server answers with status {answer.status_code}")
        if answer.headers.get("content-encoding", "identity").lower() != "identity":
            raise IssuerUnavailable("its answer is compressed, which was not asked for")
        data = bytearray()
        async for chunk in answer.aiter_raw():
            data += chunk
            if len(data) > _MAX_ANSWER_BYTES:
                raise IssuerUnavailable(f"its answer has more than {_MAX_ANSWER_BYTES} bytes")
    try:
        said = jsontext.parse(bytes(data))
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise IssuerUnavailable("its answer is no object in JSON")
    return said

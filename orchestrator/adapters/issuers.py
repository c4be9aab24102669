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
from orchestrator.tenants.jwks import Fetch

# Those of large providers have some 10 KiB.
_MAX_ANSWER_BYTES = 256 * 1024
# OpenID Connect Discovery 1.0, section 4.
_DISCOVERY = "/.well-known/openid-configuration"
_HEADERS = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "cogmill"}


def fetch_of(name: str, settings: OidcSettings) -> Fetch:
    """Reads the keys of this issuer. Raises `ConfigError` for `ca_file` that cannot be read."""
    context = _context(name, settings)

    async def fetch() -> Mapping[str, Any]:
        try:
            async with asyncio.timeout(settings.timeout_s):
                return await _keys(settings, context)
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


async def _keys(settings: OidcSettings, context: ssl.SSLContext) -> Mapping[str, Any]:
    if settings.jwks_url is not None:
        return await _get(settings.jwks_url, context)
    url = settings.issuer.rstrip("/") + _DISCOVERY
    said = await _get(url, context)
    if said.get("issuer") != settings.issuer:  # section 4.3: they must be the same
        raise IssuerUnavailable("its discovery document is another issuer's")
    place = said.get("jwks_uri")
    if not isinstance(place, str):
        raise IssuerUnavailable("its discovery document has no 'jwks_uri'")
    try:
        check_url(place)
    except ValueError as error:
        raise IssuerUnavailable(f"its 'jwks_uri' {error}") from None
    # What the settings name may lie inside. What a document names beyond its own server may not.
    return await _get(place, context if urlsplit(place)[:2] == urlsplit(url)[:2] else None)


async def _get(url: str, context: ssl.SSLContext | None) -> Mapping[str, Any]:
    """The object in JSON that is there. Without a context only public addresses are reached."""
    client = (
        httpx.AsyncClient(transport=GuardedTransport(), timeout=None, trust_env=False)
        if context is None
        else httpx.AsyncClient(verify=context, timeout=None, trust_env=not is_loopback(urlsplit(url).hostname or ""))
    )
    async with client, client.stream("GET", url, headers=_HEADERS, follow_redirects=False) as answer:
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

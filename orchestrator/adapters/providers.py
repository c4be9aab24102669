"""Issuers as people sign in with them in a browser: where they are led to, and the token for the code they bring."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote_plus

import httpx

from orchestrator.adapters.issuers import Clients, discovery_of, exchange, place_of, within
from orchestrator.config import sources
from orchestrator.config.oidc import MAX_TOKEN_BYTES, OidcSettings
from orchestrator.domain.errors import ConfigError, IssuerUnavailable, Unauthenticated
from orchestrator.ports.issuers import Endpoints, Fetch

_BASIC, _POST = "client_secret_basic", "client_secret_post"


class HttpProvider:
    """One issuer over HTTP. What its discovery document says is known for `fresh_s` seconds."""

    def __init__(
        self,
        settings: OidcSettings,
        discover: Fetch,
        clients: Clients,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._discover = discover
        self._clients = clients
        self._monotonic = monotonic
        self._known: tuple[float, Endpoints] | None = None

    async def endpoints(self) -> Endpoints:
        now = self._monotonic()
        if self._known is None or now - self._known[0] >= self._settings.keys_fresh_s:
            self._known = now, _endpoints(await self._discover())
        return self._known[1]

    async def redeem(self, code: str, *, verifier: str, redirect_uri: str) -> str:
        endpoints = await self.endpoints()
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        client = self._clients.to(endpoints.token)
        fields, headers = self._as_client(fields, in_body=endpoints.secret_in_body)
        request = client.build_request("POST", endpoints.token, data=fields, headers=headers)
        async with within(self._settings.timeout_s, "its 'token_endpoint'"):
            status, said = await exchange(client, request)
        if status in (400, 401, 403):  # RFC 6749, section 5.2
            raise Unauthenticated("the issuer does not take the code of this sign-in", reason="unverified")
        if status != httpx.codes.OK:
            raise IssuerUnavailable(f"its server answers with status {status}")
        token = said.get("id_token")
        if not isinstance(token, str) or len(token) > MAX_TOKEN_BYTES:
            raise IssuerUnavailable("its answer has no ID token")
        return token

    def _as_client(self, fields: dict[str, str], *, in_body: bool) -> tuple[dict[str, str], dict[str, str]]:
        """A request's fields and headers, as this client makes it (RFC 6749, section 2.3.1)."""
        own = self._settings.client_id or ""
        if self._settings.client_secret_file is None:
            return fields | {"client_id": own}, {}
        secret = _secret_of(self._settings)
        if in_body:
            return fields | {"client_id": own, "client_secret": secret}, {}
        basic = b64encode(f"{quote_plus(own)}:{quote_plus(secret)}".encode()).decode()
        return fields, {"authorization": f"Basic {basic}"}


def provider_of(name: str, settings: OidcSettings) -> HttpProvider:
    """Raises `ConfigError` for a file that cannot be read."""
    if settings.client_secret_file is not None:
        try:
            _secret_of(settings)
        except IssuerUnavailable as error:
            raise ConfigError(f"oidc.{name}.client_secret_file: {settings.client_secret_file} {error}") from None
    return HttpProvider(settings, *discovery_of(name, settings))


def _secret_of(settings: OidcSettings) -> str:
    """Read each time: it may be replaced. Raises `IssuerUnavailable`, which tells nothing of it."""
    assert settings.client_secret_file is not None
    try:
        secret = sources.text_of(settings.client_secret_file)
    except (OSError, UnicodeDecodeError):
        raise IssuerUnavailable("cannot be read") from None
    if not secret:
        raise IssuerUnavailable("is empty")
    return secret


def _endpoints(said: Mapping[str, Any]) -> Endpoints:
    ways = said.get("token_endpoint_auth_methods_supported")
    return Endpoints(
        authorization=place_of(said, "authorization_endpoint"),
        token=place_of(said, "token_endpoint"),
        # Without a word it is the header (OpenID Connect Discovery 1.0, section 3).
        secret_in_body=isinstance(ways, list) and _BASIC not in ways and _POST in ways,
        says_issuer=said.get("authorization_response_iss_parameter_supported") is True,
    )

"""The settings of people's issuers: whose OpenID Connect tokens are taken, and what their claims mean here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, field_validator, model_validator

from orchestrator.config.section import Seconds, Section
from orchestrator.domain.addresses import is_loopback
from orchestrator.domain.people import USUAL_WORD, WORDS

# What a token may have beside the rest of a request's head.
MAX_TOKEN_BYTES = 8 * 1024
LEAST_HEAD_BYTES = 12 * 1024
MAX_LEEWAY_S = 300

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_Text = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
# Of JSON Web Algorithms (RFC 7518, RFC 8037), those with a public key.
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


class OidcSettings(Section):
    """One issuer of people's tokens. A claim is a name, or a JSON pointer (RFC 6901): `/realm_access/roles`."""

    # As its tokens' `iss` has it, to the letter.
    issuer: str
    # A token is for one of these (`aud`), or is not for us.
    audience: tuple[_Text, ...] = Field(min_length=1)
    algorithms: tuple[Algorithm, ...] = Field(default=("RS256", "ES256"), min_length=1)
    # Of its public keys; None: as its discovery document says.
    jwks_url: str | None = None
    # PEM: certificates that vouch for the issuer's, in the place of the usual ones.
    ca_file: Path | None = None
    # Everybody's tenant, or the claim that says it.
    tenant: _Text | None = None
    tenant_claim: _Text | None = None
    # Tenants by the claim's values; empty: a value is the tenant's name.
    tenants: dict[_Text, _Text] = Field(default_factory=dict)
    # A text, or a list of texts: roles, or groups.
    role_claim: _Text = "roles"
    # What people may, by the claim's values: roles of administrators, `usual`, or single scopes of tenants.
    roles: dict[_Text, tuple[str, ...]] = Field(default_factory=dict)
    # What everybody may to whom the issuer gives a token for us.
    everybody: tuple[str, ...] = ()
    # By which the clocks of issuer and API may differ.
    leeway_s: float = Field(default=30, ge=0, le=MAX_LEEWAY_S)
    # One call of the issuer.
    timeout_s: Seconds = 5
    # Its public keys are read again when they are older than this, or do not hold a token's; but not so soon again.
    keys_fresh_s: Seconds = 300
    keys_again_s: float = Field(default=30, ge=1, le=3600)
    # While the issuer is away, those that are known are good until they are so old.
    keys_stale_s: Seconds = 24 * 3600
    # How long a key lives that somebody makes with a token; None: nobody makes one so.
    made_keys_s: Seconds | None = None
    # What the console is to the issuer (RFC 6749, section 2.2); None: people sign in to it otherwise.
    client_id: _Text | None = None
    # None: a public client, which PKCE protects alone.
    client_secret_file: Path | None = None
    # What it is asked for, so that its ID tokens have the claims above.
    scopes: tuple[_Text, ...] = ("openid",)
    # What people know it by; None: its name here.
    title: _Text | None = None

    @field_validator("issuer", "jwks_url")
    @classmethod
    def _over_tls(cls, url: str | None) -> str | None:
        if url is not None:
            check_url(url)
        return url

    @field_validator("everybody")
    @classmethod
    def _known(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        _check_words(words)
        return words

    @field_validator("roles")
    @classmethod
    def _all_known(cls, roles: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for value, words in roles.items():
            if not words:
                raise ValueError(f"{value!r} gives nothing: name what it gives, or leave it out")
            _check_words(words)
        return roles

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.tenant is None) == (self.tenant_claim is None):
            raise ValueError("needs tenant or tenant_claim, and not both")
        if self.tenants and self.tenant_claim is None:
            raise ValueError("tenants says what a claim's values mean, and needs tenant_claim")
        if not self.roles and not self.everybody:
            raise ValueError("needs roles or everybody: else nobody may anything")
        if self.keys_stale_s < self.keys_fresh_s:
            raise ValueError("keys_stale_s must not be less than keys_fresh_s")
        if self.client_id is None and self.client_secret_file is not None:
            raise ValueError("client_secret_file needs client_id")
        if "openid" not in self.scopes:
            raise ValueError("scopes must have 'openid': without it there is no ID token")
        return self


def check_issuers(issuers: dict[str, OidcSettings], *, max_head_bytes: int) -> None:
    """Raise `ValueError` for issuers that cannot be told from each other, or whose tokens could not arrive."""
    homes: dict[str, str] = {}
    for name, each in issuers.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"oidc.{name}: its name must be of a-z, 0-9, _ and -, 32 at most")
        if each.issuer in homes:
            raise ValueError(f"oidc.{name}.issuer is that of oidc.{homes[each.issuer]}")
        homes[each.issuer] = name
    if issuers and max_head_bytes < LEAST_HEAD_BYTES:
        raise ValueError(f"api.max_head_bytes must be at least {LEAST_HEAD_BYTES}: tokens have {MAX_TOKEN_BYTES}")


def check_url(url: str) -> None:
    """Raise `ValueError` for one that is not https, or http on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        whole = bool(host) and parts.port != 0 and not parts.username and not parts.password and not parts.fragment
    except ValueError:
        raise ValueError("is no URL") from None
    if parts.scheme not in ("http", "https") or not whole:
        raise ValueError("must be an https URL, without user and fragment")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("must be https: over http anybody on the way makes tokens; only the loopback may do without")


def _check_words(words: tuple[str, ...]) -> None:
    for word in words:
        if word not in WORDS:
            raise ValueError(f"{word!r} is none of: {', '.join(WORDS)}; {USUAL_WORD} is what keys usually may")

"""The settings of the console: where people find it, and for how long they stay signed in."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from orchestrator.config.oidc import OidcSettings, check_url
from orchestrator.config.section import Section

_MINUTE, _DAY = 60, 24 * 3600


class ConsoleSettings(Section):
    # The API's own address as browsers have it, with the base path: issuers lead people back to it.
    url: str | None = None
    # A session ends so long after the sign-in, and when it was not used for so long.
    session_s: Annotated[float, Field(ge=5 * _MINUTE, le=30 * _DAY)] = 12 * 3600
    idle_s: Annotated[float, Field(ge=5 * _MINUTE, le=30 * _DAY)] = 2 * 3600

    @field_validator("url")
    @classmethod
    def _over_tls(cls, url: str | None) -> str | None:
        if url is None:
            return None
        check_url(url)
        if "?" in url:
            raise ValueError("must have no query")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.idle_s > self.session_s:
            raise ValueError("idle_s must not be more than session_s")
        return self


def check_sign_in(console: ConsoleSettings, issuers: dict[str, OidcSettings], base_path: str) -> None:
    """Raise `ValueError` where people could not be led back from an issuer."""
    named = [name for name, each in issuers.items() if each.client_id is not None]
    if named and console.url is None:
        raise ValueError(f"oidc.{named[0]}.client_id needs console.url, to which its people are led back")
    if console.url is not None and not console.url.endswith(base_path):
        raise ValueError(f"console.url must end in api.base_path, {base_path}")

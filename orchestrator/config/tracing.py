"""Where traces go, if they go anywhere: the section `[tracing]`, and what OpenTelemetry's own variables add to it."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from orchestrator.config.section import Section

_PATH = "/v1/traces"
# https://opentelemetry.io/docs/specs/otel/protocol/exporter/ has what these say.
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_FIELD = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=\s*([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)\s*")


class TracingSettings(Section):
    """Off where no endpoint is named, here or in `OTEL_EXPORTER_OTLP_ENDPOINT`; what is said here goes before those."""

    # A collector that takes OTLP over HTTP, as `http://collector:4318`; `/v1/traces` is added.
    endpoint: str | None = None
    # Header fields for it, as `authorization=Bearer x,x-scope=y`: a secret, to be kept in a file (`tracing__headers`).
    headers: SecretStr | None = None
    # The share of traces that is recorded, of those that no caller has decided about. None is all of them, or what
    # OTEL_TRACES_SAMPLER says.
    ratio: float | None = Field(default=None, ge=0, le=1)

    @field_validator("endpoint")
    @classmethod
    def _reachable(cls, url: str | None) -> str | None:
        if url is None:
            return None
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
            bare = not parts.query and not parts.fragment and not parts.username and not parts.password
        except ValueError:
            good = bare = False
        if not good or not bare:
            raise ValueError("must be http://host:port or https://host:port, perhaps with a path")
        return url

    @field_validator("headers")
    @classmethod
    def _sendable(cls, headers: SecretStr | None) -> SecretStr | None:
        if headers is not None and not all(map(_FIELD.fullmatch, headers.get_secret_value().split(","))):
            raise ValueError("must be name=value, with commas between several")
        return headers

    @property
    def because(self) -> str | None:
        """What names the endpoint; None where nothing does."""
        if self.endpoint is not None:
            return "tracing.endpoint"
        return next((f"{name} is set" for name in _ENDPOINTS if os.environ.get(name)), None)

    @property
    def on(self) -> bool:
        """Whether spans are made and sent."""
        disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
        elsewhere = os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none"
        return self.because is not None and not disabled and not elsewhere

    @property
    def traces_url(self) -> str | None:
        """Where spans are posted to; None where OpenTelemetry's variables say it."""
        if self.endpoint is None:
            return None
        base = self.endpoint.rstrip("/")
        return base if base.endswith(_PATH) else f"{base}{_PATH}"

    @property
    def header_fields(self) -> dict[str, str] | None:
        """The header fields, readable; None where OpenTelemetry's variables say them."""
        if self.headers is None:
            return None
        found = [_FIELD.fullmatch(field) for field in self.headers.get_secret_value().split(",")]
        return {match[1].lower(): match[2] for match in found if match is not None}

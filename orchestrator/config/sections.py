"""The sections of what Cogmill does for callers: S3, API, fetching, finishing, limits, moderation; and of logs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, IPvAnyNetwork, SecretStr, field_validator, model_validator

from orchestrator.config.section import Port, Seconds, Section
from orchestrator.domain.addresses import Reach
from orchestrator.domain.picture import MAX_PIXELS
from orchestrator.domain.request import DEFAULT_PRIORITY, MAX_PRIORITY
from orchestrator.policy.limits import Limits

# What the paths of the API begin with. A base path that began so, too, could not be told from them.
_OWN_PATHS = ("v1", "api", "docs", "openapi.json", "llms.txt", "healthz", "readyz", "metrics", ".well-known", "console")


WORKER_URLS_S = 3600


class S3Settings(Section):
    """The bucket, and how it is reached."""

    endpoint_url: str | None = None
    # The host that callers reach for signed URLs. S3 signs the host, so it must have no path.
    public_url: str | None = None
    region: str = "us-east-1"
    bucket: str = "cogmill"
    # None asks boto3's usual places.
    access_key: str | None = None
    secret_key: SecretStr | None = None
    # Signs URLs in the place of temporary credentials, whose URLs end with them.
    signing_access_key: str | None = None
    signing_secret_key: SecretStr | None = None
    url_lifetime_s: int = Field(default=24 * 3600, ge=1, le=7 * 24 * 3600)
    connect_timeout_s: Seconds = 5
    read_timeout_s: Seconds = 60
    # Tries of one call.
    max_attempts: int = Field(default=5, ge=1, le=20)
    # Larger files are uploaded in parts.
    multipart_threshold_bytes: int = Field(default=16 * 2**20, ge=5 * 2**20)
    # `supported`: boto3's checksums of every body, as trailers, which not every server takes. `required`: only where S3
    # itself demands one, the oldest kind among them, which all take. What is written is read back either way.
    checksums: Literal["required", "supported"] = "required"
    # How workers reach the bucket. `shared`: with the keys above. `presigned`: with none, by URLs that the dispatcher
    # signs for each claim, for what it reads and for its own outputs. Left out of dumps as it is, like the next one, so
    # that the plans of running workers stay theirs.
    worker_access: Literal["shared", "presigned"] = Field(default="shared", exclude_if=lambda it: it == "shared")
    # For how long these URLs open; renewed at half of it for as long as the render goes on.
    worker_urls_s: int = Field(
        default=WORKER_URLS_S, ge=60, le=7 * 24 * 3600, exclude_if=lambda it: it == WORKER_URLS_S
    )

    @model_validator(mode="after")
    def _signs_with_both(self) -> Self:
        given = [key is not None for key in (self.signing_access_key, self.signing_secret_key)]
        if any(given) and not all(given):
            raise ValueError("signing_access_key and signing_secret_key need each other")
        return self

    @model_validator(mode="after")
    def _host_only(self) -> Self:
        for name in ("endpoint_url", "public_url"):
            url = getattr(self, name)
            if url is None:
                continue
            scheme, _, rest = url.partition("://")
            if scheme not in ("http", "https") or not rest:
                raise ValueError(f"{name} must be an http(s) URL, not {url!r}")
            if name == "public_url" and "/" in rest.rstrip("/"):
                raise ValueError("public_url must be a host without a path: presigned URLs under a path do not verify")
        return self

    @property
    def for_workers(self) -> Self:
        """What workers are told: no keys, where they need none."""
        if self.worker_access == "shared":
            return self
        keys = ("access_key", "secret_key", "signing_access_key", "signing_secret_key")
        return self.model_copy(update=dict.fromkeys(keys) | {"worker_urls_s": WORKER_URLS_S})


class ApiSettings(Section):
    """Where the API listens, and what a request may be."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    # Of a request's line and headers, which are complete within `head_timeout_s`.
    max_head_bytes: int = Field(default=32 * 1024, ge=8 * 1024, le=2**20)
    head_timeout_s: Seconds = 10
    max_connections: int = Field(default=2048, ge=1)
    max_connections_per_address: int | None = Field(default=None, ge=1)
    # Of a body without pictures and files.
    max_body_bytes: int = Field(default=1 * 2**20, ge=1024)
    # What one process holds at once for all its callers, and for one tenant: requests that are not answered yet (event
    # streams have bounds of their own), bytes of their bodies in memory, files that are being sent.
    max_requests_in_flight: int = Field(default=1024, ge=1)
    max_requests_in_flight_per_tenant: int = Field(default=256, ge=1)
    max_bodies_bytes: int = Field(default=96 * 2**20, ge=2**20)
    max_bodies_bytes_per_tenant: int = Field(default=48 * 2**20, ge=2**20)
    max_downloads: int = Field(default=256, ge=1)
    max_downloads_per_tenant: int = Field(default=64, ge=1)
    # How `/content` of a video is answered: sent through the API, or by a redirect to a signed URL of the bucket, which
    # costs the API nothing and needs a bucket that callers reach.
    content: Literal["stream", "redirect"] = "stream"
    # In CIDR: proxies whose `X-Forwarded-For` is believed; of everybody else only the connection's address counts.
    trusted_proxies: tuple[IPvAnyNetwork, ...] = ()
    # How long a revoked key may go on working on a replica that has just seen it.
    key_cache_s: float = Field(default=2.0, ge=0, le=60)
    max_prompt_chars: int = Field(default=2_000, ge=1)
    # May stand before every path.
    base_path: str = ""
    # Scripts from there may call from a browser: `https://host`, or `*` alone.
    cors_origins: tuple[str, ...] = ()

    @field_validator("base_path")
    @classmethod
    def _not_one_of_ours(cls, path: str) -> str:
        path = path.rstrip("/")
        if path and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", path):
            raise ValueError("must be a path such as /cogmill, of letters, digits and ._~-")
        if path.split("/")[1:2] and path.split("/")[1] in _OWN_PATHS:
            raise ValueError(f"must not begin like the API's own paths: {', '.join(_OWN_PATHS)}")
        return path

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if origin != "*" and not re.fullmatch(
                r"https?://[a-z0-9.-]+(:\d+)?|https?://\[[0-9a-f:]+\](:\d+)?", origin
            ):
                raise ValueError(
                    f"{origin!r} is no origin, such as https://app.example, in lower case and without a path"
                )
        if "*" in origins and len(origins) > 1:
            raise ValueError("'*' lets every origin in: name no other beside it")
        return origins


class FetchSettings(Section):
    """URLs that callers give: images to begin at, webhooks to call."""

    # Of an image, redirects and all.
    timeout_s: Seconds = 15
    max_image_bytes: int = Field(default=5 * 2**20, ge=1024, le=32 * 2**20)
    max_image_pixels: int = Field(default=40_000_000, ge=256, le=MAX_PIXELS)
    max_redirects: int = Field(default=3, ge=0, le=10)
    # In CIDR; let through although they are private, loopback or otherwise reserved.
    allow_networks: tuple[IPvAnyNetwork, ...] = ()
    # In CIDR; never reached, though they be public or among the former.
    deny_networks: tuple[IPvAnyNetwork, ...] = ()
    # None: every port.
    ports: tuple[Port, ...] | None = Field(default=None, min_length=1)
    # `http://user:password@host:port`, or https. It is asked to connect to the addresses that were checked.
    proxy_url: SecretStr | None = None

    @property
    def reach(self) -> Reach:
        """Where pictures are fetched from."""
        return Reach(allow=self.allow_networks, deny=self.deny_networks, ports=self.ports)

    @property
    def proxy(self) -> str | None:
        """The proxy's URL, its password readable."""
        return None if self.proxy_url is None else self.proxy_url.get_secret_value()

    @field_validator("proxy_url")
    @classmethod
    def _http_proxy(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None:
            return None
        try:
            parts = urlsplit(url.get_secret_value())
            known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
            bare = not parts.path.rstrip("/") and not parts.query
        except ValueError:
            known = bare = False
        if not known or not bare:
            raise ValueError(
                "must be http://host:port or https://host:port, with user:password@ where it asks for them"
            )
        return url


class FinishSettings(Section):
    """From rendered frames to the file."""

    # The share of a picture that another aspect ratio may cost.
    max_crop: float = Field(default=0.4, ge=0, lt=1)
    # A super-resolution checkpoint that spandrel reads; without one, Lanczos.
    upscaler: Path | None = None
    # A TorchScript file that maps two frames and a moment to the frame between; without one, ffmpeg's minterpolate.
    interpolator: Path | None = None
    # PEM, chain first: they sign the C2PA manifest. Without them a certificate made on the spot does.
    certificate: Path | None = None
    certificate_key: Path | None = None
    # The share of the steps after which a preview frame is decoded; 0 is never.
    preview_at: float = Field(default=0.5, ge=0, lt=1)

    @model_validator(mode="after")
    def _key_and_certificate(self) -> Self:
        if (self.certificate is None) != (self.certificate_key is None):
            raise ValueError("certificate and certificate_key come together")
        return self


class LimitSettings(Section):
    """What a tenant may do unless `cogmill tenants limit` says otherwise; none is no limit. `Limits` explains them."""

    # Where requests are counted: `memory://` for each API process by itself, `redis://host` for all together.
    storage: str = "memory://"
    requests_per_s: float | None = Field(default=None, gt=0)
    queued: int | None = Field(default=None, ge=0)
    running: int | None = Field(default=None, ge=0)
    gpu_seconds_per_day: float | None = Field(default=None, ge=0)
    largest_request: float | None = Field(default=None, gt=0)
    # That of a request that says nothing. 0 lets everybody go before all others.
    most_urgent: int = Field(default=DEFAULT_PRIORITY, ge=0, le=MAX_PRIORITY)
    # Quotas: what a tenant may have of what stays.
    open_batches: int | None = Field(default=1_000, ge=0)
    open_campaigns: int | None = Field(default=1_000, ge=0)
    waiting_rows: int | None = Field(default=5_000_000, ge=0)
    row_bytes: int | None = Field(default=16 * 2**30, ge=0)
    files: int | None = Field(default=100_000, ge=0)
    stored_bytes: int | None = Field(default=2**40, ge=0)
    webhook_endpoints: int | None = Field(default=20, ge=0)
    event_streams: int | None = Field(default=200, ge=0)

    @field_validator("*", mode="before")
    @classmethod
    def _lifted(cls, value: object) -> object:
        """TOML and the environment have no word of their own for no limit, which quotas need: they have a default."""
        return None if value == "none" else value

    @property
    def defaults(self) -> Limits:
        """What holds for a tenant that has no limits of its own."""
        return Limits(**self.model_dump(exclude={"storage"}))


class ModerationSettings(Section):
    """Who is asked whether something may be rendered or published. Without `url` and `entry_point` nobody is."""

    # An HTTP endpoint.
    url: str | None = None
    # A Python callable: `package.module:function`.
    entry_point: str | None = None
    # What is shown: the first two before a request is accepted, the video before it is published.
    prompt: bool = True
    image: bool = False
    video: bool = False
    # Accept when there is no answer within `timeout_s`.
    fail_open: bool = False
    timeout_s: Seconds = 10

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.url is not None and self.entry_point is not None:
            raise ValueError("url and entry_point exclude each other")
        return self

    @property
    def enabled(self) -> bool:
        return self.url is not None or self.entry_point is not None


class LogSettings(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"
    # A line for each request that the API answers, but for those of probes.
    access: bool = True

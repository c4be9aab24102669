"""The other sections of the settings, each with its bounds and its defaults."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, IPvAnyNetwork, SecretStr, field_validator, model_validator

from orchestrator.config.section import Seconds, Section
from orchestrator.policy.limits import Limits

# What the paths of the API begin with. A base path that began so, too, could not be told from them.
_OWN_PATHS = ("v1", "api", "docs", "openapi.json", "healthz", "readyz", "metrics")


class S3Settings(Section):
    """`public_url` is the host that callers reach for signed URLs; S3 signs the host, so it must have no path."""

    endpoint_url: str | None = None
    public_url: str | None = None
    region: str = "us-east-1"
    bucket: str = "cogmill"
    access_key: str | None = None
    secret_key: SecretStr | None = None
    # Signs URLs in the place of temporary credentials, whose URLs end with them.
    signing_access_key: str | None = None
    signing_secret_key: SecretStr | None = None
    url_lifetime_s: int = Field(default=24 * 3600, ge=1, le=7 * 24 * 3600)
    connect_timeout_s: Seconds = 5
    read_timeout_s: Seconds = 60
    max_attempts: int = Field(default=5, ge=1, le=20)
    multipart_threshold_bytes: int = Field(default=16 * 2**20, ge=5 * 2**20)
    # `supported`: boto3's checksums of every body, as trailers, which not every server takes. `required`: only where S3
    # itself demands one, the oldest kind among them, which all take. What is written is read back either way.
    checksums: Literal["required", "supported"] = "required"

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


class ApiSettings(Section):
    """`key_cache_s` is how long a revoked key may go on working on a replica that has just seen it.

    A request's line and headers have `max_head_bytes` at most, and are complete within `head_timeout_s`. `base_path`
    may stand before every path. Scripts of `cors_origins` (`https://host`, or `*` alone) may call from a browser.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    max_head_bytes: int = Field(default=32 * 1024, ge=8 * 1024, le=2**20)
    head_timeout_s: Seconds = 10
    max_connections: int = Field(default=2048, ge=1)
    max_connections_per_address: int | None = Field(default=None, ge=1)
    max_body_bytes: int = Field(default=1 * 2**20, ge=1024)
    key_cache_s: float = Field(default=2.0, ge=0, le=60)
    max_prompt_chars: int = Field(default=2_000, ge=1)
    base_path: str = ""
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
    """URLs that callers give: images to begin at, webhooks to call. `allow_networks` (CIDR) are let through although
    they are private, loopback or otherwise reserved. `proxy_url` (`http://user:password@host:port`, or https) is asked
    to connect to the addresses that were checked, for both.
    """

    timeout_s: Seconds = 15
    max_image_bytes: int = Field(default=5 * 2**20, ge=1024, le=32 * 2**20)
    max_image_pixels: int = Field(default=40_000_000, ge=256, le=80_000_000)
    max_redirects: int = Field(default=3, ge=0, le=10)
    allow_networks: tuple[IPvAnyNetwork, ...] = ()
    proxy_url: SecretStr | None = None

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
    """From rendered frames to the file. `max_crop` is the share of a picture that another aspect ratio may cost.

    `upscaler` is a super-resolution checkpoint that spandrel reads, `interpolator` a TorchScript file that maps two
    frames and a moment to the frame between; without them, Lanczos and ffmpeg's minterpolate. `certificate` and
    `certificate_key` (PEM, chain first) sign the C2PA manifest; without them a certificate made on the spot does.
    `preview_at` is the share of the steps after which a preview frame is decoded; 0 is never.
    """

    max_crop: float = Field(default=0.4, ge=0, lt=1)
    upscaler: Path | None = None
    interpolator: Path | None = None
    certificate: Path | None = None
    certificate_key: Path | None = None
    preview_at: float = Field(default=0.5, ge=0, lt=1)

    @model_validator(mode="after")
    def _key_and_certificate(self) -> Self:
        if (self.certificate is None) != (self.certificate_key is None):
            raise ValueError("certificate and certificate_key come together")
        return self


class LimitSettings(Section):
    """What a tenant may do unless `cogmill tenants limit` says otherwise; None is no limit.

    `storage` counts requests: `memory://` for each API process by itself, `redis://host` for all together.
    `gpu_seconds_per_day` counts what was used since midnight UTC and what is queued or running; `largest_request` is in
    predicted GPU seconds.
    """

    storage: str = "memory://"
    requests_per_s: float | None = Field(default=None, gt=0)
    queued: int | None = Field(default=None, ge=0)
    running: int | None = Field(default=None, ge=0)
    gpu_seconds_per_day: float | None = Field(default=None, ge=0)
    largest_request: float | None = Field(default=None, gt=0)

    @property
    def defaults(self) -> Limits:
        """What holds for a tenant that has no limits of its own."""
        return Limits(**self.model_dump(exclude={"storage"}))


class ModerationSettings(Section):
    """Asked before a request is accepted (`prompt`, `image`) and before a video is published (`video`).

    `url` is an HTTP endpoint, `entry_point` a Python callable (`package.module:function`); without either nothing is
    asked. `fail_open` accepts when there is no answer within `timeout_s`.
    """

    url: str | None = None
    entry_point: str | None = None
    prompt: bool = True
    image: bool = False
    video: bool = False
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


class WebhookSettings(Section):
    """`per_host` deliveries are in flight to one host at most, `concurrency` in one process; tries end after
    `give_up_s`, and pause from `base_s` to `cap_s`. After a rotation the old secret signs too for `overlap_s`.
    """

    per_host: int = Field(default=4, ge=1)
    concurrency: int = Field(default=64, ge=1)
    timeout_s: Seconds = 15
    base_s: Seconds = 5
    cap_s: Seconds = 4 * 3600
    give_up_s: Seconds = 72 * 3600
    overlap_s: Seconds = 24 * 3600
    keep_s: Seconds = 30 * 24 * 3600


class BatchSettings(Section):
    """`max_file_bytes` bounds an uploaded file; `ahead` is how many of a batch's jobs are in the queue at a time."""

    max_lines: int = Field(default=50_000, ge=1)
    max_file_bytes: int = Field(default=200 * 2**20, ge=1024)
    ahead: int = Field(default=1000, ge=1)
    priority: int = Field(default=20, ge=0, le=100)


class RaySettings(Section):
    """`address` is what `ray.init` takes (`host:port`); `cluster` names it in the database."""

    address: str | None = None
    cluster: str = "default"


class LeaseSettings(Section):
    """`ttl_s` must outlast a redeploy of the dispatcher plus Ray's own detection of a lost head."""

    ttl_s: Seconds = 180
    beat_s: Seconds = 5
    unheld_grace_s: Seconds = 30
    cancel_poll_s: Seconds = 0.5
    poll_timeout_s: Seconds = 20

    @model_validator(mode="after")
    def _beats_in_time(self) -> Self:
        for name in ("beat_s", "poll_timeout_s"):
            if getattr(self, name) > self.ttl_s / 2:
                raise ValueError(f"{name} must be at most half of ttl_s, or workers that live are taken for dead")
        return self


class RetrySettings(Section):
    max_attempts: int = Field(default=3, ge=1, le=100)
    base_s: Seconds = 5
    cap_s: Seconds = 300


class WatchdogSettings(Section):
    """The longest silence of a stage: at least `floor_s`, else `factor` times its predicted seconds."""

    floor_s: Seconds = 120
    factor: Seconds = 10
    upload_s: Seconds = 900
    load_s: Seconds = 1800


class RetentionSettings(Section):
    """`jobs_s` after its end a job and its objects go; `losers_s` after it, what losing claims uploaded."""

    jobs_s: Seconds = 30 * 24 * 3600
    losers_s: Seconds = 3600
    outbox_s: Seconds = 7 * 24 * 3600
    every_s: Seconds = 60


class MetricsSettings(Section):
    """Where the dispatcher and the maintainer serve `/metrics` and `/healthz`; the API serves them itself."""

    host: str = "127.0.0.1"
    dispatch_port: int = Field(default=9101, ge=0, le=65535)
    maintain_port: int = Field(default=9102, ge=0, le=65535)
    queue_every_s: Seconds = 5


class LogSettings(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"

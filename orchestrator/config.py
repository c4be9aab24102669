"""Settings: read once from the environment and one TOML file, validated, frozen, passed down.

`COGMILL_CONFIG` names the TOML file; every key can be overridden by an environment variable, `COGMILL_` and the path
with `__` between its parts (`COGMILL_S3__BUCKET`). The environment wins over the file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from orchestrator.domain.catalog import FAMILIES, ModelFamily
from orchestrator.domain.errors import ConfigError, UnknownModel
from orchestrator.domain.limits import Limits

# Up to a hundred years: PostgreSQL's intervals and the system's timers take no infinity.
Seconds = Annotated[float, Field(gt=0, le=100 * 365.25 * 24 * 3600, allow_inf_nan=False)]


# What asyncpg takes from a URL: `ssl=require`, `verify-full`, ...; `host` and `port` for sockets and several servers.
_DATABASE_OPTIONS = ("ssl", "host", "port")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelSettings(_Section):
    """One loadable model: the catalogue's family, and the directory of its diffusers checkpoint.

    `image_model` names the configured model that takes over when a request brings an image; without it that is the one
    of the family's image-to-video sibling.
    """

    family: str
    path: Path
    accept_licence: bool = False
    image_model: str | None = None

    @model_validator(mode="after")
    def _known_and_licensed(self) -> Self:
        family = FAMILIES.get(self.family)
        if family is None:
            raise ValueError(f"family {self.family!r} is none of {', '.join(FAMILIES)}")
        if family.must_accept_licence and not self.accept_licence:
            raise ValueError(f"accept_licence must be true to load {family.name}: read the {family.licence}")
        return self


class PoolSettings(_Section):
    """Workers that hold the same model."""

    model: str
    workers: int = Field(default=1, ge=0, le=10_000)
    gpus_per_worker: int = Field(default=1, ge=1, le=1)


class S3Settings(_Section):
    """`public_url` is the host that callers reach for signed URLs; S3 signs the host, so it must have no path."""

    endpoint_url: str | None = None
    public_url: str | None = None
    region: str = "us-east-1"
    bucket: str = "cogmill"
    access_key: str | None = None
    secret_key: SecretStr | None = None
    url_lifetime_s: int = Field(default=24 * 3600, ge=1, le=7 * 24 * 3600)
    connect_timeout_s: Seconds = 5
    read_timeout_s: Seconds = 60
    max_attempts: int = Field(default=5, ge=1, le=20)
    multipart_threshold_bytes: int = Field(default=16 * 2**20, ge=5 * 2**20)

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


class ApiSettings(_Section):
    """`key_cache_s` is how long a revoked key may go on working on a replica that has just seen it."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    max_body_bytes: int = Field(default=1 * 2**20, ge=1024)
    key_cache_s: float = Field(default=2.0, ge=0, le=60)
    max_prompt_chars: int = Field(default=2_000, ge=1)


class FetchSettings(_Section):
    """URLs that callers give: images to begin at, webhooks to call. `allow_networks` (CIDR) are let through although
    they are private, loopback or otherwise reserved.
    """

    timeout_s: Seconds = 15
    max_image_bytes: int = Field(default=5 * 2**20, ge=1024, le=32 * 2**20)
    max_image_pixels: int = Field(default=40_000_000, ge=256, le=80_000_000)
    max_redirects: int = Field(default=3, ge=0, le=10)
    allow_networks: tuple[IPvAnyNetwork, ...] = ()


class FinishSettings(_Section):
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


class LimitSettings(_Section):
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


class ModerationSettings(_Section):
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


class WebhookSettings(_Section):
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


class BatchSettings(_Section):
    """`max_file_bytes` bounds an uploaded file; `ahead` is how many of a batch's jobs are in the queue at a time."""

    max_lines: int = Field(default=50_000, ge=1)
    max_file_bytes: int = Field(default=200 * 2**20, ge=1024)
    ahead: int = Field(default=1000, ge=1)
    priority: int = Field(default=20, ge=0, le=100)


class RaySettings(_Section):
    """`address` is what `ray.init` takes (`host:port`); `cluster` names it in the database."""

    address: str | None = None
    cluster: str = "default"


class LeaseSettings(_Section):
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


class RetrySettings(_Section):
    max_attempts: int = Field(default=3, ge=1, le=100)
    base_s: Seconds = 5
    cap_s: Seconds = 300


class WatchdogSettings(_Section):
    """The longest silence of a stage: at least `floor_s`, else `factor` times its predicted seconds."""

    floor_s: Seconds = 120
    factor: Seconds = 10
    upload_s: Seconds = 900
    load_s: Seconds = 1800


class RetentionSettings(_Section):
    """`jobs_s` after its end a job and its objects go; `losers_s` after it, what losing claims uploaded."""

    jobs_s: Seconds = 30 * 24 * 3600
    losers_s: Seconds = 3600
    outbox_s: Seconds = 7 * 24 * 3600
    every_s: Seconds = 60


class MetricsSettings(_Section):
    """Where the dispatcher and the maintainer serve `/metrics` and `/healthz`; the API serves them itself."""

    host: str = "127.0.0.1"
    dispatch_port: int = Field(default=9101, ge=0, le=65535)
    maintain_port: int = Field(default=9102, ge=0, le=65535)
    queue_every_s: Seconds = 5


class LogSettings(_Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


class Settings(BaseSettings):
    """Everything a Cogmill process is told. Frozen; build it with `load`."""

    model_config = SettingsConfigDict(
        env_prefix="COGMILL_", env_nested_delimiter="__", frozen=True, extra="forbid", env_ignore_empty=True
    )

    database_url: str
    master_key: SecretStr
    default_model: str
    models: dict[str, ModelSettings]
    pools: dict[str, PoolSettings]
    aliases: dict[str, str] = Field(default_factory=dict)
    s3: S3Settings = S3Settings()
    api: ApiSettings = ApiSettings()
    ray: RaySettings = RaySettings()
    lease: LeaseSettings = LeaseSettings()
    retry: RetrySettings = RetrySettings()
    watchdog: WatchdogSettings = WatchdogSettings()
    fetch: FetchSettings = FetchSettings()
    finish: FinishSettings = FinishSettings()
    limits: LimitSettings = LimitSettings()
    moderation: ModerationSettings = ModerationSettings()
    webhooks: WebhookSettings = WebhookSettings()
    batches: BatchSettings = BatchSettings()
    retention: RetentionSettings = RetentionSettings()
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _names_resolve(self) -> Self:
        if len(self.master_key.get_secret_value()) < 16:
            raise ValueError("master_key must have at least 16 characters")
        _check_database_url(self.database_url)
        for pool_name, pool in self.pools.items():
            if pool.model not in self.models:
                raise ValueError(f"pools.{pool_name}.model {pool.model!r} is none of models: {', '.join(self.models)}")
        for name, model in self.models.items():
            sibling = model.image_model
            if sibling is not None and (
                sibling not in self.models or not FAMILIES[self.models[sibling].family].image_to_video
            ):
                raise ValueError(f"models.{name}.image_model {sibling!r} is no configured image-to-video model")
        served = {pool.model for pool in self.pools.values()}
        for name in self.models:
            if name not in served:
                raise ValueError(f"models.{name} is served by no pool")
        for alias, target in {"default_model": self.default_model, **self.aliases}.items():
            where = alias if alias == "default_model" else f"aliases.{alias}"
            if target not in self.models:
                raise ValueError(f"{where} {target!r} is none of models: {', '.join(self.models)}")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        path = os.environ.get("COGMILL_CONFIG")
        toml = (TomlConfigSettingsSource(settings_cls, Path(path)),) if path else ()
        return (init_settings, env_settings, *toml)

    def resolve_model(self, name: str | None) -> str:
        """The configured model behind a requested name, an alias or None (the default). Raises `UnknownModel`."""
        if name is None:
            return self.default_model
        folded = name.strip().casefold()
        for known in self.models:
            if known.casefold() == folded:
                return known
        for alias, model in self.aliases.items():
            if alias.casefold() == folded:
                return model
        raise UnknownModel(name, (*self.models, *self.aliases))

    def family_of(self, model: str) -> ModelFamily:
        """The catalogue's entry for a configured model."""
        return FAMILIES[self.models[model].family]

    def image_model_of(self, model: str) -> str | None:
        """The configured model that renders from an image what `model` renders without; None when there is none."""
        family = self.family_of(model)
        if family.image_to_video:
            return model
        if self.models[model].image_model is not None:
            return self.models[model].image_model
        return next((name for name in self.models if self.models[name].family == family.image_sibling), None)

    def pool_of(self, model: str) -> str:
        """The pool that serves a configured model (the first one configured)."""
        return next(name for name, pool in self.pools.items() if pool.model == model)


def load(**overrides: Any) -> Settings:
    """Read and validate the settings; raise `ConfigError` with one line per wrong key."""
    path = os.environ.get("COGMILL_CONFIG")
    if path and not Path(path).is_file():
        raise ConfigError(f"COGMILL_CONFIG: no such file: {path}")
    _refuse_unknown_variables()
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(item) for item in error.errors(include_url=False))) from None
    except ValueError as error:  # a TOML file that does not parse
        raise ConfigError(f"COGMILL_CONFIG {path}: {error}") from None


def _check_database_url(url: str) -> None:
    """Raise `ValueError` for what the driver would only trip over later. The password is in no message."""
    if not url.startswith("postgresql://"):
        raise ValueError("database_url must start with postgresql://")
    parts = urlsplit(url)
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("database_url has no valid port") from None
    for name in parse_qs(parts.query, keep_blank_values=True):
        if name not in _DATABASE_OPTIONS:
            raise ValueError(f"database_url has the option {name!r}; known are {', '.join(_DATABASE_OPTIONS)}")


def _refuse_unknown_variables() -> None:
    """Raise for `COGMILL_X__Y` without a section X, which pydantic-settings passes over in silence.

    Others are let be: Kubernetes itself sets `COGMILL_API_PORT` and the like beside a service of that name.
    """
    sections = sorted(name.upper() for name in Settings.model_fields)
    for variable in sorted(os.environ):
        section, nested, _ = variable.removeprefix("COGMILL_").partition("__")
        if variable.startswith("COGMILL_") and nested and section not in sections:
            raise ConfigError(f"{variable}: there is no section {section}; known are {', '.join(sections)}")


def _explain(item: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in item["loc"])
    message = str(item["msg"]).removeprefix("Value error, ")
    if not key:
        return message
    variable = "COGMILL_" + "__".join(str(part) for part in item["loc"]).upper()
    return f"{key}: {message} (environment: {variable})"

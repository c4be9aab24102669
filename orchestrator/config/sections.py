"""The sections of the settings, each with its bounds and its defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, IPvAnyNetwork, SecretStr, model_validator

from orchestrator.domain.catalog import FAMILIES, Profile
from orchestrator.domain.limits import Limits

# Up to a hundred years: PostgreSQL's intervals and the system's timers take no infinity.
Seconds = Annotated[float, Field(gt=0, le=100 * 365.25 * 24 * 3600, allow_inf_nan=False)]

# How strongly an adapter may be applied: backwards, not at all, as it was trained, and more.
ADAPTER_SCALES = (-4, 4)

# The schemes of what workers fetch.
_FETCHED = ("hf", "s3")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _known_source(source: str) -> str:
    scheme, marked, rest = source.partition("://")
    if not source or (marked and (scheme not in _FETCHED or "/" not in rest.strip("/"))):
        raise ValueError("must be a path, hf://organisation/name@revision or s3://bucket/prefix")
    return source


class _Sourced(_Section):
    """What has its files somewhere: `source` is a path, or a URL whose files workers fetch to `models_cache`."""

    source: Annotated[str, AfterValidator(_known_source)]

    @property
    def directory(self) -> Path | None:
        """Its place on the disk; None for what workers fetch."""
        return None if "://" in self.source else Path(self.source)


class ModelSettings(_Sourced):
    """One loadable model: the catalogue's family, and where its diffusers checkpoint is.

    `source` is a directory on every worker's node, `hf://organisation/name@revision` (Hugging Face), or
    `s3://bucket/prefix` (our S3's endpoint and keys); what is not on the node is fetched to `models_cache`.
    `path` is an older name for a source that is a directory. `image_model` names the configured model that takes over
    when a request brings an image; without it that is the one of the family's image-to-video sibling.
    """

    family: str
    path: Path | None = Field(default=None, exclude=True)
    accept_licence: bool = False
    image_model: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_source(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("path") is not None:
            if data.get("source"):
                raise ValueError("source and path exclude each other")
            return {**data, "source": str(data["path"])}
        return data

    @model_validator(mode="after")
    def _known_and_licensed(self) -> Self:
        family = FAMILIES.get(self.family)
        if family is None:
            raise ValueError(f"family {self.family!r} is none of {', '.join(FAMILIES)}")
        if family.must_accept_licence and not self.accept_licence:
            raise ValueError(f"accept_licence must be true to load {family.name}: read the {family.licence}")
        return self


class AdapterSettings(_Sourced):
    """One LoRA adapter that requests may name: a `source` as a model has it, of `models`, and its usual strength."""

    models: tuple[str, ...] = Field(min_length=1)
    scale: float = Field(default=1.0, ge=ADAPTER_SCALES[0], le=ADAPTER_SCALES[1])


class EngineSettings(_Section):
    """How workers treat their renders.

    A checkpoint of each is stored every `checkpoint_every_s`, 0 is only when it leaves; begun renders share `park_mib`
    of device memory, which bounds how many can wait for a more urgent one. A worker is replaced after
    `quarantine_after` different jobs failed in a row. A worker that is told to go (SIGTERM, a spot notice) has
    `notice_s` for its checkpoints.
    """

    checkpoint_every_s: float = Field(default=60, ge=0, le=24 * 3600)
    park_mib: int = Field(default=2048, ge=0)
    quarantine_after: int = Field(default=3, ge=1, le=1000)
    notice_s: Seconds = 25


class PoolSettings(_Section):
    """Workers that hold the same model, each on `gpus_per_worker` GPUs.

    `profiles` are those that it renders; none means all that it can. `attention` names a diffusers attention backend,
    `auto` takes the quickest one that passes a numeric check when the model is loaded. `compile` compiles the
    transformer's block for `warm_shapes` (`WIDTHxHEIGHTxFRAMES`; by default the native one), `auto` does on a GPU.
    `quantization` keeps the linear layers in 8 bits, and then cannot render `exact`. Up to `batch_size` renders of
    one shape step together. `adapters_cached` LoRA adapters stay in memory.
    """

    model: str
    workers: int = Field(default=1, ge=0, le=10_000)
    gpus_per_worker: int = Field(default=1, ge=1, le=8)
    profiles: tuple[Profile, ...] = ()
    attention: str = "auto"
    compile: Literal["auto", "on", "off"] = "auto"
    warm_shapes: tuple[Annotated[str, Field(pattern=r"^\d{1,5}x\d{1,5}x\d{1,4}$")], ...] = ()
    quantization: Literal["none", "fp8", "int8"] = "none"
    batch_size: int = Field(default=1, ge=1, le=16)
    adapters_cached: int = Field(default=4, ge=1, le=64)

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.quantization != "none" and Profile.EXACT in self.profiles:
            raise ValueError(f"profiles cannot have exact with quantization {self.quantization}")
        if self.gpus_per_worker > 1 and self.batch_size > 1:
            raise ValueError("batch_size must be 1 with more than one of gpus_per_worker")
        if self.gpus_per_worker > 1 and self.quantization != "none":
            raise ValueError("quantization must be none with more than one of gpus_per_worker")
        return self

    @property
    def served(self) -> tuple[Profile, ...]:
        """The profiles that its workers render."""
        able = [profile for profile in Profile if self.quantization == "none" or profile is not Profile.EXACT]
        return self.profiles or tuple(able)

    @property
    def as_loaded(self) -> PoolSettings:
        """Without what a running worker would not notice."""
        return self.model_copy(update={"workers": 0, "profiles": ()})


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

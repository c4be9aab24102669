"""The sections of what renders: models, adapters, the engine, and pools of workers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from orchestrator.config.section import Seconds, Section
from orchestrator.domain.catalog import FAMILIES, ModelFamily, Profile, Size
from orchestrator.policy.hours import ClosedHours

# How strongly an adapter may be applied: backwards, not at all, as it was trained, and more.
ADAPTER_SCALES = (-4, 4)

# Resources that mean something to Ray itself.
_RAYS_OWN = ("cpu", "gpu", "memory", "object_store_memory")

# The schemes of what workers fetch.
_FETCHED = ("hf", "s3")


def _known_source(source: str) -> str:
    scheme, marked, rest = source.partition("://")
    if not source or (marked and (scheme not in _FETCHED or "/" not in rest.strip("/"))):
        raise ValueError("must be a path, hf://organisation/name@revision or s3://bucket/prefix")
    return source


class _Sourced(Section):
    """What has its files somewhere."""

    # A directory on every worker's node, `hf://organisation/name@revision` (Hugging Face), or `s3://bucket/prefix` (our
    # S3's endpoint and keys). What is not on the node is fetched to `models_cache`.
    source: Annotated[str, AfterValidator(_known_source)]

    @property
    def directory(self) -> Path | None:
        """Its place on the disk; None for what workers fetch."""
        return None if "://" in self.source else Path(self.source)


class ModelSettings(_Sourced):
    """One loadable model, and where its diffusers checkpoint is."""

    # Its name in the catalogue.
    family: str
    # An older name for a source that is a directory.
    path: Path | None = Field(default=None, exclude=True)
    # Some families are loaded only by who has read their licence.
    accept_licence: bool = False
    # `WIDTHxHEIGHT`: those of the family's that are offered, the first one by default; none is all. A checkpoint that
    # lacks one of them is not loaded.
    sizes: tuple[Annotated[str, Field(pattern=r"^\d{1,5}x\d{1,5}$")], ...] = ()
    # The configured model that takes over when a request brings an image; None: the one of the family's image sibling.
    image_model: str | None = None

    @property
    def offered(self) -> tuple[Size, ...]:
        """`sizes` as numbers: width and height in pixels."""
        pairs = (size.split("x") for size in self.sizes)
        return tuple((int(width), int(height)) for width, height in pairs)

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
        for size in self.offered:
            if size not in family.sizes:
                raise ValueError(f"sizes has {size[0]}x{size[1]}, and {family.name} renders {family.sizes_words}")
        return self


class AdapterSettings(_Sourced):
    """One LoRA adapter that requests may name."""

    # The configured models that take it.
    models: tuple[str, ...] = Field(min_length=1)
    # How strongly it is applied where a request says nothing.
    scale: float = Field(default=1.0, ge=ADAPTER_SCALES[0], le=ADAPTER_SCALES[1])


class EngineSettings(Section):
    """How workers treat their renders."""

    # Between two checkpoints of a render; 0 stores one only when it leaves.
    checkpoint_every_s: float = Field(default=60, ge=0, le=24 * 3600)
    # Device memory that begun renders share: it bounds how many can wait for a more urgent one.
    park_mib: int = Field(default=2048, ge=0)
    # A worker is replaced after so many different jobs failed on it in a row.
    quarantine_after: int = Field(default=3, ge=1, le=1000)
    # A worker that is told to go (SIGTERM, a spot notice) has so long for its checkpoints.
    notice_s: Seconds = 25


KindName = Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$")]


# What is said of kinds, unsaid.
_SCALED: dict[str, Any] = {"kinds": {}, "max_gpus": None, "max_money_per_hour": None}


class KindSettings(Section):
    """Workers of a pool that cost and do the same: spot, on-demand, another GPU."""

    # What one GPU costs in an hour, in `billing.currency`; none is the pool's.
    price_per_gpu_hour: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    # Workers that are always there, and as many as there may be.
    min: int = Field(default=0, ge=0, le=10_000)
    max: int = Field(ge=0, le=10_000)
    # How much faster than the GPU that the catalogue's costs were measured on.
    speed: float = Field(default=1.0, gt=0, le=1000, allow_inf_nan=False)
    # From asking for a worker until it renders: its node comes, and the model is loaded.
    start_s: Seconds = 300
    # The Ray resource that its nodes have, and no others; none is any node.
    resource: str | None = Field(default=None, pattern=r"^[A-Za-z][A-Za-z0-9_.:/-]{0,62}$")
    # Its nodes may be taken away, with a notice.
    may_vanish: bool = False

    @field_validator("resource")
    @classmethod
    def _is_its_own(cls, resource: str | None) -> str | None:
        if resource is not None and (resource.startswith("node:") or resource.lower() in _RAYS_OWN):
            raise ValueError(f"{resource!r} is a resource of Ray's own; give the kind's nodes one of their own")
        return resource

    @model_validator(mode="after")
    def _min_fits(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is more than max {self.max}")
        return self


class PoolSettings(Section):
    """Workers that hold the same model."""

    # A configured model's name.
    model: str
    workers: int = Field(default=1, ge=0, le=10_000)
    gpus_per_worker: int = Field(default=1, ge=1, le=8)
    # Those that it renders; none is all that it can.
    profiles: tuple[Profile, ...] = ()
    # The precision that the model is loaded in. `auto`: the family's own on a GPU; on a CPU float32 where it fits, else
    # bfloat16.
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    # A diffusers attention backend. `auto`: the quickest one that passes a numeric check when the model is loaded.
    attention: str = "auto"
    # Whether the transformer's block is compiled. `auto`: on a GPU.
    compile: Literal["auto", "on", "off"] = "auto"
    # What it is compiled for: `WIDTHxHEIGHTxFRAMES`; none is the native one.
    warm_shapes: tuple[Annotated[str, Field(pattern=r"^\d{1,5}x\d{1,5}x\d{1,4}$")], ...] = ()
    # The linear layers in 8 bits. Then `exact` cannot be rendered.
    quantization: Literal["none", "fp8", "int8"] = "none"
    # So many renders of one shape step together, at most.
    batch_size: int = Field(default=1, ge=1, le=16)
    # LoRA adapters that stay in memory.
    adapters_cached: int = Field(default=4, ge=1, le=64)
    # What one GPU costs in an hour, in `billing.currency`. This and what follows is no worker's business: it is not
    # dumped, or workers of the release before, which know nothing of it, would have another plan for ever.
    price_per_gpu_hour: float | None = Field(default=None, ge=0, allow_inf_nan=False, exclude=True)
    # When campaigns render nothing here: `Mon-Fri 08:00-18:00 Europe/Berlin`.
    closed_hours: tuple[str, ...] = Field(default=(), exclude=True)
    # Kinds of workers that there are more or fewer of as the work asks; none is one kind, `workers` of it at all times.
    kinds: dict[KindName, KindSettings] = Field(default_factory=dict, exclude=True)
    # Of all kinds together; none is no cap.
    max_gpus: int | None = Field(default=None, ge=0, exclude=True)
    max_money_per_hour: float | None = Field(default=None, ge=0, allow_inf_nan=False, exclude=True)

    @field_validator("closed_hours")
    @classmethod
    def _readable(cls, lines: tuple[str, ...]) -> tuple[str, ...]:
        ClosedHours.parse(lines)
        return lines

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.quantization != "none" and Profile.EXACT in self.profiles:
            raise ValueError(f"profiles cannot have exact with quantization {self.quantization}")
        if self.gpus_per_worker > 1 and self.batch_size > 1:
            raise ValueError("batch_size must be 1 with more than one of gpus_per_worker")
        if self.gpus_per_worker > 1 and self.quantization != "none":
            raise ValueError("quantization must be none with more than one of gpus_per_worker")
        return self

    @model_validator(mode="after")
    def _kinds_fit(self) -> Self:
        if not self.kinds:
            for key in ("max_gpus", "max_money_per_hour"):
                if getattr(self, key) is not None:
                    raise ValueError(f"{key} needs kinds: without them there are `workers` workers")
            return self
        if "workers" in self.model_fields_set:
            raise ValueError("workers and kinds exclude each other: a kind has min and max")
        least = [(kind.min * self.gpus_per_worker, self.price_of(name)) for name, kind in self.kinds.items()]
        if self.max_gpus is not None and sum(gpus for gpus, _ in least) > self.max_gpus:
            raise ValueError(f"max_gpus {self.max_gpus} is less than what min of the kinds takes")
        money = sum(gpus * (price or 0.0) for gpus, price in least)
        if self.max_money_per_hour is not None and money > self.max_money_per_hour:
            raise ValueError(f"max_money_per_hour {self.max_money_per_hour:g} is less than what min of the kinds costs")
        for name in self.kinds:
            if self.max_money_per_hour is not None and self.price_of(name) is None:
                raise ValueError(f"max_money_per_hour needs a price_per_gpu_hour of the kind {name}")
        return self

    def price_of(self, kind: str) -> float | None:
        """What one GPU of a kind costs in an hour; None is unknown."""
        own = self.kinds[kind].price_per_gpu_hour if kind in self.kinds else None
        return self.price_per_gpu_hour if own is None else own

    @property
    def said_workers(self) -> int:
        """`workers` where they are said; the default is that of a pool that shares none."""
        return self.workers if "workers" in self.model_fields_set else 0

    @property
    def most_workers(self) -> int:
        """As many as there may be, of all kinds."""
        if not self.kinds:
            return self.workers
        most = sum(kind.max for kind in self.kinds.values())
        return most if self.max_gpus is None else min(most, self.max_gpus // self.gpus_per_worker)

    @property
    def least_workers(self) -> int:
        """As many as are there at all times."""
        return sum(kind.min for kind in self.kinds.values()) if self.kinds else self.workers

    def check_dtype(self, family: ModelFamily) -> None:
        """Raise `ValueError` for a precision that this family's models, or the quantization, cannot have."""
        if self.dtype == "float16" and family.temporal_patch > 1:
            raise ValueError(f"dtype cannot be float16: {family.name} renders black videos in it")
        used = family.dtype if self.dtype == "auto" else self.dtype
        if self.quantization == "fp8" and used != "bfloat16":
            raise ValueError(f"quantization fp8 needs dtype bfloat16, and {family.name} would be loaded in {used}")

    @property
    def served(self) -> tuple[Profile, ...]:
        """The profiles that its workers render."""
        able = [profile for profile in Profile if self.quantization == "none" or profile is not Profile.EXACT]
        return self.profiles or tuple(able)

    @property
    def price_per_hour(self) -> float | None:
        """What an hour of one worker costs, with all its GPUs: of the dearest kind. None is unknown."""
        prices = [self.price_of(kind) for kind in self.kinds] or [self.price_per_gpu_hour]
        known = [price for price in prices if price is not None]
        return max(known) * self.gpus_per_worker if len(known) == len(prices) else None

    @property
    def price_of_work(self) -> float | None:
        """What an hour of the reference kind's work costs where it costs most; None is unknown.

        A kind that is half as fast takes twice as long for it.
        """
        if not self.kinds or self.price_per_hour is None:
            return self.price_per_hour
        prices = [(self.price_of(name) or 0.0) / kind.speed for name, kind in self.kinds.items()]
        return max(prices) * self.gpus_per_worker

    @property
    def closed(self) -> ClosedHours:
        """`closed_hours` as they are reckoned with."""
        return ClosedHours.parse(self.closed_hours)

    @property
    def as_loaded(self) -> PoolSettings:
        """Without what a running worker would not notice."""
        unnoticed = {"workers": 0, "profiles": (), "price_per_gpu_hour": None, "closed_hours": ()}
        return self.model_copy(update=unnoticed | _SCALED)

    @property
    def as_sent(self) -> PoolSettings:
        """Without kinds, which are no worker's business: a release that does not know them can read the rest."""
        return self.model_copy(update=_SCALED)

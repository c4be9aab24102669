"""The sections of what renders: models, adapters, the engine, and pools of workers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from orchestrator.config.section import Seconds, Section
from orchestrator.domain.catalog import FAMILIES, ModelFamily, Profile, Size

# How strongly an adapter may be applied: backwards, not at all, as it was trained, and more.
ADAPTER_SCALES = (-4, 4)

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

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.quantization != "none" and Profile.EXACT in self.profiles:
            raise ValueError(f"profiles cannot have exact with quantization {self.quantization}")
        if self.gpus_per_worker > 1 and self.batch_size > 1:
            raise ValueError("batch_size must be 1 with more than one of gpus_per_worker")
        if self.gpus_per_worker > 1 and self.quantization != "none":
            raise ValueError("quantization must be none with more than one of gpus_per_worker")
        return self

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
    def as_loaded(self) -> PoolSettings:
        """Without what a running worker would not notice."""
        return self.model_copy(update={"workers": 0, "profiles": ()})

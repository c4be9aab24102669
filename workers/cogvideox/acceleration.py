"""How a loaded transformer is made quick: attention backend, 8-bit linears, compiled block, step cache."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, Self

import torch

from orchestrator.config import PoolSettings
from orchestrator.domain.catalog import RECIPES, ModelFamily, Profile
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.job import RenderSpec
from orchestrator.telemetry import logs
from workers.cogvideox import attention, numerics, stepcache
from workers.cogvideox.compilation import VideoShape, compile_blocks
from workers.cogvideox.quantize import quantize
from workers.cogvideox.stepcache import Blocks, StepCache, Total

if TYPE_CHECKING:
    from diffusers import CogVideoXTransformer3DModel

# What brings a backend's kernels, by what its name begins with, in this order. All others' are torch's own.
_KERNELS = (
    ("flash_3", "flash_attn_3"),
    ("flash_varlen_3", "flash_attn_3"),
    ("flash", "flash_attn"),
    ("sage", "sageattention"),
    ("xformers", "xformers"),
)


class Stepping(Protocol):
    """What of a render the step cache needs (`workers/cogvideox/render.py`); told from another by identity."""

    @property
    def spec(self) -> RenderSpec: ...

    @property
    def step(self) -> int:
        """How many are done."""
        ...


class Acceleration:
    """What was done to one loaded transformer; for the one thread that steps it."""

    def __init__(
        self, family: ModelFamily, blocks: Blocks, facts: Mapping[str, str], compiled: Iterable[VideoShape]
    ) -> None:
        self._family = family
        self._blocks = blocks
        self._facts = facts
        self._compiled = {shape.tokens(family) for shape in compiled}
        self._caches: dict[Stepping, StepCache] = {}

    @classmethod
    def prepare(
        cls,
        transformer: CogVideoXTransformer3DModel,
        family: ModelFamily,
        device: torch.device,
        settings: PoolSettings,
        *,
        total: Total = lambda sums: sums,
        backend: str | Callable[..., Any] = "inductor",
    ) -> Self:
        """Make `transformer` as quick as `settings` allow, in place. Raises `ConfigError` where they ask too much.

        `total` sums over the ranks that share a render, which must all skip the same steps. `backend` is
        torch.compile's. A render with a LoRA adapter runs uncompiled; one without finds the blocks as compiled
        (`workers/cogvideox/adapters.py`).
        """
        exact = Profile.EXACT in settings.served
        name = attention.choose(settings.attention, _attended(transformer, family, device, settings), exact=exact)
        attention.install(transformer, attention.Dispatched(name))
        if settings.quantization != "none":
            quantize(transformer, settings.quantization, device)
        shapes = _compile(transformer, family, device, settings, backend)
        facts = {"attention": name, "quantization": settings.quantization, **_versions(name, settings.quantization)}
        return cls(family, stepcache.install(transformer, total), facts, shapes)

    @property
    def attention(self) -> str:
        """The attention backend's name."""
        return self._facts["attention"]

    def facts(self, spec: RenderSpec) -> Mapping[str, str]:
        """What of it decides the bits of a render of this spec that steps alone; part of its numerics fingerprint."""
        announced = VideoShape.of(spec).tokens(self._family) in self._compiled
        compiled = announced and spec.guidance_scale > 1 and spec.adapter is None
        threshold = RECIPES[spec.profile].cache_threshold
        return {
            **self._facts,
            "compiled": "yes" if compiled else "no",
            "step cache": "none" if threshold is None else f"first block under {threshold}",
        }

    @contextmanager
    def around(self, render: Stepping) -> Iterator[None]:
        """Wrap each forward of a render that steps alone; its profile may let it skip most of the blocks."""
        threshold = RECIPES[render.spec.profile].cache_threshold
        if threshold is None:
            yield
            return
        cache = self._caches.setdefault(render, StepCache(threshold))
        with self._blocks.using(cache, render.step):
            yield

    def cache(self, render: Stepping) -> StepCache | None:
        """What is remembered for a render."""
        return self._caches.get(render)

    def forget(self, render: Stepping) -> None:
        """`render` steps no more: give back what was remembered for it."""
        self._caches.pop(render, None)


def _versions(backend: str, quantization: str) -> dict[str, str]:
    """Of the packages that compute in these ways, beside torch."""
    packages = [] if quantization == "none" else ["torchao"]
    if not backend.endswith("_hub"):  # of a hub's kernels diffusers names the version
        packages += [package for prefix, package in _KERNELS if backend.lstrip("_").startswith(prefix)][:1]
    return {package: numerics.version(package) for package in packages}


def _attended(
    transformer: CogVideoXTransformer3DModel, family: ModelFamily, device: torch.device, settings: PoolSettings
) -> attention.Shape:
    """What a block attends to at the family's native shape, with guidance."""
    config = transformer.config
    return attention.Shape(
        batch=2,
        heads=max(1, config.num_attention_heads // settings.gpus_per_worker),
        tokens=family.max_prompt_tokens + VideoShape.native(family).tokens(family),
        head_dim=config.attention_head_dim,
        dtype=transformer.dtype,
        device=device,
    )


def _compile(
    transformer: CogVideoXTransformer3DModel,
    family: ModelFamily,
    device: torch.device,
    settings: PoolSettings,
    backend: str | Callable[..., Any],
) -> Collection[VideoShape]:
    """Compile as the settings say, and return the shapes for which a render that steps alone runs compiled."""
    wanted = settings.compile == "on"
    if settings.compile == "off" or not (wanted or device.type == "cuda"):
        return ()
    if settings.gpus_per_worker > 1:
        if wanted:
            raise ConfigError("compile cannot be on where several GPUs share a render")
        return ()
    shapes = frozenset(map(VideoShape.parse, settings.warm_shapes)) or {VideoShape.native(family)}
    try:
        compile_blocks(transformer, family, shapes, {2, 2 * settings.batch_size}, backend)
    # Whatever the compiler raises: of torch's own, of Triton's, of a C++ compiler that is not there.
    except Exception as error:
        reason = " ".join(str(error).split())[:500]
        if wanted:
            raise ConfigError(f"compile is on and fails: {reason}") from error
        logs.get("acceleration").warning("compile_failed", error=reason)
        return ()
    return shapes

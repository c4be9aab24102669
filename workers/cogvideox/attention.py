"""CogVideoX's attention with the backend that was chosen: diffusers' own processor takes no notice of any."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch
from diffusers.models.attention_dispatch import AttentionBackendName, attention_backend, dispatch_attention_fn
from diffusers.models.embeddings import apply_rotary_emb
from torch.nn import functional

from orchestrator.domain.errors import ConfigError

if TYPE_CHECKING:
    from diffusers import CogVideoXTransformer3DModel
    from diffusers.models.attention import Attention

# Query, key and value, each [batch, heads, tokens, head dim] with the text's tokens first, and how many those are;
# gives [batch, heads, tokens, head dim].
Attend: TypeAlias = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, int], torch.Tensor]

NATIVE = "native"

# What `auto` tries on a GPU, those without approximation first. Kernels from a hub are not among them: whoever wants
# code to be downloaded names it.
_EXACT = (NATIVE, "_native_cudnn", "_native_flash", "flash", "_flash_3")
_APPROXIMATE = ("sage", "_sage_qk_int8_pv_fp8_cuda", "_sage_qk_int8_pv_fp8_cuda_sm90")

# Relative error (L2) against the mathematical definition in float32. Kernels that keep the inputs' precision stay
# below the first; 8-bit ones (SageAttention, arXiv:2411.10958) below the second.
_TOLERANCE = {torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 1e-2}
_TOLERANCE_8_BIT = 8e-2

# Tokens of the numeric check: of a length that fits no kernel's tiles, and whose whole score matrix fits in memory.
_CHECKED_TOKENS = 1226
_TIMED_RUNS = 3
_NEARLY = 1.1


@dataclass(frozen=True, slots=True)
class Shape:
    """What a backend must be good at: [batch, heads, tokens, head dim] of one type on one device."""

    batch: int
    heads: int
    tokens: int
    head_dim: int
    dtype: torch.dtype
    device: torch.device

    def drawn(self, batch: int, tokens: int) -> Iterator[torch.Tensor]:
        """Query, key and value as normalised ones are: each number about one. The same at every call."""
        generator = torch.Generator(self.device).manual_seed(0)
        size = (batch, self.heads, tokens, self.head_dim)
        for _ in range(3):
            yield torch.randn(size, generator=generator, device=self.device).to(self.dtype)


class Dispatched:
    """Attends with a backend of diffusers, named in each call: its global default is not asked and stays as it is."""

    def __init__(self, name: str) -> None:
        self._backend = AttentionBackendName(name)

    def __call__(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, text_tokens: int) -> torch.Tensor:
        # diffusers dispatches [batch, tokens, heads, head dim].
        turned = (each.transpose(1, 2) for each in (query, key, value))
        attended: torch.Tensor = dispatch_attention_fn(*turned, backend=self._backend)
        return attended.transpose(1, 2)


class Processor:
    """Does what diffusers' `CogVideoXAttnProcessor2_0` does, with `attend` in place of torch's own attention.

    Queries and keys are normalised; those of image tokens are turned by their positions when the model is a rotary one.
    """

    def __init__(self, attend: Attend) -> None:
        self.attend = attend

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        attention_mask: None = None,
        image_rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Image and text tokens, each [batch, tokens, dim], after attention over both; this family never masks."""
        text_tokens = encoder_hidden_states.size(1)
        tokens = torch.cat([encoder_hidden_states, hidden_states], dim=1)
        query, key, value = (
            project(tokens).unflatten(2, (attn.heads, -1)).transpose(1, 2)
            for project in (attn.to_q, attn.to_k, attn.to_v)
        )
        query, key = attn.norm_q(query), attn.norm_k(key)
        if image_rotary_emb is not None:
            for turned in (query, key):
                turned[:, :, text_tokens:] = apply_rotary_emb(turned[:, :, text_tokens:], image_rotary_emb)
        attended = self.attend(query, key, value, text_tokens)
        tokens = attn.to_out[0](attended.transpose(1, 2).flatten(2))
        return tokens[:, text_tokens:], tokens[:, :text_tokens]


def install(transformer: CogVideoXTransformer3DModel, attend: Attend) -> None:
    """Make every block of `transformer` attend with `attend` from now on."""
    transformer.set_attn_processor(Processor(attend))


def choose(wanted: str, shape: Shape, *, exact: bool) -> str:
    """The backend's name: `wanted`, or for `auto` the quickest that passes the numeric check for this shape.

    Of those that are nearly as quick the first in a fixed order, so that equal workers choose alike: their numerics
    differ otherwise, and neither could go on with the other's renders. `exact` allows none that computes in 8 bits. On
    the CPU `auto` is diffusers' own choice, bit for bit. Raises `ConfigError` when the wanted one cannot run here or
    fails the check, and says why.
    """
    if wanted != "auto":
        problem = unfit(wanted, shape, exact=exact)
        if problem:
            raise ConfigError(f"attention {wanted!r} cannot be used here: {problem}")
        return wanted
    if shape.device.type != "cuda":
        return NATIVE
    candidates = _EXACT if exact else _EXACT + _APPROXIMATE
    timed = {name: seconds(Dispatched(name), shape) for name in candidates if unfit(name, shape, exact=exact) is None}
    return quickest(timed) if timed else NATIVE


def quickest(timed: Mapping[str, float]) -> str:
    """The first of these that takes hardly longer than the quickest."""
    return next(name for name, taken in timed.items() if taken <= _NEARLY * min(timed.values()))


@torch.inference_mode()
def unfit(name: str, shape: Shape, *, exact: bool) -> str | None:
    """Why a backend must not be used for this shape, or None. It is run once, and compared with the definition."""
    known = {backend.value for backend in AttentionBackendName}
    if name not in known:
        return f"no such backend; diffusers has {', '.join(sorted(known))}"
    try:
        # Checks what the backend needs, and fetches one that is a hub's; the default is back when the block ends.
        with attention_backend(name):
            pass
        query, key, value = shape.drawn(batch=1, tokens=_CHECKED_TOKENS)
        found = Dispatched(name)(query, key, value, 0)
    # A kernel that does not fit the device fails in its own way: ImportError, RuntimeError, ValueError, a compiler's.
    except Exception as error:
        return str(error).partition("\n")[0] or type(error).__name__
    distance = relative_error(found, _by_definition(query, key, value))
    in_8_bits = "sage" in name
    if in_8_bits and exact:
        return "it computes in 8 bits, and the pool renders the profile exact"
    allowed = _TOLERANCE_8_BIT if in_8_bits else _TOLERANCE[shape.dtype]
    # Not `distance > allowed`: that is False for NaN.
    return None if distance <= allowed else f"its relative error is {distance:.2g}, where {allowed:.2g} is allowed"


@torch.inference_mode()
def seconds(attend: Attend, shape: Shape) -> float:
    """What one call takes at the full shape, once warm."""
    query, key, value = shape.drawn(shape.batch, shape.tokens)
    attend(query, key, value, 0)
    _synchronize(shape.device)
    started = time.perf_counter()
    for _ in range(_TIMED_RUNS):
        attend(query, key, value, 0)
    _synchronize(shape.device)
    return (time.perf_counter() - started) / _TIMED_RUNS


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The L2 norm of the difference over that of `expected`."""
    return float((found.float() - expected).norm() / expected.norm())


def _by_definition(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    query, key, value = (each.float() for each in (query, key, value))
    scores = query @ key.transpose(-1, -2) / query.size(-1) ** 0.5
    return functional.softmax(scores, dim=-1) @ value


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

"""What a worker is warm for: the shape that it rendered last, and the adapters in its memory."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.job import RenderSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmth:
    """What one worker has at hand."""

    # Of its last render (`shape_of`); None where nobody knows.
    shape: str | None = None
    # Names of adapters.
    adapters: tuple[str, ...] = ()


COLD = Warmth()


def shape_of(spec: RenderSpec) -> str:
    """Width, height and rendered frames in one word: what a model's kernels and memory are laid out for."""
    return f"{spec.width}x{spec.height}x{spec.num_frames}"

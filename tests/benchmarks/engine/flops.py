"""Floating-point operations of a denoise step, and the least seconds that a device needs for them."""

from __future__ import annotations

from dataclasses import dataclass

from diffusers import CogVideoXTransformer3DModel

# TFLOP/s that one H100, and one H200, reach on a large dense product in 16 bits; on paper it is 989.
REFERENCE_TFLOPS = 790.0


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a transformer its arithmetic depends on: its blocks and their width."""

    layers: int
    width: int

    @classmethod
    def of(cls, transformer: CogVideoXTransformer3DModel) -> Shape:
        config = transformer.config
        return cls(config.num_layers, config.num_attention_heads * config.attention_head_dim)


def step_flops(shape: Shape, sequence: int, batch: int = 2) -> float:
    """One forward over `sequence` tokens, text included; guidance makes the batch 2. A multiply-add counts twice.

    Each block has four projections of its width, a feed-forward of four times the width, and full attention. Patches,
    modulation and the output, left out, are under one percent.
    """
    linear = 2 * (4 + 8) * shape.width**2 * sequence
    attention = 2 * 2 * shape.width * sequence**2
    return float(batch * shape.layers * (linear + attention))


def floor_s(flops: float, tflops: float = REFERENCE_TFLOPS) -> float:
    """Seconds at that rate."""
    return flops / (tflops * 1e12)

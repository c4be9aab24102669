"""The CogVideoX family: what each model can make, and how. The one place that knows legal sizes, frames and fps.

Figures are from the CogVideo model cards and README (zai-org/CogVideo); the tiny families are random checkpoints of
the same classes, which `workers/tiny.py` makes for laptops and tests.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from orchestrator.domain.errors import Unsupported

Size = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFamily:
    """What every checkpoint of one architecture has in common.

    `sizes` are (width, height) in pixels, the first one native; frames are legal when they equal `8 * n + 1` up to
    `max_frames`; `fps` is the rate that the model was trained at. `reference_step_s` and `reference_decode_s` are
    seconds on one H100 for the native size and `max_frames`, at batch 2 (classifier-free guidance); `linear_share` is
    the part of a step that grows linearly with the tokens, the rest being attention and quadratic.
    """

    name: str
    scheduler: Literal["ddim", "dpm"]
    dtype: Literal["float16", "bfloat16", "float32"]
    dynamic_cfg: bool
    sizes: tuple[Size, ...]
    max_frames: int
    fps: int
    max_prompt_tokens: int
    default_steps: int
    default_guidance: float
    reference_step_s: float
    reference_decode_s: float
    linear_share: float
    licence: str
    must_accept_licence: bool

    @property
    def default_size(self) -> Size:
        return self.sizes[0]

    @property
    def max_seconds(self) -> float:
        return self.max_frames / self.fps

    def frames_for(self, seconds: float) -> int:
        """The legal frame count nearest to `seconds` of video, at least 9; may exceed `max_frames`."""
        return 8 * max(1, round(seconds * self.fps / 8)) + 1

    def legal_frames(self) -> tuple[int, ...]:
        """Every frame count that this family renders as asked (diffusers drops the others silently)."""
        return tuple(range(9, self.max_frames + 1, 8))

    def check(self, *, size: Size, num_frames: int, fps: int) -> None:
        """Raise `Unsupported` naming the first of size, num_frames and fps that this family cannot make."""
        if size not in self.sizes:
            legal = ", ".join(f"{w}x{h}" for w, h in self.sizes)
            raise Unsupported(f"{self.name} renders {legal}, not {size[0]}x{size[1]}", param="size")
        if num_frames not in self.legal_frames():
            raise Unsupported(
                f"{self.name} renders 9 to {self.max_frames} frames in steps of 8, not {num_frames}",
                param="num_frames",
            )
        if fps != self.fps:
            raise Unsupported(f"{self.name} renders {self.fps} frames per second, not {fps}", param="fps")


_COGVIDEOX_LICENCE = "CogVideoX licence (https://huggingface.co/zai-org/CogVideoX-5b/blob/main/LICENSE)"
_TINY_SIZES = ((96, 64), (64, 96), (64, 64), (160, 96))

COGVIDEOX_2B = ModelFamily(
    name="cogvideox-2b",
    scheduler="ddim",
    dtype="float16",
    dynamic_cfg=False,
    sizes=((720, 480),),
    max_frames=49,
    fps=8,
    max_prompt_tokens=226,
    default_steps=50,
    default_guidance=6.0,
    reference_step_s=0.85,
    reference_decode_s=2.5,
    linear_share=94 / 240,
    licence="Apache-2.0",
    must_accept_licence=False,
)
COGVIDEOX_5B = replace(
    COGVIDEOX_2B,
    name="cogvideox-5b",
    scheduler="dpm",
    dtype="bfloat16",
    dynamic_cfg=True,
    reference_step_s=1.75,
    linear_share=338 / 664,
    licence=_COGVIDEOX_LICENCE,
    must_accept_licence=True,
)
TINY_2B = replace(
    COGVIDEOX_2B,
    name="tiny-2b",
    dtype="float32",
    sizes=_TINY_SIZES,
    default_steps=20,
    reference_step_s=0.06,
    reference_decode_s=1.2,
    linear_share=0.9,
)
TINY_5B = replace(TINY_2B, name="tiny-5b", scheduler="dpm", dynamic_cfg=True)

FAMILIES: dict[str, ModelFamily] = {f.name: f for f in (COGVIDEOX_2B, COGVIDEOX_5B, TINY_2B, TINY_5B)}

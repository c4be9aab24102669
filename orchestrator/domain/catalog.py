"""The CogVideoX family: what each model can make, and how. The one place that knows legal sizes, frames and fps.

Figures are from the CogVideo model cards and README (zai-org/CogVideo); the tiny families are random checkpoints of
the same classes, which `workers/tiny.py` makes for laptops and tests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

Size = tuple[int, int]


class Profile(StrEnum):
    """How much a render may cost. `exact` is the model as it was published; `fast` gives up detail for time."""

    EXACT = "exact"
    FAST = "fast"


# Fewer denoise steps are the whole of `fast` today: 30 of the published 50.
_STEPS_SHARE = {Profile.EXACT: 1.0, Profile.FAST: 0.6}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFamily:
    """What every checkpoint of one architecture has in common.

    `sizes` are (width, height) in pixels, the first one native; frames are legal when they equal `8 * n + 1` from
    `min_frames` to `max_frames`; `fps` is the rate that the model was trained at. An `image_to_video` family begins at
    a picture and cannot do without; `image_sibling` names the family that takes over when a request brings one.
    `reference_step_s` and `reference_decode_s` are seconds on one H100 for the native size and `max_frames`, at batch 2
    (classifier-free guidance); `linear_share` is the part of a step that grows linearly with the tokens, the rest being
    attention and quadratic.
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
    min_frames: int = 9
    image_to_video: bool = False
    image_sibling: str | None = None

    @property
    def default_size(self) -> Size:
        return self.sizes[0]

    @property
    def max_seconds(self) -> float:
        return self.max_frames / self.fps

    @property
    def frames_rule(self) -> str:
        """The legal frame counts, in words."""
        if self.min_frames == self.max_frames:
            return f"{self.max_frames} frames"
        return f"{self.min_frames} to {self.max_frames} frames in steps of 8"

    def frames_for(self, seconds: float) -> int:
        """The least legal frame count that lasts for `seconds`; more than `max_frames` when none does."""
        needed = math.ceil(seconds * self.fps - 1e-6)
        return max(self.min_frames, 8 * math.ceil((needed - 1) / 8) + 1)

    def legal_frames(self) -> tuple[int, ...]:
        """Every frame count that this family renders as asked (diffusers drops the others silently)."""
        return tuple(range(self.min_frames, self.max_frames + 1, 8))

    def steps_of(self, profile: Profile) -> int:
        """Denoise steps of a render that asks for a profile and not for a number."""
        return max(1, round(self.default_steps * _STEPS_SHARE[profile]))


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
    image_sibling="cogvideox-5b-i2v",
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
COGVIDEOX_5B_I2V = replace(
    COGVIDEOX_5B,
    name="cogvideox-5b-i2v",
    min_frames=49,  # its learned positions fit one shape only; at another count diffusers drops them silently
    image_to_video=True,
    image_sibling=None,
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
    image_sibling="tiny-5b-i2v",
)
TINY_5B = replace(TINY_2B, name="tiny-5b", scheduler="dpm", dynamic_cfg=True)
# One size and one length, as of its large sibling.
TINY_5B_I2V = replace(
    TINY_5B, name="tiny-5b-i2v", sizes=((96, 64),), min_frames=49, image_to_video=True, image_sibling=None
)

TINY = (TINY_2B, TINY_5B, TINY_5B_I2V)
FAMILIES: dict[str, ModelFamily] = {
    family.name: family for family in (COGVIDEOX_2B, COGVIDEOX_5B, COGVIDEOX_5B_I2V, *TINY)
}

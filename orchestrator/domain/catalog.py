"""The CogVideoX family: what each model can make, and how. The one place that knows what sizes and frames they render.

Figures are from the CogVideo model cards and README (zai-org/CogVideo); the tiny families are random checkpoints of
the same classes, which `workers/cogvideox/tiny.py` makes for laptops and tests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

Size = tuple[int, int]


class Profile(StrEnum):
    """How much of a render may be given up for speed; `RECIPES` says what each gives up."""

    EXACT = "exact"
    FAST = "fast"
    DRAFT = "draft"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a profile approximates. `exact` approximates nothing."""

    # A request without a step count gets this share of the family's default steps.
    steps_share: float = 1.0
    # While the first block's output changes by less than this (relative L1), a denoise step reuses the later blocks'
    # last output (`workers/cogvideox/stepcache.py`). None computes every step.
    cache_threshold: float | None = None
    # The guessed share of steps that such a cache leaves to compute; for predictions only.
    compute_share: float = 1.0
    # Rendered at the family's draft size, which finishing scales up.
    small: bool = False

    @property
    def approximates(self) -> bool:
        return self.cache_threshold is not None


RECIPES = {
    Profile.EXACT: Recipe(),
    Profile.FAST: Recipe(cache_threshold=0.1, compute_share=0.5),
    Profile.DRAFT: Recipe(steps_share=0.4, cache_threshold=0.1, compute_share=0.6, small=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFamily:
    """What every checkpoint of one architecture has in common."""

    name: str
    scheduler: Literal["ddim", "dpm"]
    # The precision that it is loaded in on a GPU.
    dtype: Literal["float16", "bfloat16", "float32"]
    # Guidance grows over the steps, as diffusers' `use_dynamic_cfg` has it.
    dynamic_cfg: bool
    # (width, height) in pixels; the first one by default.
    sizes: tuple[Size, ...]
    # The same in words.
    sizes_rule: str | None = None
    # The scale at which the profile `draft` renders.
    draft_scale: float = 2 / 3
    # Rendered when nobody asks for a length.
    default_frames: int
    # A legal count is `frames_step * n + 1`, from `min_frames` to `max_frames`.
    max_frames: int
    frames_step: int = 8
    # The rate that the model was trained at.
    fps: int
    max_prompt_tokens: int
    # How wide the transformer makes a token.
    token_dim: int
    default_steps: int
    default_guidance: float
    # Seconds of a step and of the decode on one H100: the native size and `default_frames`, at batch 2 (classifier-free
    # guidance).
    reference_step_s: float
    reference_decode_s: float
    # The part of a step that grows linearly with the tokens; the rest is attention, and quadratic.
    linear_share: float
    licence: str
    must_accept_licence: bool
    min_frames: int = 9
    # How many latent frames share a token.
    temporal_patch: int = 1
    # Begins at a picture, and cannot do without.
    image_to_video: bool = False
    # The family that takes over when a request brings a picture.
    image_sibling: str | None = None
    # The size that the reference figures are of, where that is not the first one.
    native: Size | None = None
    # What loads and renders it: a name in `workers/architectures.py`.
    architecture: str = "cogvideox"

    @property
    def default_size(self) -> Size:
        return self.sizes[0]

    @property
    def native_size(self) -> Size:
        """The size that the reference figures are of."""
        return self.native or self.sizes[0]

    @property
    def max_seconds(self) -> float:
        return self.max_frames / self.fps

    @property
    def frames_rule(self) -> str:
        """The legal frame counts, in words."""
        if self.min_frames == self.max_frames:
            return f"{self.max_frames} frames"
        return f"{self.min_frames} to {self.max_frames} frames in steps of {self.frames_step}"

    @property
    def sizes_words(self) -> str:
        """The legal sizes, in words."""
        return self.sizes_rule or ", ".join(f"{width}x{height}" for width, height in self.sizes)

    def offering(self, sizes: tuple[Size, ...]) -> ModelFamily:
        """This family with some of its sizes only, in that order; none means all."""
        return replace(self, sizes=sizes, sizes_rule=None, native=self.native_size) if sizes else self

    def draft_size(self, size: Size) -> Size:
        """What the profile `draft` renders in place of the legal size `size`: smaller, both sides multiples of 16."""
        width, height = (16 * max(1, round(side * self.draft_scale / 16)) for side in size)
        return width, height

    def renders(self, size: Size, num_frames: int) -> bool:
        """Whether some request is rendered in this shape, drafts included."""
        drafts = map(self.draft_size, self.sizes)
        return num_frames in self.legal_frames() and (size in self.sizes or size in drafts)

    def frames_for(self, seconds: float) -> int:
        """The least legal frame count that lasts for `seconds`; more than `max_frames` when none does."""
        needed = math.ceil(seconds * self.fps - 1e-6)
        return max(self.min_frames, self.frames_step * math.ceil((needed - 1) / self.frames_step) + 1)

    def legal_frames(self) -> tuple[int, ...]:
        """Every frame count that this family renders as asked (diffusers drops the others silently)."""
        return tuple(range(self.min_frames, self.max_frames + 1, self.frames_step))

    def steps_of(self, profile: Profile) -> int:
        """Denoise steps of a render that asks for a profile and not for a number."""
        return max(1, round(self.default_steps * RECIPES[profile].steps_share))

    def latent_frames(self, num_frames: int) -> int:
        """Latent frames of a video, the ones that only fill up the last temporal patch included."""
        frames = (num_frames - 1) // 4 + 1
        return frames + -frames % self.temporal_patch

    def image_tokens(self, width: int, height: int, num_frames: int) -> int:
        """The transformer's tokens of a video: each 16 pixels square and `temporal_patch` latent frames deep."""
        return self.latent_frames(num_frames) // self.temporal_patch * (width // 16) * (height // 16)


_COGVIDEOX_LICENCE = "CogVideoX licence (https://huggingface.co/zai-org/CogVideoX-5b/blob/main/LICENSE)"
_TINY_SIZES = ((96, 64), (64, 96), (64, 64), (160, 96))

COGVIDEOX_2B = ModelFamily(
    name="cogvideox-2b",
    scheduler="ddim",
    dtype="float16",
    dynamic_cfg=False,
    sizes=((720, 480),),
    default_frames=49,
    max_frames=49,
    fps=8,
    max_prompt_tokens=226,
    token_dim=1920,
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
    token_dim=3072,
    reference_step_s=1.75,
    linear_share=338 / 664,
    licence=_COGVIDEOX_LICENCE,
    must_accept_licence=True,
)
COGVIDEOX_5B_I2V = replace(
    COGVIDEOX_5B,
    name="cogvideox-5b-i2v",
    min_frames=49,  # its learned positions fit one shape only; at another count diffusers drops them silently
    draft_scale=1,
    image_to_video=True,
    image_sibling=None,
)
COGVIDEOX_15_5B = replace(
    COGVIDEOX_5B,
    name="cogvideox-1.5-5b",
    sizes=((1360, 768),),
    draft_scale=5 / 8,
    default_frames=81,
    min_frames=17,
    max_frames=161,
    frames_step=16,
    temporal_patch=2,
    fps=16,
    max_prompt_tokens=224,
    reference_step_s=10.7,
    reference_decode_s=12.0,
    linear_share=858 / 2958,
    image_sibling="cogvideox-1.5-5b-i2v",
)
_SHORT_SIDE_768 = tuple((long, 768) for long in range(1360, 767, -16))
COGVIDEOX_15_5B_I2V = replace(
    COGVIDEOX_15_5B,
    name="cogvideox-1.5-5b-i2v",
    sizes=_SHORT_SIDE_768 + tuple((short, long) for long, short in _SHORT_SIDE_768 if long != short),
    sizes_rule="768 pixels on the short side and 768 to 1360 on the long one, a multiple of 16",
    image_to_video=True,
    image_sibling=None,
)
TINY_2B = replace(
    COGVIDEOX_2B,
    name="tiny-2b",
    dtype="float32",
    sizes=_TINY_SIZES,
    token_dim=32,
    default_steps=20,
    reference_step_s=0.06,
    reference_decode_s=1.2,
    linear_share=0.9,
    image_sibling="tiny-5b-i2v",
)
TINY_5B = replace(TINY_2B, name="tiny-5b", scheduler="dpm", dynamic_cfg=True)
# One size and one length, as of its large sibling.
TINY_5B_I2V = replace(
    TINY_5B,
    name="tiny-5b-i2v",
    sizes=((96, 64),),
    draft_scale=1,
    min_frames=49,
    image_to_video=True,
    image_sibling=None,
)
TINY_15_5B = replace(
    TINY_5B,
    name="tiny-1.5-5b",
    default_frames=33,
    min_frames=17,
    max_frames=81,
    frames_step=16,
    temporal_patch=2,
    fps=16,
    max_prompt_tokens=224,
    image_sibling="tiny-1.5-5b-i2v",
)
TINY_15_5B_I2V = replace(TINY_15_5B, name="tiny-1.5-5b-i2v", image_to_video=True, image_sibling=None)

TINY = (TINY_2B, TINY_5B, TINY_5B_I2V, TINY_15_5B, TINY_15_5B_I2V)
_LARGE = (COGVIDEOX_2B, COGVIDEOX_5B, COGVIDEOX_5B_I2V, COGVIDEOX_15_5B, COGVIDEOX_15_5B_I2V)
FAMILIES: dict[str, ModelFamily] = {family.name: family for family in (*_LARGE, *TINY)}

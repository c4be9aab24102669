"""Which sizes and lengths a checkpoint's transformer has positions for, by its config.

As diffusers 0.42 computes them: positions that are added are made for any size (`CogVideoXPatchEmbed`), learned ones
fit one size and one length; 1.0's rotary ones are stretched over any grid (`get_resize_crop_region_for_grid`), 1.5's
are cut out of the grid of the sample size (`grid_type="slice"`), and there are none beyond it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, Self

from orchestrator.domain.catalog import ModelFamily, Size

# Pixels of a latent one (`AutoencoderKLCogVideoX` halves each side three times).
_LATENT = 8


class Config(Protocol):
    """What of a `CogVideoXTransformer3DModel`'s config decides positions; sides are in latent pixels."""

    patch_size: int
    patch_size_t: int | None
    sample_width: int
    sample_height: int
    sample_frames: int
    use_rotary_positional_embeddings: bool
    use_learned_positional_embeddings: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Positions:
    """`only` is the one size (width, height in pixels) and frame count that there is, `most` the largest sides.

    Without either there are positions for every size.
    """

    only: tuple[Size, int] | None = None
    most: Size | None = None

    @classmethod
    def of(cls, config: Config) -> Self:
        patch = _LATENT * config.patch_size
        sample = tuple(patch * (side // config.patch_size) for side in (config.sample_width, config.sample_height))
        width, height = sample
        if config.use_learned_positional_embeddings:
            return cls(only=((width, height), config.sample_frames))
        if config.use_rotary_positional_embeddings and config.patch_size_t is not None:
            return cls(most=(width, height))
        return cls()

    @property
    def words(self) -> str:
        """What it has positions for."""
        if self.only is not None:
            (width, height), frames = self.only
            return f"{width}x{height} and {frames} frames"
        if self.most is not None:
            return f"at most {self.most[0]} pixels in width and {self.most[1]} in height"
        return "every size"

    def has(self, size: Size, num_frames: int) -> bool:
        """Whether a video of this size, in pixels, and length can be rendered with them."""
        if self.only is not None:
            return (size, num_frames) == self.only
        return self.most is None or (size[0] <= self.most[0] and size[1] <= self.most[1])


def missing(positions: Positions, family: ModelFamily) -> str | None:
    """What of the family's sizes and lengths has no positions, and what can be done; None when all have some."""
    promised = (*family.sizes, *map(family.draft_size, family.sizes))
    lengths = family.legal_frames()
    lacking = [size for size in promised if not all(positions.has(size, length) for length in lengths)]
    if not lacking:
        return None
    able = [size for size in family.sizes if size not in lacking and family.draft_size(size) not in lacking]
    way_out = f"; set models.NAME.sizes to those that it renders: {_listed(able)}" if able else ""
    return f"has positions for {positions.words}, not for {_listed(lacking)}{way_out}"


def _listed(sizes: Iterable[Size]) -> str:
    """The sizes in words; of many the first ones."""
    words = [f"{width}x{height}" for width, height in sizes]
    return ", ".join(words if len(words) <= 4 else [*words[:3], f"and {len(words) - 3} more"])

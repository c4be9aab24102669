"""What a model renders and what its owner gets: sizes, lengths and rates brought together, or refused by name.

A model renders at the sizes, frame counts and rate that it was trained at. `workers/finish` then interpolates, crops
and scales to the delivery. It never changes how long a movement takes, and never crops more than it is allowed to,
neither from what is rendered nor from the picture that a video begins at.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from orchestrator.domain.catalog import ModelFamily, Size
from orchestrator.domain.errors import InvalidField, Unsupported

MAX_FPS = 60
_MIN_SIDE = 16
_MAX_SIDE = 4096
_MAX_PIXELS = 3840 * 2160

# Sizes that a refusal names, the best first; 1.5's image-to-video model has 75.
_NAMED_SIZES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The finished video."""

    # Pixels.
    width: int
    height: int
    num_frames: int
    # Frames per second.
    fps: int
    # It carries a visible mark.
    watermark: bool = False

    @property
    def seconds(self) -> float:
        """Length of the video in seconds."""
        return self.num_frames / self.fps


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What the model renders, at its own rate, and what becomes of it."""

    # Pixels of the rendered frames.
    width: int
    height: int
    num_frames: int
    delivery: Delivery


def shape_of(
    family: ModelFamily,
    *,
    size: Size | None,
    seconds: float | None,
    num_frames: int | None,
    fps: int | None,
    watermark: bool,
    max_crop: float,
    picture: Size | None = None,
    small: bool = False,
) -> Shape:
    """How `family` makes this video. None takes the family's own.

    `num_frames` counts rendered frames, shows them all, and wins over `seconds`. With `seconds` the video lasts that
    long to the frame: the model renders the next legal count and the rest is cut. `picture` is (width, height) of the
    one that the video begins at, upright; None while it is not known, or where there is none. Without a `size` it
    decides: the family's own size that is nearest to its shape. `max_crop` in [0, 1) is the share that may be lost to
    another aspect ratio: of what is rendered, and of the picture. `small` renders at the family's draft size, whose
    aspect ratio differs a little where sides are rounded. Raises `InvalidField` or `Unsupported` with the field to
    blame.
    """
    rate = family.fps if fps is None else fps
    if not family.fps <= rate <= MAX_FPS:
        raise Unsupported(f"{family.name} makes {family.fps} to {MAX_FPS} frames per second, not {rate}", param="fps")
    rendered, shown = _lengths(family, seconds, num_frames, rate)
    width, height = size or (family.default_size if picture is None else _nearest(family, picture))
    source = _source(family, (width, height), max_crop)
    if picture is not None:
        _check_picture(family, picture, source, (width, height), max_crop)
    if small:
        source = family.draft_size(source)
    return Shape(
        width=source[0],
        height=source[1],
        num_frames=rendered,
        delivery=Delivery(width=width, height=height, num_frames=shown, fps=rate, watermark=watermark),
    )


def crop_loss(source: Size, target: Size) -> float:
    """The share of a `source` picture that is lost when it fills `target` by a centre crop; 0 for equal ratios."""
    ratio = (source[0] * target[1]) / (source[1] * target[0])
    return 1 - min(ratio, 1 / ratio)


def _lengths(family: ModelFamily, seconds: float | None, num_frames: int | None, rate: int) -> tuple[int, int]:
    """Frames to render and frames to show."""
    if num_frames is not None:
        if num_frames not in family.legal_frames():
            raise Unsupported(f"{family.name} renders {family.frames_rule}, not {num_frames}", param="num_frames")
        return num_frames, round(num_frames * rate / family.fps)
    if seconds is None:
        return family.default_frames, round(family.default_frames * rate / family.fps)
    if not 0 < seconds < math.inf:  # also true of NaN
        raise InvalidField("must be a number above 0", param="seconds")
    if seconds > family.max_seconds:
        # Without the number: an integer of four hundred digits has no float that could be shown.
        raise Unsupported(f"{family.name} renders at most {family.max_seconds:g} seconds", param="seconds")
    return family.frames_for(seconds), max(1, round(seconds * rate))


def _source(family: ModelFamily, target: Size, max_crop: float) -> Size:
    """The size to render for `target`: itself, or else the one that loses least, then the one nearest in pixels."""
    if target in family.sizes:
        return target
    width, height = target
    if not (_MIN_SIDE <= width <= _MAX_SIDE and _MIN_SIDE <= height <= _MAX_SIDE and width * height <= _MAX_PIXELS):
        raise Unsupported(
            f"must have {_MIN_SIDE} to {_MAX_SIDE} pixels a side and no more than 3840x2160, not {width}x{height}",
            param="size",
        )
    if width % 2 or height % 2:
        raise Unsupported(f"must be even in width and height (4:2:0 chroma), not {width}x{height}", param="size")
    best = _nearest(family, target)
    loss = crop_loss(best, target)
    if loss > max_crop:
        raise Unsupported(
            f"{family.name} renders {family.sizes_words}; {width}x{height} would crop {loss:.0%} of the picture away, "
            f"and at most {max_crop:.0%} are allowed",
            param="size",
        )
    return best


def _nearest(family: ModelFamily, shape: Size) -> Size:
    """The legal size that loses least to another shape or of it, which is the same; then the one nearest in pixels."""
    pixels = shape[0] * shape[1]
    return min(family.sizes, key=lambda size: (round(crop_loss(size, shape), 6), abs(size[0] * size[1] - pixels)))


def _check_picture(family: ModelFamily, picture: Size, source: Size, target: Size, max_crop: float) -> None:
    """Raise `Unsupported` where too much of a picture is lost on its way through what is rendered to the delivery."""
    loss = _picture_loss(picture, source, target)
    if loss <= max_crop:
        return
    width, height = picture
    fitting = sorted(
        (size for size in family.sizes if crop_loss(picture, size) <= max_crop),
        key=lambda size: crop_loss(picture, size),
    )
    if fitting:
        would = f"size {' or '.join(f'{wide}x{high}' for wide, high in fitting[:_NAMED_SIZES])} would do"
    else:
        best = _nearest(family, picture)
        ratio = best[0] / best[1]
        would = (
            f"{family.name} renders {family.sizes_words}: crop the picture to between {ratio * (1 - max_crop):.2f} and "
            f"{ratio / (1 - max_crop):.2f} times as wide as high"
        )
    raise Unsupported(
        f"has {width}x{height} pixels, of which {target[0]}x{target[1]} would crop {loss:.0%} away, and at most "
        f"{max_crop:.0%} are allowed; {would}",
        param="image",
    )


def _picture_loss(picture: Size, source: Size, target: Size) -> float:
    """The share of a picture that fills `source`, of which the middle then fills `target`, that nobody sees."""
    return 1 - (1 - crop_loss(picture, source)) * (1 - crop_loss(source, target))

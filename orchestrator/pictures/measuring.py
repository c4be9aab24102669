"""All of a picture that can be refused before it is decoded: by its bytes' number, kind, header and markers. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from orchestrator.domain.catalog import Size
from orchestrator.domain.errors import InvalidField, TooLarge
from orchestrator.pictures.kinds import NAMES, Kind, kind_of

MIN_SIDE = 16

_PARAM = "image"


class PictureBounds(Protocol):
    """The settings `fetch` have them."""

    @property
    def max_image_bytes(self) -> int:
        """Of its file."""
        ...

    @property
    def max_image_pixels(self) -> int:
        """Of what its file says, before anything is decoded."""
        ...


@dataclass(frozen=True, slots=True)
class Measured:
    """What our own reading of its header found: all that is known before a decoder sees it."""

    kind: Kind
    size: Size

    @property
    def pixels(self) -> int:
        return self.size[0] * self.size[1]


def check_bytes(data: bytes, bounds: PictureBounds) -> None:
    """Raise `TooLarge` for more than are allowed."""
    if len(data) > bounds.max_image_bytes:
        raise TooLarge(f"the image has {len(data)} bytes; at most {bounds.max_image_bytes} are allowed", param=_PARAM)


def measure(data: bytes, bounds: PictureBounds) -> Measured:
    """All that can be refused before it is decoded. Raises `InvalidField` or `TooLarge`."""
    check_bytes(data, bounds)
    kind = kind_of(data)
    if kind is None:
        raise InvalidField(f"must be a {NAMES} image", param=_PARAM, code="image_format")
    if (excess := kind.excess(data)) is not None:
        raise InvalidField(excess, param=_PARAM, code="image_too_slow")
    size = kind.size(data)
    if size is None:
        raise broken(kind)
    _check_pixels(size, bounds.max_image_pixels)
    if not kind.boxed:
        check_sides(size)
    return Measured(kind, size)


def broken(kind: Kind) -> InvalidField:
    """What is said of a picture that a decoder stumbles over."""
    return InvalidField(f"is a broken {kind.name} image, cut off or damaged", param=_PARAM, code="image_broken")


def _check_pixels(size: Size, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise InvalidField(
            f"has {width}x{height} pixels; at most {max_pixels} are allowed", param=_PARAM, code="image_too_large"
        )


def check_sides(size: Size) -> None:
    """Raise `InvalidField` for a picture of next to nothing."""
    if min(size) < MIN_SIDE:
        raise InvalidField(
            f"has {size[0]}x{size[1]} pixels; each side needs at least {MIN_SIDE}",
            param=_PARAM,
            code="image_too_small",
        )

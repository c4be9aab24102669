"""Pictures as callers write them down, and whether their bytes are a picture: told by content, bounded, whole. Pure."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from orchestrator.config import FetchSettings
from orchestrator.domain.catalog import Size
from orchestrator.domain.errors import InvalidField, TooLarge
from orchestrator.domain.request import ImageBytes, ImageSource, ImageUrl
from orchestrator.pictures.kinds import NAMES, Kind, kind_of
from orchestrator.pictures.opening import opened
from orchestrator.ports import Picture

MIN_SIDE = 16

_PARAM = "image"

# Above what any deployment may allow for a picture (`FetchSettings`), white space and percent signs included.
_MAX_CHARS = 64 * 2**20
_URL = re.compile("https?://", re.IGNORECASE)
_DATA = re.compile("data:[^,]*?(;base64)?,", re.IGNORECASE)
_BASE64 = re.compile(rb"([A-Za-z0-9+/_-]+)={0,2}")
_WHITE = b" \t\r\n\f\v"


def parse_image(text: str, param: str) -> ImageSource:
    """What a field for an image says: an http(s) URL, a `data:` URI (RFC 2397), or base64 (RFC 4648).

    Both alphabets of base64 will do, with or without padding and white space. The media type of a URI is not believed,
    and a URL is checked when it is fetched. Raises `InvalidField` or `TooLarge`.
    """
    if len(text) > _MAX_CHARS:
        raise TooLarge(f"the image has more than {_MAX_CHARS} characters", param=param)
    text = text.strip()
    if _URL.match(text):
        return ImageUrl(text)
    head = _DATA.match(text)
    if not text.isascii() or (head is None and ":" in text):
        raise InvalidField("must be an http or https URL, a data URI or base64", param=param)
    if head is None:
        return ImageBytes(_decode(text.encode(), param))
    payload = unquote_to_bytes(text[head.end() :])
    data = payload if head[1] is None else _decode(payload, param)
    if not data:
        raise InvalidField("is a data URI without data", param=param)
    return ImageBytes(data)


def _decode(text: bytes, param: str) -> bytes:
    whole = _BASE64.fullmatch(text.translate(None, _WHITE))
    if whole is None or len(whole[1]) % 4 == 1:
        raise InvalidField("is no valid base64", param=param)
    return base64.urlsafe_b64decode(whole[1].translate(bytes.maketrans(b"+/", b"-_")) + b"==")


def check_picture(data: bytes, settings: FetchSettings) -> Picture:
    """The picture that some bytes are: of one of `kinds.KINDS` by their content, and decodable to the last pixel.

    Of an animated one the first frame counts, since that is what a video begins at. Takes up to seconds, and 16 bytes
    of memory a pixel. Raises `InvalidField` or `TooLarge`.
    """
    if len(data) > settings.max_image_bytes:
        raise TooLarge(f"the image has {len(data)} bytes; at most {settings.max_image_bytes} are allowed", param=_PARAM)
    kind = kind_of(data)
    if kind is None:
        raise InvalidField(f"must be a {NAMES} image", param=_PARAM, code="image_format")
    size = kind.size(data)
    if size is None:
        raise _broken(kind)
    _check_pixels(size, settings.max_image_pixels)
    if not kind.boxed:
        _check_sides(size)
    decoded = _decode_whole(data, kind, size)
    _check_sides(decoded.size)
    return Picture(
        data=data,
        content_type=kind.content_type,
        width=decoded.size[0],
        height=decoded.size[1],
        sideways=decoded.sideways,
    )


def _check_pixels(size: Size, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise InvalidField(
            f"has {width}x{height} pixels; at most {max_pixels} are allowed", param=_PARAM, code="image_too_large"
        )


def _check_sides(size: Size) -> None:
    if min(size) < MIN_SIDE:
        raise InvalidField(
            f"has {size[0]}x{size[1]} pixels; each side needs at least {MIN_SIDE}",
            param=_PARAM,
            code="image_too_small",
        )


@dataclass(frozen=True, slots=True)
class _Decoded:
    size: Size
    sideways: bool


def _decode_whole(data: bytes, kind: Kind, size: Size) -> _Decoded:
    """Decode and forget; `size` is what our own reading of the header found."""
    try:
        with opened(data, kind) as found:
            wide, high = found.image.size
            # The decoder reads another header than we did: do not let it begin.
            if wide * high > size[0] * size[1] or not (kind.boxed or (wide, high) == size):
                raise _broken(kind)
            found.image.load()
            return _Decoded(found.image.size, found.sideways)
    except InvalidField:
        raise
    except Exception as error:  # Pillow's decoders have no error in common, and bad bytes are the only cause
        raise _broken(kind) from error


def _broken(kind: Kind) -> InvalidField:
    return InvalidField(f"is a broken {kind.name} image, cut off or damaged", param=_PARAM, code="image_broken")

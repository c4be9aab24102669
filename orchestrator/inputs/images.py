"""Pictures as callers write them down, and whether their bytes are a picture: told by content, bounded, whole. Pure."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from urllib.parse import unquote_to_bytes

from PIL import Image

from orchestrator.config import FetchSettings
from orchestrator.domain.catalog import Size
from orchestrator.domain.errors import InvalidField, TooLarge
from orchestrator.ports import Picture
from orchestrator.request import ImageBytes, ImageSource, ImageUrl

MIN_SIDE = 16

_PARAM = "image"

# Above what any deployment may allow for a picture (`FetchSettings`), white space and percent signs included.
_MAX_CHARS = 64 * 2**20
_URL = re.compile("https?://", re.IGNORECASE)
_DATA = re.compile("data:[^,]*?(;base64)?,", re.IGNORECASE)
_BASE64 = re.compile(rb"([A-Za-z0-9+/_-]+)={0,2}")
_WHITE = b" \t\r\n\f\v"

# A progressive JPEG has about ten scans. Thousands, nearly empty ones, would fit too: minutes of decoding in 5 MB.
_MAX_SCANS = 100


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
    """The picture that some bytes are: PNG, JPEG or WebP by their content, and decodable to the last pixel.

    Of an animated one the first frame counts, since that is what a video begins at. Takes up to seconds, and 16 bytes
    of memory a pixel. Raises `InvalidField` or `TooLarge`.
    """
    if len(data) > settings.max_image_bytes:
        raise TooLarge(f"the image has {len(data)} bytes; at most {settings.max_image_bytes} are allowed", param=_PARAM)
    kind = next((kind for kind in _KINDS if kind.magic.match(data)), None)
    if kind is None:
        raise InvalidField("must be a PNG, JPEG or WebP image", param=_PARAM, code="image_format")
    # Our own reading of the header, since WebP's decoder takes memory for the whole canvas as soon as it is opened.
    size = kind.size(data)
    if size is None:
        raise _broken(kind)
    _check_size(size, settings.max_image_pixels)
    _decode_whole(data, kind, size)
    return Picture(data=data, content_type=kind.content_type, width=size[0], height=size[1])


def _check_size(size: Size, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise InvalidField(
            f"has {width}x{height} pixels; at most {max_pixels} are allowed", param=_PARAM, code="image_too_large"
        )
    if min(size) < MIN_SIDE:
        raise InvalidField(
            f"has {width}x{height} pixels; each side needs at least {MIN_SIDE}", param=_PARAM, code="image_too_small"
        )


def _decode_whole(data: bytes, kind: _Kind, size: Size) -> None:
    try:
        with Image.open(BytesIO(data), formats=[kind.name]) as image:
            if image.size != size:  # the decoder reads another header than we did: do not let it begin
                raise _broken(kind)
            image.load()
    except InvalidField:
        raise
    except Exception as error:  # Pillow's decoders have no error in common, and bad bytes are the only cause
        raise _broken(kind) from error


def _broken(kind: _Kind) -> InvalidField:
    return InvalidField(f"is a {kind.name} image that is cut off or damaged", param=_PARAM, code="image_broken")


def _png_size(data: bytes) -> Size | None:
    """From IHDR, the first chunk (PNG, section 11.2.1)."""
    if data[12:16] != b"IHDR" or len(data) < 24:
        return None
    return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])


def _jpeg_size(data: bytes) -> Size | None:
    """From the frame header, behind whatever segments precede it (ITU T.81, annex B)."""
    if data.count(b"\xff\xda") > _MAX_SCANS:  # entropy-coded bytes never look like this: 0xff is followed by 0
        return None
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7])
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return None


def _webp_size(data: bytes) -> Size | None:
    """From the first chunk, of one of three kinds (RFC 9649, section 2)."""
    chunk, body = data[12:16], data[20:30]
    if len(body) < 10:
        return None
    if chunk == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if chunk == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 ":
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    return None


@dataclass(frozen=True, slots=True)
class _Kind:
    """A format, by Pillow's name for it; `size` reads (width, height) from the header, None when there is none."""

    name: str
    content_type: str
    magic: re.Pattern[bytes]
    size: Callable[[bytes], Size | None]


_KINDS = (
    _Kind("PNG", "image/png", re.compile(rb"\x89PNG\r\n\x1a\n"), _png_size),
    _Kind("JPEG", "image/jpeg", re.compile(rb"\xff\xd8\xff"), _jpeg_size),
    _Kind("WebP", "image/webp", re.compile(rb"RIFF....WEBP", re.DOTALL), _webp_size),
)

"""Pictures as callers write them down: an address, or their bytes in some spelling. Pure."""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote_to_bytes

from orchestrator.domain.errors import InvalidField, TooLarge
from orchestrator.domain.request import ImageBytes, ImageSource, ImageUrl

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

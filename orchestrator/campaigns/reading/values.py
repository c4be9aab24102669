"""What single cells say: texts of variables, seeds, pictures, names."""

from __future__ import annotations

import re
from collections.abc import Mapping

from orchestrator.campaigns.reading.records import Written
from orchestrator.domain import jsontext
from orchestrator.domain.errors import InvalidField
from orchestrator.domain.objects import FILE_ID
from orchestrator.domain.request import MAX_SEED
from orchestrator.domain.texts import check_text

MAX_CUSTOM_ID = 512

_INTEGER = re.compile(r"\s*\+?(\d{1,40})(\.0*)?\s*", re.ASCII)
_URL = re.compile(r"https?://", re.IGNORECASE)
_DATA = re.compile(r"data:image/[\w.+-]+;base64,", re.IGNORECASE | re.ASCII)
_BASE64 = re.compile(r"[A-Za-z0-9+/_\s-]+={0,2}\s*", re.ASCII)
# Shorter ones are more likely to be a name than a picture.
_MIN_BASE64 = 100
_MAX_REFERENCE = 2048

_IMAGE_TEXT = (
    "must be an http or https URL, an s3:// URL, a file's id, a data URI or base64 of a picture, or an object with "
    "one of image_url and file_id"
)


def text_of(value: object, name: str) -> str:
    """The text of a variable, as the file writes it. Raises `InvalidField` for a list or an object."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case Written():
            return value.text
        case int() | float():
            return repr(value)
    raise InvalidField("must be a text, a number or a boolean, not a list or an object", param=name)


def custom_id_of(value: object, line: int) -> str:
    """The row's name, which is made of its line where it has none."""
    if value is None or value == "":
        return f"row-{line}"
    custom_id = value if type(value) is str else text_of(value, "custom_id")
    if custom_id.isspace():
        raise InvalidField("must not be blank", param="custom_id")
    check_text(custom_id, "custom_id", max_chars=MAX_CUSTOM_ID)
    return custom_id


def seed_of(value: object) -> int | None:
    """An integer that a seed may be; None for an absent one."""
    if value is None or value == "":
        return None
    seed = -1
    match value:
        case bool():
            pass
        case int():
            seed = value
        case float() if value.is_integer():
            seed = int(value)
        case str() if written := _INTEGER.fullmatch(value):
            seed = int(written[1])
    if not 0 <= seed <= MAX_SEED:
        raise InvalidField("must be an integer from 0 to 2^63 - 1", param="seed")
    return seed


def image_of(value: object, name: str) -> dict[str, str] | None:
    """Where the picture is: one of `image_url`, `file_id` and `key` (an `s3://` URL); None for an absent one."""
    match value:
        case None | "":
            return None
        case str() if value.lstrip().startswith("{"):
            return _of_object(_parsed(value, name), name)
        case str():
            return _of_text(value.strip(), name)
        case Mapping():
            return _of_object(value, name)
    raise InvalidField(_IMAGE_TEXT, param=name)


def _of_text(text: str, name: str) -> dict[str, str]:
    if _URL.match(text):
        return {"image_url": _short(text, name)}
    if FILE_ID.fullmatch(text):
        return {"file_id": text}
    if text.startswith("s3://") and all(text.removeprefix("s3://").partition("/")[::2]):
        return {"key": _short(text, name)}
    if _DATA.match(text):
        return {"image_url": text}
    if len(text) > _MIN_BASE64 and _BASE64.fullmatch(text):
        return {"image_url": f"data:;base64,{text}"}  # nobody said of which type; its first bytes will
    raise InvalidField(_IMAGE_TEXT, param=name)


def _short(url: str, name: str) -> str:
    check_text(url, name, max_chars=_MAX_REFERENCE)
    return url


def _parsed(text: str, name: str) -> object:
    try:
        return jsontext.parse(text)
    except ValueError as error:
        raise InvalidField(f"is no JSON object: {error}", param=name) from None


def _of_object(value: object, name: str) -> dict[str, str]:
    said = {key: given for key, given in value.items() if given is not None} if isinstance(value, Mapping) else {}
    match said:
        case {"file_id": str(text)} if len(said) == 1 and FILE_ID.fullmatch(text):
            return {"file_id": text}
        case {"image_url": str(text)} | {"image_url": {"url": str(text)}} if len(said) == 1:
            found = _of_text(text.strip(), name)
            if "image_url" in found:
                return found
    raise InvalidField("must hold one of image_url and file_id", param=name)

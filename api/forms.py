"""Multipart forms (RFC 7578), read strictly: what is not UTF-8, not complete or not clear is refused, never guessed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from orchestrator.domain.errors import InvalidField

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_MAX_PARTS = 100
_UTF8 = (b"utf-8", b"utf8")
_AS_IT_IS = (b"", b"7bit", b"8bit", b"binary")


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A part that came with a file name."""

    filename: str
    data: bytes


def parse_form(body: bytes, content_type: str) -> list[tuple[str, str | UploadedFile]]:
    """Names and values of a whole multipart body, in order. Raises `InvalidField`."""
    _, parameters = parse_options_header(content_type)
    _require_utf8(parameters, param=None)
    boundary = parameters.get(b"boundary")
    if not boundary:
        raise _malformed("the content type of a form must name its boundary")
    parts = _Parts()
    try:
        MultipartParser(boundary, parts.callbacks()).write(body)
    except FormParserError as error:
        raise _malformed(f"not valid multipart: {error}") from None
    if not parts.ended:
        raise _malformed("the form ends before its closing boundary")
    return parts.found


class _Parts:
    """Collects what the parser tells of one part after the other."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str | UploadedFile]] = []
        self.ended = False
        self._headers: dict[bytes, bytes] = {}
        self._header = bytearray()
        self._value = bytearray()
        self._data = bytearray()

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_header,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header_end,
            "on_part_data": self._on_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }

    def _begin(self) -> None:
        if len(self.found) == _MAX_PARTS:
            raise _malformed(f"a form may have at most {_MAX_PARTS} parts")
        self._headers = {}
        self._data = bytearray()

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header, self._value = bytearray(), bytearray()

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]

    def _on_part_end(self) -> None:
        self.found.append(_part(self._headers, bytes(self._data)))

    def _on_end(self) -> None:
        self.ended = True


def _part(headers: dict[bytes, bytes], data: bytes) -> tuple[str, str | UploadedFile]:
    _, options = parse_options_header(headers.get(b"content-disposition"))
    if not options.get(b"name"):
        raise _malformed("a part of the form has no name")
    name = _text(options[b"name"], "the name of a part", param=None)
    if headers.get(b"content-transfer-encoding", b"").strip().lower() not in _AS_IT_IS:
        raise InvalidField("must not be transfer-encoded (RFC 7578, section 4.7)", param=name, code="invalid_body")
    if b"filename" in options:
        return name, UploadedFile(_text(options[b"filename"], "the file name", param=name), data)
    _require_utf8(parse_options_header(headers.get(b"content-type"))[1], param=name)
    return name, _text(data, "the text", param=name)


def _require_utf8(parameters: dict[bytes, bytes], *, param: str | None) -> None:
    charset = parameters.get(b"charset", b"utf-8")
    if charset.lower() not in _UTF8:
        raise InvalidField(
            f"a form must be UTF-8, not {charset[:80].decode('latin-1')!r}", param=param, code="invalid_body"
        )


def _text(data: bytes, what: str, *, param: str | None) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidField(f"{what} is not UTF-8 at byte {error.start}", param=param) from None


def _malformed(message: str) -> InvalidField:
    return InvalidField(message, param=None, code="invalid_body")

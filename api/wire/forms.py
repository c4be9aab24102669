"""Multipart forms (RFC 7578), read strictly: what is not UTF-8, not complete or not clear is refused, never guessed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from orchestrator.domain.errors import InvalidField

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_MAX_PARTS = 100
_UTF8 = (b"utf-8", b"utf8")
_AS_IT_IS = (b"", b"7bit", b"8bit", b"binary")


# Text beside a file that goes to the disk: names and numbers, so this is plenty.
_MAX_TEXT_BYTES = 64 * 2**10


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A part that came with a file name."""

    filename: str
    data: bytes


@dataclass(frozen=True, slots=True)
class SpooledFile:
    """A part that came with a file name and whose bytes went to the form's spool."""

    filename: str
    size: int


Value = str | UploadedFile | SpooledFile


def parse_form(body: bytes, content_type: str) -> list[tuple[str, str | UploadedFile]]:
    """Names and values of a whole multipart body, in order. Raises `InvalidField`."""
    reader = FormReader(content_type)
    reader.write(body)
    return [(name, value) for name, value in reader.end() if not isinstance(value, SpooledFile)]


class FormReader:
    """Reads a form as it comes in, piece by piece.

    With a `spool`, the one file that the form may hold is written there and not kept in memory. `write` and `end` raise
    `InvalidField`, and what the spool raises.
    """

    def __init__(self, content_type: str, spool: IO[bytes] | None = None) -> None:
        _, parameters = parse_options_header(content_type)
        _require_utf8(parameters, param=None)
        boundary = parameters.get(b"boundary")
        if not boundary:
            raise _malformed("the content type of a form must name its boundary")
        self._parts = _Parts(spool)
        with _our_errors():
            self._parser = MultipartParser(boundary, self._parts.callbacks())

    def write(self, data: bytes) -> None:
        """Read the next bytes of the body."""
        with _our_errors():
            self._parser.write(data)

    def end(self) -> list[tuple[str, Value]]:
        """Names and values, in order, once the body is over."""
        if not self._parts.ended:
            raise _malformed("the form ends before its closing boundary")
        return self._parts.found


class _Parts:
    """Collects what the parser tells of one part after the other."""

    def __init__(self, spool: IO[bytes] | None) -> None:
        self.found: list[tuple[str, Value]] = []
        self.ended = False
        self._spool = spool
        self._headers: dict[bytes, bytes] = {}
        self._header = bytearray()
        self._value = bytearray()
        self._data = bytearray()
        self._text_bytes = 0
        self._spooled: int | None = None

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_header,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }

    def _begin(self) -> None:
        if len(self.found) == _MAX_PARTS:
            raise _malformed(f"a form may have at most {_MAX_PARTS} parts")
        self._headers = {}
        self._data = bytearray()
        self._spooled = None

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header, self._value = bytearray(), bytearray()

    def _on_headers_finished(self) -> None:
        if self._spool is None or _filename(self._headers) is None:
            return
        if any(isinstance(value, SpooledFile) for _, value in self.found):
            raise _malformed("the form may hold one file only")
        self._spooled = 0

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._spool is not None and self._spooled is not None:
            self._spooled += self._spool.write(memoryview(data)[start:end])
            return
        self._text_bytes += end - start
        if self._spool is not None and self._text_bytes > _MAX_TEXT_BYTES:
            raise _malformed(f"beside its file the form may hold at most {_MAX_TEXT_BYTES} bytes of text")
        self._data += data[start:end]

    def _on_part_end(self) -> None:
        self.found.append(_part(self._headers, bytes(self._data), self._spooled))

    def _on_end(self) -> None:
        self.ended = True


def _filename(headers: dict[bytes, bytes]) -> bytes | None:
    return parse_options_header(headers.get(b"content-disposition"))[1].get(b"filename")


def _part(headers: dict[bytes, bytes], data: bytes, spooled: int | None) -> tuple[str, Value]:
    """A part's name and value; `spooled` is how many bytes of it went to the spool, None when `data` has them."""
    _, options = parse_options_header(headers.get(b"content-disposition"))
    if not options.get(b"name"):
        raise _malformed("a part of the form has no name")
    name = _text(options[b"name"], "the name of a part", param=None)
    if headers.get(b"content-transfer-encoding", b"").strip().lower() not in _AS_IT_IS:
        raise InvalidField("must not be transfer-encoded (RFC 7578, section 4.7)", param=name, code="invalid_body")
    if b"filename" in options:
        filename = _text(options[b"filename"], "the file name", param=name)
        return name, UploadedFile(filename, data) if spooled is None else SpooledFile(filename, spooled)
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


@contextmanager
def _our_errors() -> Iterator[None]:
    try:
        yield
    except FormParserError as error:
        raise _malformed(f"not valid multipart: {error}") from None


def _malformed(message: str) -> InvalidField:
    return InvalidField(message, param=None, code="invalid_body")

"""JSON Lines of requests: split, read and checked one by one, however long the file is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple
from uuid import UUID

from uuid_utils.compat import uuid7

from orchestrator.domain import jsontext
from orchestrator.domain.batch import BROKEN, ItemError, LineError
from orchestrator.domain.campaign_rows import NewRow
from orchestrator.domain.errors import InvalidField, RequestError, TooLarge
from orchestrator.domain.texts import check_text, storable
from orchestrator.telemetry import aside

MAX_ERRORS = 100
_MAX_CUSTOM_ID = 512
_BOM = b"\xef\xbb\xbf"

Check = Callable[[Mapping[str, Any], UUID], object]


@dataclass(frozen=True, slots=True)
class ParsedLine:
    """One request."""

    # Its caller's name for it.
    custom_id: str
    body: dict[str, Any]


class Line(NamedTuple):
    """A line that is not blank."""

    # From 1.
    number: int
    # The byte of the file that it begins at.
    at: int
    raw: bytes


def split_lines(chunks: Iterable[bytes], *, max_bytes: int) -> Iterator[Line]:
    """The lines that are not blank. Raises `TooLarge` at one over `max_bytes`."""
    number, at, rest = 0, 0, bytearray()
    for chunk in chunks:
        *whole, last = chunk.split(b"\n")
        for piece in whole:
            rest += piece
            number += 1
            yield from _line(number, at, rest, max_bytes)
            at += len(rest) + 1
            rest = bytearray()
        rest += last
        if len(rest) > max_bytes:
            break
    yield from _line(number + 1, at, rest, max_bytes)


def _line(number: int, at: int, line: bytearray, max_bytes: int) -> Iterator[Line]:
    if len(line) > max_bytes:
        raise TooLarge(f"line {number} has more than {max_bytes} bytes")
    if number == 1 and line.startswith(_BOM):
        line, at = line.removeprefix(_BOM), at + len(_BOM)
    if not line.isspace() and line:
        yield Line(number, at, bytes(line))


def parse_line(raw: bytes, endpoint: str) -> ParsedLine:
    """One line, for `endpoint`. Raises `InvalidField`."""
    line = _object(raw)
    custom_id = line.get("custom_id")
    if not isinstance(custom_id, str) or not custom_id.strip():
        raise InvalidField("must be a text that names the request", param="custom_id", code=_code(custom_id))
    check_text(custom_id, "custom_id", max_chars=_MAX_CUSTOM_ID)
    method, url, body = line.get("method"), line.get("url"), line.get("body")
    if method != "POST":
        raise InvalidField("must be POST", param="method", code=_code(method))
    if url != endpoint:
        raise InvalidField(f"must be {endpoint}, the endpoint of the batch", param="url", code=_code(url))
    if not isinstance(body, dict):
        raise InvalidField("must be a JSON object", param="body", code=_code(body))
    return ParsedLine(custom_id, body)


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = jsontext.parse(raw.decode())
    except ValueError as error:
        raise InvalidField(f"not valid JSON: {error}", param=None, code="invalid_json_line") from None
    if not isinstance(value, dict):
        raise InvalidField("must be a JSON object", param=None, code="invalid_json_line")
    return value


def _code(value: object) -> str | None:
    return "missing" if value is None else None


@dataclass(slots=True)
class LineReader:
    """Takes in a file of requests piece by piece."""

    lines: Iterator[Line]
    # The route that each of them must name.
    endpoint: str
    # Raises a `RequestError` for a body that cannot be meant.
    check: Check
    max_lines: int
    # What is wrong, the first `MAX_ERRORS` of it.
    errors: list[LineError] = field(default_factory=list)
    # Requests that were read.
    total: int = 0
    _seen: set[bytes] = field(default_factory=set)

    def take(self, *, lines: int, size: int) -> list[NewRow]:
        """The next requests, about `lines` of them or `size` bytes; none when the file is over, or not worth more."""
        items: list[NewRow] = []
        taken = 0
        while len(items) < lines and taken < size and len(self.errors) < MAX_ERRORS:
            try:
                line = next(self.lines)
            except StopIteration:
                break
            except TooLarge as error:
                self.errors.append(line_error(error, None))
                break
            if self.total == self.max_lines:
                message = f"the file has more than {self.max_lines} lines"
                self.errors.append(LineError(code="too_many_lines", message=message))
                break
            taken += len(line.raw)
            self.total += 1
            try:
                items.append(self._item(line))
            except RequestError as error:
                self.errors.append(line_error(error, line.number))
            except Exception as error:
                aside.put("batch_lines", error, line=line.number)
                self.errors.append(LineError(code=BROKEN.code, message=BROKEN.message, line=line.number))
        return items

    def finish(self) -> list[LineError]:
        """What is wrong with the file, once `take` gave nothing more."""
        if not self.total and not self.errors:
            return [LineError(code="empty_file", message="the file has no requests")]
        return self.errors

    def _item(self, line: Line) -> NewRow:
        parsed = parse_line(line.raw, self.endpoint)
        # A digest each: fifty thousand names of 512 characters would be too much to keep.
        digest = blake2b(parsed.custom_id.encode(), digest_size=16).digest()
        if digest in self._seen:
            raise InvalidField("comes twice in this file", param="custom_id", code="duplicate_custom_id")
        self._seen.add(digest)
        self.check(parsed.body, uuid7())
        # Where it lies instead of what it says: many batches of one file are no copies of it.
        return NewRow(line.number, parsed.custom_id, "", False, line.at, len(line.raw))


def item_error(error: RequestError) -> ItemError:
    """Why a request has no video, in words that JSON in the database can hold."""
    return ItemError(
        code=error.code,
        message=storable(error.message),
        param=None if error.param is None else storable(error.param),
    )


def line_error(error: RequestError, line: int | None) -> LineError:
    """The same for a line of a file that is not accepted."""
    plain = item_error(error)
    return LineError(code=plain.code, message=plain.message, param=plain.param, line=line)

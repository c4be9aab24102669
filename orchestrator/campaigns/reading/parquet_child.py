"""What a confined child does with a Parquet file: it reads it batch by batch, and says its records as JSON."""

from __future__ import annotations

import json
import os
import zoneinfo
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import IO, Any, NoReturn

from orchestrator.campaigns.reading import parquet_file
from orchestrator.campaigns.reading.records import BadRecord, Record
from orchestrator.confined.frames import MAX_BLOB
from orchestrator.confined.serving import serve
from orchestrator.domain import jsontext
from orchestrator.domain.errors import InvalidField

# Characters of one answer, unless a single record has more.
_PIECE = 2**20


def main(settings: str) -> NoReturn:
    """Serve until the parent is gone."""
    given = jsontext.own(settings)
    file, memory, seconds = os.fdopen(given.pop("file"), "rb"), given.pop("memory"), given.pop("seconds")
    reading = Reading(file, zones=_warm_up(), **given)
    serve(lambda words, blob: reading.answered(), memory=memory, seconds=seconds)


class Reading:
    """One file from its beginning to its end: first the names of its columns, then its records, piece by piece.

    `zones` are what was opened before: Python forgets those that nobody holds, and could not open them again.
    """

    def __init__(
        self, file: IO[bytes], *, max_bytes: int, max_record_bytes: int, skip: int, zones: Sequence[object] = ()
    ) -> None:
        self._file = file
        self._zones = zones
        self._bounds = {"max_bytes": max_bytes, "max_record_bytes": max_record_bytes, "skip": skip}
        self._batches: Iterator[list[Record | BadRecord]] | None = None
        self._pending: list[Record | BadRecord] = []

    def answered(self) -> tuple[dict[str, Any], bytes]:
        """What comes next."""
        try:
            if self._batches is None:
                names, self._batches = parquet_file.opened(self._file, **self._bounds)
                return {}, _written(names)
            return self._next(self._batches)
        except InvalidField as error:
            return {"refused": error.message, "param": error.param, "code": error.code}, b""
        except MemoryError:
            raise
        except (ImportError, PermissionError) as error:  # it wants what a child has not got: a fault of ours
            return {"unable": f"{type(error).__name__}: {error}"[:200]}, b""
        except Exception as error:  # whatever the damage leads a reader to
            refused = parquet_file.damaged(f"{type(error).__name__}: {error}")
            return {"refused": refused.message, "param": refused.param, "code": refused.code}, b""

    def _next(self, batches: Iterator[list[Record | BadRecord]]) -> tuple[dict[str, Any], bytes]:
        if not self._pending:
            found = next(batches, None)
            if found is None:
                return {"end": True}, b""
            self._pending = found
        taken, size = 0, 0
        while taken < len(self._pending) and (not taken or size < _PIECE):
            record = self._pending[taken]
            size += record.size if isinstance(record, Record) else len(record.reason)
            taken += 1
        blob = _written([_said(record) for record in self._pending[:taken]])
        while len(blob) > MAX_BLOB and taken > 1:  # characters that JSON spells out, or very many columns
            taken = (taken + 1) // 2
            blob = _written([_said(record) for record in self._pending[:taken]])
        if len(blob) > MAX_BLOB:
            blob = _written([[self._pending[0].line, "too_long", "the row is too long"]])
        self._pending = self._pending[taken:]
        return {}, blob


def _said(record: Record | BadRecord) -> list[Any]:
    if isinstance(record, Record):
        return [record.line, record.size, record.values]
    return [record.line, record.code, record.reason]


def _written(said: object) -> bytes:
    return json.dumps(said, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _warm_up() -> Sequence[object]:
    """Import and open whatever reading needs late: afterwards nothing can be opened. The time zones that there are."""
    arrow, parquet = parquet_file.imported()
    types = [
        *(arrow.string(), arrow.large_string(), arrow.int8(), arrow.uint64(), arrow.float16(), arrow.float32()),
        *(arrow.float64(), arrow.bool_(), arrow.decimal128(10, 2), arrow.date32(), arrow.date64(), arrow.null()),
        *(arrow.timestamp("ns"), arrow.timestamp("us", "UTC"), arrow.time32("s"), arrow.time64("ns")),
    ]
    columns = {str(kind): arrow.array(["1" if kind in types[:2] else None], kind) for kind in types}
    columns["listed"] = arrow.array(["x"]).dictionary_encode()
    file = BytesIO()
    parquet.write_table(arrow.table(columns), file)
    _, batches = parquet_file.opened(file, max_bytes=2**20, max_record_bytes=2**10)
    list(batches)
    arrow.array([0], arrow.timestamp("us", "UTC")).to_pylist()
    return [zoneinfo.ZoneInfo(name) for name in zoneinfo.available_timezones()]

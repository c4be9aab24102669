"""Parquet, by the optional pyarrow: flat columns of texts, numbers, truths, dates and decimals. Run in a child."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from orchestrator.campaigns.reading.records import BadRecord, Record, broken, empty
from orchestrator.domain.errors import InvalidField

_BATCH_ROWS = 1000
# What a batch may take, as far as the file's own account of itself is true.
_BATCH_BYTES = 16 * 2**20
# No character of UTF-8 has more bytes.
_WIDEST = 4
# Of this process, and not of its file, although Arrow's lack of memory is an `ArrowException`, too.
_OWN = (MemoryError, PermissionError, ImportError)


class _Broken:
    """In the place of a text that is not UTF-8."""


_BROKEN = _Broken()


def opened(
    file: Path | IO[bytes], *, max_bytes: int, max_record_bytes: int, skip: int = 0
) -> tuple[tuple[str, ...], Iterator[list[Record | BadRecord]]]:
    """Names of the columns, and the records behind the first `skip`, batch by batch; `line` is a record's number.

    A batch may be empty. Raises `InvalidField` for what the file is to blame for, now and later; `MemoryError`, and
    `PermissionError` and `ImportError`, of a process that may do less than reading takes.
    """
    arrow, parquet = imported()
    try:
        with parquet.ParquetFile(file) as whole:
            schema, rows = whole.schema_arrow, whole.metadata.num_rows
            groups = [whole.metadata.row_group(i) for i in range(whole.num_row_groups)]
            sizes = [(group.num_rows, group.total_byte_size) for group in groups]
            listed = {name for group in groups for name in _in_dictionaries(group)}
    except _OWN:
        raise
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise damaged(error) from None
    texts = [field.name for field in schema if _check_type(arrow, field) and field.name in listed]
    if not rows or not len(schema):
        raise empty()
    if sum(size for _, size in sizes) > max_bytes:
        raise broken(f"the input has more than {max_bytes} bytes, unpacked", "too_large")
    names = tuple(schema.names)
    batches = _batches(file, sizes, texts, skip)
    return names, _records(batches, names, max_record_bytes, skip)


def imported() -> tuple[Any, Any]:
    """pyarrow and its Parquet."""
    return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")


def damaged(error: object) -> InvalidField:
    """The file as a whole, by what its reader says."""
    return broken(f"the Parquet file is damaged: {' '.join(str(error).split())[:200]}", "broken_parquet")


def _check_type(arrow: Any, field: Any) -> bool:
    """Whether a column holds texts. Raises `InvalidField` for one that no variable can be made of."""
    types = arrow.types
    plain = field.type.value_type if types.is_dictionary(field.type) else field.type
    if types.is_string(plain) or types.is_large_string(plain):
        return True
    scalar = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal, types.is_date)
    if not any(fits(plain) for fits in (*scalar, types.is_timestamp, types.is_time, types.is_null)):
        raise InvalidField(
            f"is of the type {str(field.type)[:80]}; a column may have texts, numbers, booleans, dates or decimals",
            param=field.name,
            code="nested_column" if types.is_nested(plain) else "unsupported_column",
        )
    if types.is_timestamp(plain) and plain.tz:
        _check_zone(arrow, plain.tz, field.name)
    return False


def _check_zone(arrow: Any, zone: str, column: str) -> None:
    """Raise `InvalidField` for a time zone that nobody knows: a child that looks for its file is refused that."""
    try:
        arrow.lib.string_to_tzinfo(zone)
    except MemoryError:
        raise
    except Exception:  # which it is depends on where zones are looked for
        raise InvalidField(
            f"is of the time zone {zone[:80]!r}, which is not known", param=column, code="unsupported_column"
        ) from None


def _in_dictionaries(group: Any) -> Iterator[str]:
    """Columns whose values are listed once, and referred to."""
    for column in map(group.column, range(group.num_columns)):
        if any("DICTIONARY" in encoding for encoding in column.encodings):
            yield column.path_in_schema


def _batches(
    file: Path | IO[bytes], sizes: Sequence[tuple[int, int]], texts: Sequence[str], skip: int
) -> Iterator[tuple[int, Any]]:
    """Batches, and the number of the record before each. Groups that lie within `skip` are not read."""
    arrow, parquet = imported()
    before = 0
    try:
        # Texts stay in their dictionaries, where they have some: one long text in a million rows is then one text.
        with parquet.ParquetFile(file, read_dictionary=texts, buffer_size=2**20, pre_buffer=False) as whole:
            for group, (rows, size) in enumerate(sizes):
                if before + rows > skip:
                    at = before
                    fitting = _BATCH_BYTES * rows // max(size, 1)
                    for batch in whole.iter_batches(max(1, min(_BATCH_ROWS, fitting)), [group], use_threads=False):
                        yield at, batch
                        at += batch.num_rows
                before += rows
    except _OWN:
        raise
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise damaged(error) from None


def _records(
    batches: Iterator[tuple[int, Any]], names: tuple[str, ...], limit: int, skip: int
) -> Iterator[list[Record | BadRecord]]:
    arrow, _ = imported()
    for before, batch in batches:
        try:
            columns = [_values(arrow, column) for column in batch.columns]
        except _OWN:
            raise
        except (arrow.ArrowException, OverflowError, ValueError) as error:
            raise damaged(error) from None
        longest = _longest_if_sound(columns, limit)
        numbered = enumerate(zip(*columns, strict=True), before + 1)
        yield [
            _record(number, names, values, limit)
            if longest is None
            else Record(number, names, values, longest * _WIDEST)
            for number, values in numbered
            if number > skip
        ]


def _longest_if_sound(columns: Sequence[Sequence[object]], limit: int) -> int | None:
    """Characters that no record of a batch exceeds, told of whole columns in a fraction of the time; None where one of
    its records may be bad.
    """
    longest = 0
    for values in columns:
        kinds = set(map(type, values))
        if _Broken in kinds or (float in kinds and (math.inf in values or -math.inf in values)):
            return None
        if str in kinds:
            longest += max(len(value) for value in values if isinstance(value, str))
    return longest if longest <= limit else None


def _record(number: int, names: tuple[str, ...], values: tuple[object, ...], limit: int) -> Record | BadRecord:
    size = 0
    for name, value in zip(names, values, strict=True):
        if value is _BROKEN:
            return BadRecord(number, "not_utf8", f"{name[:80]} is not valid UTF-8")
        if type(value) is str:
            size += len(value)
        elif type(value) is float and math.isinf(value):
            return BadRecord(number, "invalid_value", f"{name[:80]} is infinite")
    if size > limit:
        return BadRecord(number, "too_long", f"the row has more than {limit} characters")
    return Record(number, names, values, size * _WIDEST)


def _values(arrow: Any, column: Any) -> list[Any]:
    """Of one column: texts, integers, floats, truths and None. NaN is how some programs write None."""
    types = arrow.types
    if types.is_dictionary(column.type):
        # Only what the batch uses: the dictionary may be that of a million records.
        used = column.indices.unique().drop_null()
        known = dict(zip(used.to_pylist(), _values(arrow, column.dictionary.take(used)), strict=True))
        return [known.get(index) for index in column.indices.to_pylist()]
    if types.is_string(column.type) or types.is_large_string(column.type):
        return _texts(column)
    if types.is_float16(column.type) or types.is_float32(column.type):
        # As text: the nearest double of a float like 0.1 has more digits than anybody wrote.
        column = column.cast(arrow.float32()).cast(arrow.string())
        return [None if text == "nan" else text for text in column.to_pylist()]
    if types.is_floating(column.type):
        return [None if value != value else value for value in column.to_pylist()]
    if types.is_decimal(column.type):
        return [None if value is None else format(value, "f") for value in column.to_pylist()]
    if types.is_timestamp(column.type):
        column = column.cast(arrow.timestamp("us", column.type.tz), safe=False)
    elif types.is_time64(column.type):
        column = column.cast(arrow.time64("us"), safe=False)
    if types.is_temporal(column.type):
        return [None if value is None else value.isoformat() for value in column.to_pylist()]
    return list(column.to_pylist())


def _texts(column: Any) -> list[Any]:
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        return [_text(value) for value in column]


def _text(value: Any) -> object:
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return _BROKEN

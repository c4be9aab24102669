"""An input as it was sent, in whatever format and packing, to its records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from orchestrator.campaigns.reading import jsonl, manifest, parquet, tables
from orchestrator.campaigns.reading.formats import Format, check_text_file, detect, peek
from orchestrator.campaigns.reading.records import Source, empty
from orchestrator.campaigns.reading.unpack import unpack


def open_source(
    chunks: Iterator[bytes],
    *,
    form: Format | None,
    max_bytes: int,
    max_record_bytes: int,
    max_picture_bytes: int = 0,
    spool: Path,
    skip: int = 0,
) -> Source:
    """Read an input from its beginning, and its records from behind the first `skip`, whatever became of those.

    `form` is what the caller says it is, None for whatever it looks like. `max_bytes` bounds it unpacked,
    `max_record_bytes` each record, `max_picture_bytes` a picture that is within it. `spool` is a file that is
    overwritten with a Parquet file, which is read from there until the last record. Raises a `RequestError`,
    `Unavailable` when no child can read Parquet at this moment, and whatever `chunks` and writing to `spool` raise.
    """
    # Which column is a picture is not known yet, and no format holds more than this of any record.
    most = max_record_bytes + max_picture_bytes
    head, plain = peek(unpack(chunks, max_bytes=max_bytes))
    if not head:
        raise empty()
    form = form or detect(head)
    if form is Format.PARQUET:
        _write(plain, spool)
        header, records = parquet.opened(spool, max_bytes=max_bytes, max_record_bytes=most, skip=skip)
        return Source(form, header, max_record_bytes, records)
    check_text_file(head)
    if form is Format.CSV:
        header, records = tables.opened(plain, max_record_bytes=most, skip=skip)
        return Source(form, header, max_record_bytes, records)
    read = manifest.records if form is Format.MANIFEST else jsonl.records
    return Source(form, None, max_record_bytes, read(plain, max_record_bytes=most, skip=skip))


def _write(chunks: Iterator[bytes], spool: Path) -> None:
    with spool.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)

"""A campaign's input read from bytes, for tests of what comes of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from api.openai.schemas import CreateVideo
from orchestrator.campaigns.reading.formats import Format
from orchestrator.campaigns.reading.opening import open_source
from orchestrator.campaigns.reading.rows import RowReader
from orchestrator.domain.campaign_rows import BadRow, NewRow
from orchestrator.domain.errors import RequestError
from orchestrator.domain.template import Template

PARAMETERS = frozenset(CreateVideo.model_fields)
MiB = 2**20
FILE = "file-0198c5a7e3b97d6f8a0c1f2e3d4c5b6a"


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def reader_of(
    data: bytes | Iterable[bytes],
    template: str | None = "a {product}",
    *,
    negative: str | None = None,
    form: Format | None = None,
    skip: int = 0,
    max_bytes: int = 64 * MiB,
    max_record_bytes: int = MiB,
    max_picture_bytes: int = 0,
    spool: Path = Path("/nonexistent/spool"),
    **kwargs: Any,
) -> RowReader:
    chunks = cut(data, 1000) if isinstance(data, bytes) else iter(data)
    source = open_source(
        chunks,
        form=form,
        max_bytes=max_bytes,
        max_record_bytes=max_record_bytes,
        max_picture_bytes=max_picture_bytes,
        spool=spool,
        skip=skip,
    )
    return RowReader(
        source,
        prompt=None if template is None else Template.parse(template, "prompt"),
        negative_prompt=None if negative is None else Template.parse(negative, "negative_prompt"),
        **{"parameters": PARAMETERS, "check": fine, **kwargs},
    )


def fine(params: Mapping[str, Any]) -> None:
    pass


def all_of(reader: RowReader, size: int = 100) -> tuple[list[NewRow], list[BadRow]]:
    rows, bad = [], []
    while (taken := reader.take(size)).records:
        assert taken.records <= size
        rows += taken.rows
        bad += taken.bad
    assert reader.take(size) == taken  # it stays over
    return rows, bad


def read(data: bytes | Iterable[bytes], template: str | None = "a {product}", **kwargs: Any) -> Any:
    return all_of(reader_of(data, template, **kwargs))


def bodies(rows: Sequence[NewRow]) -> list[Any]:
    return [json.loads(row.body) for row in rows]


def file_error(data: bytes | Iterable[bytes], template: str | None = "a {product}", **kwargs: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        read(data, template, **kwargs)
    return caught.value


def variables_of(data: bytes, template: str = "a {product}", **kwargs: Any) -> list[Any]:
    rows, bad = read(data, template, **kwargs)
    assert bad == []
    return [body["vars"] for body in bodies(rows)]


def bad_rows(data: bytes, good: int, template: str = "a {product}", **kwargs: Any) -> list[tuple[int, str | None, str]]:
    rows, bad = read(data, template, **kwargs)
    assert len(rows) == good
    for row in bad:
        assert row.reason
        assert row.reason.isprintable()
    return [(row.line, row.field, row.code) for row in bad]

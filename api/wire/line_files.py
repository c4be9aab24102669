"""Long lists as files of lines, JSON or CSV, streamed page by page."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any, Literal

from api.wire.streaming import Streamed
from orchestrator.domain.spreadsheet import rows_of

Format = Literal["jsonl", "csv"]
_Page = Sequence[Mapping[str, Any]]
_TYPES: Mapping[Format, str] = {"jsonl": "application/jsonl", "csv": "text/csv; charset=utf-8"}


async def streamed_lines(
    pages: AsyncIterator[_Page], columns: Sequence[str], form: Format, *, filename: str
) -> Streamed:
    """A download of all pages. No cell of the CSV, which begins with the columns' names, runs in a spreadsheet.

    The first page is waited for: a database that is silent is an error, before the status goes out.
    """
    first: _Page = await anext(pages, [])
    headers = {"content-disposition": f'attachment; filename="{filename}"'}
    return Streamed(_written(first, pages, columns, form), 200, headers, _TYPES[form])


async def _written(
    first: _Page, rest: AsyncIterator[_Page], columns: Sequence[str], form: Format
) -> AsyncGenerator[str, None]:
    if form == "csv":
        yield "".join(rows_of([columns]))
    yield _text(first, columns, form)
    async for page in rest:
        yield _text(page, columns, form)


def _text(lines: _Page, columns: Sequence[str], form: Format) -> str:
    if form == "csv":
        return "".join(rows_of([line[name] for name in columns] for line in lines))
    return "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)

"""The lines of a batch's file, read again when their turn comes: rows know where theirs lies, and hold no copy."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace

from orchestrator.domain.campaign import Row
from orchestrator.domain.errors import CogmillError, IntegrityError, NotFound, ObjectsUnavailable
from orchestrator.kit.threads import Threads
from orchestrator.ports import ObjectStore
from orchestrator.ports.campaign_values import Found, Hold

# Bytes of lines that are in memory at a time, however many rows that are; and of one read, and what it may skip.
_MOST = 32 * 2**20
_SPAN = 8 * 2**20
_GAP = 64 * 2**10

DEADLINE_S = 60.0


class InputLines:
    """Those of some rows of one batch: `load` reads them, `of` has what became of each."""

    def __init__(self, objects: ObjectStore, threads: Threads) -> None:
        self._objects = objects
        self._threads = threads
        self._lines: dict[int, bytes | CogmillError] = {}

    async def load(self, hold: Hold, found: Found) -> Found:
        """Read the lines of these rows, or of as many of the first as fit into memory; which."""
        here = _fitting(found)
        rows = [row for _, row in here.rows if row.input_at is not None]
        source = hold.campaign.input
        if source is not None:
            await asyncio.gather(*(self._read(source.key, span) for span in spans(rows)))
        return here

    def of(self, row: Row) -> bytes:
        """The line of a row that was loaded. Raises why it could not be read."""
        line = self._lines[row.place]
        if isinstance(line, CogmillError):
            raise line
        return line

    async def _read(self, key: str, span: Sequence[Row]) -> None:
        first, end = _begin(span[0]), _end(span[-1])
        try:
            data = await self._threads.run(self._bytes, key, first, end)
        except TimeoutError:
            self._fail(span, ObjectsUnavailable(f"S3 did not answer within {DEADLINE_S:g} s"))
        except NotFound:
            self._fail(span, NotFound("the file of the batch is not there any more", param="input_file_id"))
        except CogmillError as error:
            self._fail(span, error)
        else:
            self._lines |= {row.place: data[_begin(row) - first : _end(row) - first] for row in span}

    def _bytes(self, key: str, first: int, end: int) -> bytes:
        data = b"".join(self._objects.stream(key, start=first, end=end - 1))
        if len(data) != end - first:
            raise IntegrityError(f"{key} has {len(data)} bytes from {first} on, and not {end - first}")
        return data

    def _fail(self, span: Iterable[Row], error: CogmillError) -> None:
        self._lines |= {row.place: error for row in span}


def spans(rows: Iterable[Row]) -> list[list[Row]]:
    """Rows that are read together: what lies close in the file, up to so many bytes."""
    found: list[list[Row]] = []
    for row in sorted(rows, key=_begin):
        last = found[-1] if found else None
        if last and _begin(row) - _end(last[-1]) <= _GAP and _end(row) - _begin(last[0]) <= _SPAN:
            last.append(row)
        else:
            found.append([row])
    return found


def _fitting(found: Found) -> Found:
    """As many of the first as fit into memory, and one if none does. The others come with the next ones."""
    taken = 0
    for count, (ordinal, row) in enumerate(found.rows):
        taken += row.input_size or 0
        if count and taken > _MOST:
            return replace(found, rows=found.rows[:count], upto=ordinal, last=False)
    return found


def _begin(row: Row) -> int:
    assert row.input_at is not None, "only these are read again"
    return row.input_at


def _end(row: Row) -> int:
    return _begin(row) + (row.input_size or 0)

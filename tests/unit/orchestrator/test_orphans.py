"""Objects without a row: every sweeper leaves them a day, in which their upload may yet come to its row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from uuid_utils.compat import uuid7

from orchestrator.objects.files import FileSweeper
from orchestrator.objects.inputs import InputSweeper

DAY_S = 24 * 3600.0


class Rows:
    """A store that knows no object, and remembers how old one must be before it says so."""

    def __init__(self) -> None:
        self.older_than_s: list[float] = []

    async def files_unknown(self, made: Iterable[str], *, older_than_s: float) -> set[str]:
        self.older_than_s.append(older_than_s)
        return set(made)

    inputs_unknown = files_unknown


class Bucket:
    def __init__(self, *keys: str) -> None:
        self.keys = list(keys)

    def list_keys(self, prefix: str) -> Iterator[str]:
        return (key for key in self.keys if key.startswith(prefix))

    def delete(self, keys: Iterable[str]) -> None:
        self.keys = [key for key in self.keys if key not in set(keys)]


@pytest.mark.parametrize("sweeper", [FileSweeper, InputSweeper])
async def test_an_orphan_is_left_alone_for_a_day(sweeper: Any) -> None:
    name = uuid7().hex
    rows, bucket = Rows(), Bucket(f"files/{'0' * 16}/file-{name}", f"inputs/{'0' * 64}/{name}.png", "files/readme.txt")
    assert await sweeper(rows, bucket).orphans() == 1
    assert rows.older_than_s == [DAY_S]
    assert "files/readme.txt" in bucket.keys

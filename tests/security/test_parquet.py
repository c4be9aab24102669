"""Parquet of users' is read by a confined child, which says what the reader says, and takes no more than it may."""

from __future__ import annotations

import datetime as dt
import os
import signal
import sys
from collections.abc import Callable
from decimal import Decimal
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from structlog.testing import capture_logs

from orchestrator.campaigns.reading import parquet, parquet_child, parquet_file
from orchestrator.campaigns.reading.records import BadRecord
from orchestrator.confined.child import Answer, Child
from orchestrator.domain.errors import InvalidField, Unavailable

MiB = 2**20
BOUNDS = {"max_bytes": 2**30, "max_record_bytes": 2**16}
ZONES = ("UTC", "Europe/Berlin", "+02:00")


def a_file(tmp_path: Path, table: pa.Table, **options: Any) -> Path:
    path = tmp_path / "in.parquet"
    pq.write_table(table, path, **options)
    return path


def everything() -> pa.Table:
    """Each kind of column, and records that are bad."""
    moments = [dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC), None, None, None]
    zoned = {zone: pa.array(moments, pa.timestamp("ns", zone)) for zone in ZONES}
    return pa.table(
        {
            **zoned,
            "text": pa.array([b'm\xc3\xbcg \x01"', b"\xff", b"x" * 70_000, b""]).view(pa.string()),
            "listed": pa.array(["a", "b", None, "a"]).dictionary_encode(),
            "price": pa.array([Decimal("1.50"), None, None, Decimal(2)], pa.decimal128(10, 2)),
            "day": pa.array([dt.date(2026, 11, 29), None, None, None]),
            "time": pa.array([dt.time(1, 2, 3), None, None, None], pa.time64("ns")),
            "small": pa.array([0.1, None, float("nan"), 2], pa.float32()),
            "large": pa.array([0.1, None, 1e300, float("inf")]),
            "count": pa.array([2**64 - 1, None, 0, 1], pa.uint64()),
            "yes": pa.array([True, False, None, True]),
            "nothing": pa.nulls(4),
        }
    )


def test_a_child_says_of_every_kind_of_column_what_the_reader_says(tmp_path: Path) -> None:
    path = a_file(tmp_path, everything())
    for skip in (0, 1):
        names, batches = parquet_file.opened(path, **BOUNDS, skip=skip)
        found, records = parquet.opened(path, **BOUNDS, skip=skip)
        assert found == names
        assert list(records) == list(chain.from_iterable(batches))


def test_many_records_come_in_pieces_and_their_order(tmp_path: Path) -> None:
    path = a_file(tmp_path, pa.table({"n": range(2500), "text": ["x" * 2000] * 2500}), row_group_size=1100)
    _, records = parquet.opened(path, **BOUNDS, skip=3)
    assert [record.values[0] for record in records] == list(range(3, 2500))  # type: ignore[union-attr]


@pytest.mark.parametrize("spoil", [lambda data: data[:-5], lambda data: data[:4] + bytes(40) + data[44:]])
def test_a_damaged_file_is_refused_as_before(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = a_file(tmp_path, pa.table({"text": ["m" * 50] * 500}), compression="none", use_dictionary=False)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(InvalidField) as refused:
        list(parquet.opened(path, **BOUNDS)[1])
    assert (refused.value.param, refused.value.code) == ("input", "broken_parquet")


def test_a_small_file_that_unpacks_to_much_is_refused_and_not_unpacked_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "MEMORY", 48 * MiB)
    path = a_file(tmp_path, pa.table({"text": ["x" * (64 * MiB)]}), compression="zstd")
    assert path.stat().st_size < MiB
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _peak()
    with pytest.raises(InvalidField) as refused:
        list(parquet.opened(path, **BOUNDS)[1])
    assert (refused.value.param, refused.value.code) == ("input", "too_large")
    grown = _peak() - before
    print(f"{path.stat().st_size} bytes, refused: +{grown // MiB} MiB in the process that asks")
    assert grown < 16 * MiB


def _peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def test_a_reader_that_dies_in_the_midst_ends_the_input_and_one_that_nobody_reads_ends_too(tmp_path: Path) -> None:
    path = a_file(tmp_path, pa.table({"n": range(5000)}))
    before = {child.pid for child in psutil.Process().children()}
    _, records = parquet.opened(path, **BOUNDS)
    next(records)
    (reader,) = [child for child in psutil.Process().children() if child.pid not in before]
    reader.kill()
    with pytest.raises(InvalidField, match="breaks its reader"):
        list(records)
    _, records = parquet.opened(path, **BOUNDS)
    next(records)
    (reader,) = [child for child in psutil.Process().children() if child.pid not in before]
    del records
    assert not reader.is_running() or reader.status() == psutil.STATUS_ZOMBIE


def test_rows_before_one_that_is_too_long_are_kept_and_only_that_one_is_refused(tmp_path: Path) -> None:
    """JSON spells each of its characters out in six: it is longer than what a child may say, and no other row is."""
    texts = pa.array([b"a", b"\xff", b"\1" * 12_000_000, b"c"]).view(pa.string())
    path = a_file(tmp_path, pa.table({"text": texts}), compression="zstd")
    _, records = parquet.opened(path, max_bytes=2**30, max_record_bytes=2**25)
    found = list(records)
    told = [(record.line, record.code if isinstance(record, BadRecord) else record.values) for record in found]
    assert told == [(1, ("a",)), (2, "not_utf8"), (3, "too_long"), (4, ("c",))]


def test_a_reader_that_cannot_start_or_gets_no_processor_is_no_fault_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = a_file(tmp_path, pa.table({"n": range(5000)}))
    with monkeypatch.context() as nowhere:
        nowhere.setattr(sys, "executable", str(tmp_path / "nowhere"))
        with pytest.raises(Unavailable):
            parquet.opened(path, **BOUNDS)
    before = {child.pid for child in psutil.Process().children()}
    _, records = parquet.opened(path, **BOUNDS)
    next(records)
    (reader,) = {child.pid for child in psutil.Process().children()} - before
    os.kill(reader, signal.SIGSTOP)
    monkeypatch.setattr(parquet, "ANSWER_S", 0.2)
    with pytest.raises(Unavailable):
        list(records)


class Says(Child):
    """A child that says one thing."""

    def __init__(self, words: dict[str, Any]) -> None:
        self._words = words

    def ask(self, words: Any, blob: bytes = b"", *, within_s: float) -> Answer:
        return Answer(self._words, b"")

    def end(self) -> None:
        """It is no process."""


class Lacking(BytesIO):
    """A file that cannot be read, once there is an `error`."""

    error: Exception | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        if self.error is not None:
            raise self.error
        return super().read(size)


@pytest.mark.parametrize("error", [PermissionError(1, "refused"), ImportError("no module")], ids=["call", "module"])
@pytest.mark.parametrize("lacks_late", [False, True], ids=["at once", "later"])
def test_a_reader_that_lacks_something_is_a_fault_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, lacks_late: bool
) -> None:
    path = a_file(tmp_path, pa.table({"n": range(5000)}))
    file = Lacking(path.read_bytes())
    reading = parquet_child.Reading(file, max_bytes=2**30, max_record_bytes=2**16, skip=0)
    if lacks_late:
        assert "unable" not in reading.answered()[0]
    file.error = error
    words, _ = reading.answered()
    monkeypatch.setattr(parquet, "Child", lambda *_, **__: Says(words))
    with capture_logs() as logged, pytest.raises(Unavailable):
        parquet.opened(path, **BOUNDS)
    assert [entry["event"] for entry in logged] == ["decoder_unable"]


@pytest.mark.parametrize("zone", ["Mars/Phobos", "Europe/Nowhere"])
def test_a_time_zone_that_nobody_knows_is_a_fault_of_the_file(tmp_path: Path, zone: str) -> None:
    """Though a child that looks for it in the places of zones is refused a call."""
    path = a_file(tmp_path, pa.table({"at": pa.array([0], pa.timestamp("us", zone))}))
    with pytest.raises(InvalidField) as refused:
        list(parquet.opened(path, **BOUNDS)[1])
    assert (refused.value.param, refused.value.code) == ("at", "unsupported_column")

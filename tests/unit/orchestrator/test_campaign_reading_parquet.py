"""A campaign's input in Parquet."""

from __future__ import annotations

import datetime as dt
import gzip
import tracemalloc
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.campaigns.reading import parquet, parquet_file
from orchestrator.campaigns.reading.formats import Format
from orchestrator.domain.errors import Unsupported
from tests.support.campaign_input import MiB, bodies, file_error, read, variables_of


@pytest.fixture(autouse=True)
def _read_here(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """In this process: what a child makes of the same reader is in tests/security/test_parquet.py."""

    def opened(path: Path, **bounds: int) -> Any:
        names, batches = parquet_file.opened(path, **bounds)
        return names, chain.from_iterable(batches)

    if "without_pyarrow" not in request.node.name:
        monkeypatch.setattr(parquet, "opened", opened)


def _parquet(tmp_path: Path, table: pa.Table, **kwargs: Any) -> bytes:
    path = tmp_path / "in.parquet"
    pq.write_table(table, path, **kwargs)
    return path.read_bytes()


def test_parquet_columns_of_every_flat_type_are_read(tmp_path: Path) -> None:
    zone = dt.timezone(dt.timedelta(hours=2))
    columns: dict[str, Any] = {
        "product": pa.array(["mug", "cup", None]).dictionary_encode(),
        "price": pa.array([Decimal("1.50"), Decimal("1000"), None], pa.decimal128(10, 2)),
        "day": pa.array([dt.date(2026, 11, 29), None, None]),
        "at": pa.array([dt.datetime(2026, 1, 2, 3, 4, 5), None, None], pa.timestamp("ns")),
        "zoned": pa.array([dt.datetime(2026, 1, 2, tzinfo=zone), None, None], pa.timestamp("ms", "UTC")),
        "time": pa.array([dt.time(1, 2, 3), None, None], pa.time64("ns")),
        "small": pa.array([0.1, None, float("nan")], pa.float32()),
        "large": pa.array([2.5, float("nan"), None]),
        "count": pa.array([1, 2, 3], pa.int8()),
        "yes": pa.array([True, False, None]),
        "nothing": pa.nulls(3),
        "long": pa.array(["x", "y", "z"], pa.large_string()),
        "fps": pa.array([16, None, 8]),
        "seed": pa.array([7.0, None, None]),
        "codes": pa.array([5, 6, None]).dictionary_encode(),
    }
    rows, bad = read(_parquet(tmp_path, pa.table(columns)), spool=tmp_path / "spool")
    assert [(row.line, row.custom_id) for row in rows] == [(1, "row-1"), (2, "row-2")]
    assert [(row.line, row.field, row.code) for row in bad] == [(3, "product", "missing")]
    assert bodies(rows) == [
        {"vars": {"product": "mug", "price": "1.50", "day": "2026-11-29", "at": "2026-01-02T03:04:05",
                  "zoned": "2026-01-01T22:00:00+00:00", "time": "01:02:03", "small": "0.1", "large": "2.5",
                  "count": "1", "yes": "true", "long": "x", "codes": "5"},
         "params": {"fps": 16, "seed": 7}},
        {"vars": {"product": "cup", "price": "1000.00", "count": "2", "yes": "false", "long": "y", "codes": "6"},
         "params": {}},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("column", "code"),
    [
        (pa.array([{"a": 1}]), "nested_column"),
        (pa.array([[1]]), "nested_column"),
        (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), "nested_column"),
        (pa.array([b"x"]), "unsupported_column"),
        (pa.array([1], pa.duration("s")), "unsupported_column"),
    ],
)
def test_a_parquet_column_that_is_nested_or_binary_is_named(tmp_path: Path, column: Any, code: str) -> None:
    data = _parquet(tmp_path, pa.table({"product": ["mug"], "odd": column}))
    error = file_error(data, spool=tmp_path / "spool")
    assert (error.param, error.code) == ("odd", code)


def test_parquet_without_rows_or_columns_is_an_empty_file(tmp_path: Path) -> None:
    for table in (pa.table({"product": pa.array([], pa.string())}), pa.table({})):
        assert file_error(_parquet(tmp_path, table), spool=tmp_path / "spool").code == "empty_file"


def test_parquet_headers_are_held_to_the_same_rules(tmp_path: Path) -> None:
    data = _parquet(tmp_path, pa.table({"product": ["m"], "secnds": [6]}))
    assert file_error(data, spool=tmp_path / "spool").code == "misspelt_column"
    doubled = pa.Table.from_arrays([pa.array(["m"]), pa.array(["m"])], names=["product", "product"])
    assert file_error(_parquet(tmp_path, doubled), spool=tmp_path / "spool").code == "duplicate_column"


def test_damaged_parquet_is_a_broken_file(tmp_path: Path) -> None:
    data = _parquet(tmp_path, pa.table({"product": ["m" * 50] * 500}), compression="none", use_dictionary=False)
    for broken in (data[:-5], data[:100], b"PAR1", data[:4] + bytes(40) + data[44:]):
        assert file_error(broken, spool=tmp_path / "spool").code == "broken_parquet"


def test_parquet_is_bounded_by_what_it_unpacks_to(tmp_path: Path) -> None:
    data = _parquet(tmp_path, pa.table({"product": [str(n) * 1000 for n in range(1000)]}), compression="zstd")
    assert len(data) < 500_000
    assert file_error(data, spool=tmp_path / "spool", max_bytes=500_000).code == "too_large"


def test_texts_of_parquet_that_are_no_utf_8_or_too_long_spoil_their_row_alone(tmp_path: Path) -> None:
    texts = pa.array([b"mug", b"\xff", b"x" * 5000, b"cup"]).view(pa.string())
    infinite = pa.array([1.0, 1.0, 1.0, float("inf")])
    data = _parquet(tmp_path, pa.table({"product": texts, "x": infinite}))
    rows, bad = read(data, spool=tmp_path / "spool", max_record_bytes=1000)
    assert [row.line for row in rows] == [1]
    assert [(row.line, row.code) for row in bad] == [(2, "not_utf8"), (3, "too_long"), (4, "invalid_value")]


def test_one_long_text_in_many_rows_of_parquet_is_held_once(tmp_path: Path) -> None:
    same = pa.DictionaryArray.from_arrays(pa.array([0] * 3000, pa.int32()), ["x" * (2 * MiB)])
    data = _parquet(tmp_path, pa.table({"product": same}))
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        _, bad = read(data, spool=tmp_path / "spool")
        assert tracemalloc.get_traced_memory()[1] < 16 * MiB
    finally:
        tracemalloc.stop()
    assert pa.total_allocated_bytes() - before < 16 * MiB
    assert len(bad) == 3000


def test_parquet_resumes_in_any_group_and_gives_the_same_rows(tmp_path: Path) -> None:
    data = _parquet(tmp_path, pa.table({"product": [str(n) for n in range(2500)]}), row_group_size=1100)
    whole, _ = read(data, spool=tmp_path / "spool")
    assert [row.line for row in whole] == list(range(1, 2501))
    for skip in (1, 999, 1000, 1099, 1100, 1101, 2200, 2499, 2500, 9999):
        rows, _ = read(data, spool=tmp_path / "spool", skip=skip)
        assert rows == whole[skip:]


def test_packed_parquet_is_read_too(tmp_path: Path) -> None:
    data = gzip.compress(_parquet(tmp_path, pa.table({"product": ["mug"]})))
    assert variables_of(data, spool=tmp_path / "spool") == [{"product": "mug"}]


def test_a_deployment_without_pyarrow_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = _parquet(tmp_path, pa.table({"product": ["mug"]}))
    monkeypatch.setattr(parquet.importlib.util, "find_spec", lambda name: None)
    error = file_error(data, spool=tmp_path / "spool")
    assert isinstance(error, Unsupported)
    assert "cogmill[parquet]" in error.message


def test_parquet_that_is_called_something_else_is_told_apart(tmp_path: Path) -> None:
    data = _parquet(tmp_path, pa.table({"product": ["mug"]}))
    assert file_error(data, form=Format.CSV).code == "unknown_format"
    assert file_error(b"product\nmug\n", form=Format.PARQUET, spool=tmp_path / "spool").code == "broken_parquet"


def test_only_the_picture_of_a_record_of_parquet_may_be_larger_than_a_record(tmp_path: Path) -> None:
    picture = "data:image/png;base64," + "A" * MiB
    columns = {
        "product": ["m", "ü" * 300, "m", "m"],
        "city": ["x", "x", "ü" * 600, "x"],
        "image": [picture, None, picture, picture + "A" * MiB],
    }
    data = _parquet(tmp_path, pa.table(columns))
    for bound, good in ((1000, [1, 2]), (500, [1])):
        rows, bad = read(data, spool=tmp_path / "spool", max_record_bytes=bound, max_picture_bytes=MiB + 5000)
        assert [row.line for row in rows] == good
        fields = [(2, "product"), (3, "city"), (4, None)]
        assert [(row.line, row.field) for row in bad] == [found for found in fields if found[0] not in good]
        assert {row.code for row in bad} == {"too_long"}

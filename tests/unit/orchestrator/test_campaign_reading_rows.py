"""Single rows of a campaign's input: pictures, manifests, and every way to be bad that stops no other row."""

from __future__ import annotations

import base64
import json
import tracemalloc
from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.campaigns.reading.formats import Format
from orchestrator.domain.campaign_rows import BadRow
from orchestrator.domain.errors import StoreUnavailable, Unsupported
from tests.support.campaign_input import FILE, MiB, bad_rows, bodies, cut, read, reader_of

PICTURE = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(200)).decode()


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("https://example.org/a.png", {"image_url": "https://example.org/a.png"}),
        (FILE, {"file_id": FILE}),
        ("s3://shop/a/b.png", {"key": "s3://shop/a/b.png"}),
        (f"data:image/png;base64,{PICTURE}", {"image_url": f"data:image/png;base64,{PICTURE}"}),
        (PICTURE, {"image_url": f"data:;base64,{PICTURE}"}),
        ({"file_id": FILE}, {"file_id": FILE}),
        (json.dumps({"image_url": "http://a/b"}), {"image_url": "http://a/b"}),
        ({"image_url": {"url": "http://a/b"}, "file_id": None}, {"image_url": "http://a/b"}),
    ],
)
def test_a_picture_is_where_its_cell_says(said: object, meant: object) -> None:
    rows, bad = read(json.dumps({"product": "m", "image": said}).encode())
    assert bad == []
    assert rows[0].image
    assert bodies(rows)[0]["image"] == meant


@pytest.mark.parametrize(
    "said",
    ["mug.png", "ftp://a/b", "s3://", "s3://bucket", "file-1", "{", '{"a":1}', {}, {"file_id": 1}, [1], 7, True,
     {"image_url": FILE}, "javascript:alert(1)", "data:text/html;base64,AAAA", "http://" + "a" * 3000],
)  # fmt: skip
def test_a_cell_that_is_no_picture_is_a_bad_row(said: object) -> None:
    rows, bad = read(json.dumps({"product": "m", "image": said}).encode() + b'\n{"product":"x"}')
    assert (len(rows), [(row.line, row.field) for row in bad]) == (1, [(1, "image")])


def test_a_picture_within_the_row_is_not_multiplied_without_bounds() -> None:
    line = json.dumps({"product": "m", "image": "data:image/png;base64," + "A" * MiB}).encode()
    rows, bad = read(line, variants=100, max_record_bytes=2 * MiB)
    assert (rows, [row.code for row in bad]) == ([], ["too_large"])


def test_a_row_with_too_few_or_too_many_cells_is_bad() -> None:
    assert bad_rows(b"product,city\nmug\nmug,Rome,x\nmug,Rome\n", 1) == [
        (2, None, "ragged_row"),
        (3, None, "ragged_row"),
    ]


def test_the_second_row_of_one_name_is_bad() -> None:
    rows, bad = read(b"custom_id,product\na,mug\na,cup\nrow-5,x\n,y\n")
    assert [row.custom_id for row in rows] == ["a", "row-5"]
    assert [(row.line, row.custom_id, row.field, row.code) for row in bad] == [
        (3, "a", "custom_id", "duplicate_custom_id"), (5, "row-5", "custom_id", "duplicate_custom_id"),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["  ", "x" * 513, "a\x07b"])
def test_a_name_that_is_none_is_bad(name: str) -> None:
    assert bad_rows(json.dumps({"custom_id": name, "product": "m"}).encode(), 0)[0][1] == "custom_id"


def test_a_variable_without_a_value_is_bad() -> None:
    assert bad_rows(b"product,city\n,Rome\nmug,Rome\n", 1) == [(2, "product", "missing")]
    assert bad_rows(b'{"city":"Rome"}\n{"product":null}\n{"product":"m"}', 1) == [
        (1, "product", "missing"), (2, "product", "missing"),
    ]  # fmt: skip


def test_a_line_of_json_with_a_misspelt_field_is_bad_and_stops_no_other() -> None:
    assert bad_rows(b'{"product":"m","secnds":6}\n{"product":"m","n":2}\n{"product":"m"}', 1) == [
        (1, "secnds", "misspelt_column"), (2, "n", "forbidden_column"),
    ]  # fmt: skip


def test_a_bad_row_is_called_by_the_name_that_it_has() -> None:
    _, bad = read(b'{"product":"m","secnds":6,"custom_id":"x"}')
    assert bad[0].custom_id == "x"


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b'"x"', b"{} {}", b'{"a":NaN}', b'{"a":1e999}', b'{"a":' + b"1" * 200 + b"}",
             b'{"a":' * 100 + b"1" + b"}" * 100, b'{"product":"\x00"}', b"\xff"],
)  # fmt: skip
def test_a_line_that_is_no_json_object_is_bad(line: bytes) -> None:
    found = bad_rows(b'{"product":"m"}\n' + line + b'\n{"product":"m"}', 2, form=Format.JSONL)
    assert [(number, field) for number, field, _ in found] == [(2, None)]


@pytest.mark.parametrize("value", ["[1]", '{"a":1}', "[]"])
@pytest.mark.parametrize("name", ["product", "other", "seconds", "custom_id"])
def test_lists_and_objects_are_no_values(name: str, value: str) -> None:
    line = json.dumps({"product": "m"} | {name: json.loads(value)}).encode()
    assert [found[:2] for found in bad_rows(line, 0)] == [(1, name)]


@pytest.mark.parametrize("seed", ["-1", "1.5", "x", "9223372036854775808", "true", "1e5", "1_0"])
def test_a_seed_is_an_integer_of_63_bits(seed: str) -> None:
    data = f"product,seed\nm,{seed}\nm,9223372036854775807\nm,7.0\n".encode()
    assert bad_rows(data, 2) == [(2, "seed", "invalid_value")]
    assert bad_rows(b'{"product":"m","seed":true}\n{"product":"m","seed":1.5}\n{"product":"m","seed":7.0}', 1) == [
        (1, "seed", "invalid_value"), (2, "seed", "invalid_value"),
    ]  # fmt: skip


def test_nul_bytes_spoil_their_row_alone() -> None:
    data = b"product,other\nmug,a\x00b\nm\x00ug,x\ncup,x\n"
    assert bad_rows(data, 1) == [(2, "other", "invalid_value"), (3, "product", "invalid_value")]
    assert bad_rows(b'{"product":"a\\u0000b"}\n{"product":"m","seconds":"\\u0000"}\n{"product":"m"}', 1) == [
        (1, "product", "invalid_value"), (2, "seconds", "invalid_value"),
    ]  # fmt: skip


def test_half_a_surrogate_pair_spoils_its_row_alone() -> None:
    assert bad_rows(b'{"product":"m","x":"\\ud800"}\n{"product":"\\ud83d\\ude00"}', 1) == [(1, "x", "invalid_value")]
    assert bad_rows(b'{"product":"m","metadata":{"a":"\\ud800"}}', 0) == [(1, "metadata", "invalid_value")]


def test_bytes_that_are_no_utf_8_spoil_their_row_alone() -> None:
    data = b'product,city\nmug,R\xf6m\n"a\nb","\xff"\ncup,Ulm\n'
    assert bad_rows(data, 1) == [(2, None, "not_utf8"), (3, None, "not_utf8")]
    assert bad_rows(b'{"product":"\xf6"}\n{"product":"m"}', 1) == [(1, None, "not_utf8")]


@pytest.mark.parametrize("size", [1000, 65_536, 30 * MiB])
def test_a_cell_of_ten_megabytes_is_a_bad_row_and_never_held(size: int) -> None:
    huge = b"x" * (10 * MiB)
    tables = (
        b"product,city\nmug,a\n" + huge + b",b\ncup,c\n",
        b'product,city\nmug,a\n"' + huge + b'\n\n,""x",b\ncup,c\n',
        b'product,city\nmug,a\n"x\n' + huge + b'","b\n"\ncup,c\n',
        b'{"product":"m"}\n{"product":"' + huge + b'"}\n{"product":"x"}\n',
    )
    for data, lines in zip(tables, ([2, 4], [2, 6], [2, 6], [1, 3]), strict=True):
        chunks = [data] if size > len(data) else list(cut(data, size))
        tracemalloc.start()
        try:
            rows, bad = read(chunks, max_record_bytes=MiB)
            assert tracemalloc.get_traced_memory()[1] < 8 * MiB
        finally:
            tracemalloc.stop()
        assert [row.line for row in rows] == lines
        assert [(row.line, row.code) for row in bad] == [(lines[0] + 1, "too_long")]


def test_quotes_that_are_not_whole_are_a_bad_row() -> None:
    assert bad_rows(b'product,city\n"big" mug,Rome\ncup,Ulm\n', 1) == [(2, None, "invalid_quotes")]
    rows, bad = read(b'product\nmug\n"cup\nx\ny\n')
    assert (len(rows), [(row.line, row.code) for row in bad]) == (1, [(3, "invalid_quotes")])
    assert "up to line 5" in bad[0].reason


def test_what_a_check_says_is_the_rows_reason() -> None:
    def check(params: Mapping[str, Any]) -> None:
        if params["prompt"] == "a bomb":
            raise Unsupported("not this\x00", param="prompt")

    rows, bad = read(b"product,custom_id\nbomb,x\nmug,y\n", check=check)
    assert [row.custom_id for row in rows] == ["y"]
    assert bad == [BadRow(2, "x", "prompt", "unsupported_value", "not this\ufffd")]


def test_what_nobody_foresaw_is_put_aside_and_stops_no_other() -> None:
    def check(params: Mapping[str, Any]) -> None:
        if params["prompt"] == "a bomb":
            raise ZeroDivisionError

    assert bad_rows(b"product\nbomb\nmug\n", 1, check=check) == [(2, None, "internal_error")]


def test_a_part_that_does_not_answer_is_no_rows_fault() -> None:
    def check(params: Mapping[str, Any]) -> None:
        raise StoreUnavailable

    with pytest.raises(StoreUnavailable):
        read(b"product\nmug\n", check=check)


def test_names_without_end_cost_no_memory_and_little_time() -> None:
    lines = [json.dumps({"product": "m"} | {f"n{row}x{at}": 1 for at in range(50)}).encode() for row in range(150)]
    rows, bad = read(b"\n".join(lines))
    assert (len(rows), bad) == (150, [])


def test_a_manifest_renders_the_same_again() -> None:
    lines = [
        {"object": "campaign.manifest", "campaign": "campaign_1", "revision": 3},
        {"custom_id": "a", "row": 0, "prompt": "a {mug}", "seed": 7, "model": "cogvideox-2b", "profile": "exact",
         "params": {"seconds": 6, "seed": 1}, "key": "k", "sha256": "s", "gpu_seconds": 3.5, "error": None},
        {"custom_id": "b", "prompt": "b", "negative_prompt": "c", "seed": 8, "image": {"file_id": FILE}},
        {"custom_id": "c", "prompt": "b", "params": {"priority": 1}},
        {"custom_id": "d", "prompt": "b", "params": 5},
    ]  # fmt: skip
    data = "\n".join(map(json.dumps, lines)).encode()
    for form in (None, Format.MANIFEST):
        rows, bad = read(data, "unused {template}", form=form)
        assert [(row.line, row.custom_id, row.image) for row in rows] == [(2, "a", False), (3, "b", True)]
        first = {"prompt": "a {mug}", "model": "cogvideox-2b", "profile": "exact", "seconds": 6, "seed": 7}
        second = {"prompt": "b", "negative_prompt": "c", "seed": 8}
        assert [body["params"] for body in bodies(rows)] == [first, second]
        assert [(row.line, row.field) for row in bad] == [(4, "priority"), (5, None)]
    assert [row.line for row in read(data, None, skip=1)[0]] == [3]


def test_each_row_has_its_own_price_whatever_became_of_those_before() -> None:
    lines = [
        {"custom_id": "large", "product": "l", "image": "data:image/png;base64," + "A" * MiB},
        {"custom_id": "dear", "product": "d", "fps": 16},
        {"custom_id": "dear", "product": "d", "fps": 16},
        {"custom_id": "cheap", "product": "c", "fps": 8},
    ]

    def price(wish: Mapping[str, Any]) -> Any:
        return wish.get("fps")

    reader = reader_of("\n".join(map(json.dumps, lines)).encode(), check=price, variants=80, max_record_bytes=2 * MiB)
    taken = reader.take(100)
    assert [(row.custom_id, row.code) for row in taken.bad] == [
        ("large", "too_large"), ("dear", "duplicate_custom_id"),
    ]  # fmt: skip
    priced = {(row.line, price) for row, price in zip(taken.rows, taken.prices, strict=True)}
    assert (len(taken.rows), priced) == (160, {(2, 16), (4, 8)})


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("large", ["city", "user", "image_reference"])
def test_only_the_picture_of_a_row_may_be_larger_than_a_row(form: str, large: str) -> None:
    picture = "data:image/png;base64," + "A" * (3 * MiB)
    rows = [
        {"product": "m", "city": "x", "user": "u", "image_reference": picture},
        {"product": "m", "city": "x", "user": "u", "image_reference": picture} | {large: "ü" * (MiB // 2) + "xx"},
        {"product": "m", "city": "x", "user": "u", "image_reference": picture + "A" * (2 * MiB)},
        {"product": "m", "city": "é" * (MiB // 2 - 2), "user": "u", "image_reference": ""},
    ]
    if form == "csv":
        lines = [",".join(rows[0]), *(",".join(f'"{value}"' for value in row.values()) for row in rows)]
    else:
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    found, bad = read("\n".join(lines).encode(), max_record_bytes=MiB, max_picture_bytes=3 * MiB + 10_000)
    first = 1 + (form == "csv")
    code = "invalid_value" if large == "image_reference" else "too_long"
    assert [row.line for row in found] == [first, first + 3]
    assert [(row.line, row.field, row.code) for row in bad] == [
        (first + 1, large, code), (first + 2, None, "too_long"),
    ]  # fmt: skip


def test_a_number_of_a_million_digits_is_as_large_as_it_is_written() -> None:
    line = b'{"product":"m","weight":0.' + b"1" * MiB + b"}"
    assert bad_rows(line, 0, max_record_bytes=MiB // 2, max_picture_bytes=MiB) == [(1, "weight", "too_long")]

"""A campaign's input: formats and packings, files that are wrong as a whole, bounds, and going on where it stopped."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.openai.schemas import CreateVideo
from api.wire.bodies import typed
from orchestrator.campaigns.reading.formats import Format
from orchestrator.campaigns.reading.rows import RowReader
from orchestrator.campaigns.reading.unpack import STEP, unpack
from orchestrator.domain.campaign_rows import BadRow, NewRow
from orchestrator.domain.errors import InvalidField, RequestError
from tests.support.campaign_input import FILE, MiB, bodies, cut, file_error, read, reader_of, variables_of


def test_a_row_of_csv_has_its_variables_its_parameters_and_its_name() -> None:
    rows, bad = read(b"custom_id,product,seconds,seed,model\nm-1,mug,6,7,cogvideox-2b\nm-2,cup,,,\n")
    assert bad == []
    assert [(row.line, row.custom_id, row.image) for row in rows] == [(2, "m-1", False), (3, "m-2", False)]
    assert bodies(rows) == [
        {"vars": {"product": "mug"}, "params": {"seconds": "6", "model": "cogvideox-2b", "seed": 7}},
        {"vars": {"product": "cup"}, "params": {}},
    ]


def test_a_row_without_a_name_is_called_by_its_line() -> None:
    rows, _ = read(b"product\nmug\n\n\ncup\n")
    assert [(row.line, row.custom_id) for row in rows] == [(2, "row-2"), (5, "row-5")]


def test_each_row_is_tried_as_the_request_that_it_will_be() -> None:
    seen: list[dict[str, Any]] = []
    data = b"product,bad,fps,image\nmug,blur,16," + FILE.encode() + b"\n"
    read(data, "a {product}", negative="no {bad}", check=lambda params: seen.append(dict(params)))
    assert seen == [
        {"fps": "16", "prompt": "a mug", "negative_prompt": "no blur", "input_reference": {"file_id": FILE}}
    ]


def test_what_csv_says_is_what_the_dialect_reads() -> None:
    """Texts stay texts: its model reads numbers and booleans from them."""
    seen: list[CreateVideo] = []
    rows, bad = read(
        b"product,seconds,size,num_inference_steps,guidance_scale,watermark,seed,adapter,metadata\n"
        b'mug,6,720x480,30,6.5,true,9,0815,"{""a"":""b""}"\nmug,x,,,,,,,\n',
        check=lambda params: seen.append(typed(CreateVideo, params)),
    )
    assert len(rows) == 1
    assert [(row.line, row.field, row.code) for row in bad] == [(3, "seconds", "invalid_value")]
    (fields,) = seen
    assert (fields.seconds, fields.size, fields.num_inference_steps) == (6, (720, 480), 30)
    assert (fields.guidance_scale, fields.watermark, fields.seed, fields.adapter) == (6.5, True, 9, "0815")
    assert fields.metadata == {"a": "b"}


def test_excel_writes_semicolons_a_mark_crlf_and_empty_rows_at_the_end() -> None:
    data = (
        '\ufeffcustom_id;product;Stadt\r\n1;"Tasse; rot";Köln\r\n2;"Zwei\r\nZeilen";Bonn\r\n3;Glas;Ulm\r\n;;\r\n;;\r\n'
    )
    rows, bad = read(data.encode(), "{product} in {Stadt}")
    assert bad == []
    assert [(row.line, row.custom_id) for row in rows] == [(2, "1"), (3, "2"), (5, "3")]
    assert [body["vars"]["product"] for body in bodies(rows)] == ["Tasse; rot", "Zwei\r\nZeilen", "Glas"]


def test_excels_own_hint_at_the_delimiter_is_no_header() -> None:
    assert variables_of(b"sep=;\r\nproduct;b,c\r\nmug;1\r\n") == [{"product": "mug", "b,c": "1"}]


def test_tabs_divide_where_the_header_has_no_comma() -> None:
    assert variables_of(b"product\tcity\nmug, red\tRome\n") == [{"product": "mug, red", "city": "Rome"}]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_every_line_end_ends_a_line(end: str, size: int) -> None:
    for text in (["product", "mug", "", '"a', 'b"', "cup"], ['{"product":"mug"}', "", '{"product":"cup"}']):
        rows, bad = read(cut(end.join(text).encode(), size))
        assert bad == []
        assert [row.line for row in rows] == ([2, 4, 6] if len(text) == 6 else [1, 3])


def test_a_line_end_within_quotes_is_part_of_the_cell() -> None:
    rows, bad = read(b'product,city\n"red\nmug","Ro\n\nme"\ncup,Ulm\n')
    assert bad == []
    assert [row.line for row in rows] == [2, 6]
    assert bodies(rows)[0]["vars"] == {"product": "red\nmug", "city": "Ro\n\nme"}


def test_numbers_and_truths_of_json_become_the_texts_that_they_were_written_as() -> None:
    line = b'{"product": 1.0, "b": 1.50, "c": 7, "d": true, "e": null, "f": "", "g": 1e3, "h": false}\n'
    assert variables_of(line) == [{"product": "1.0", "b": "1.50", "c": "7", "d": "true", "g": "1e3", "h": "false"}]


def test_parameters_of_json_keep_their_types() -> None:
    rows, bad = read(b'{"product":"m","seconds":6.5,"fps":16,"watermark":true,"metadata":{"a":"b"},"seed":"5"}')
    assert bad == []
    assert bodies(rows)[0]["params"] == {
        "seconds": 6.5, "fps": 16, "watermark": True, "metadata": {"a": "b"}, "seed": 5,
    }  # fmt: skip


@pytest.mark.parametrize("form", [None, Format.CSV])
def test_gzip_is_told_by_its_beginning_and_may_have_several_members(form: Format | None) -> None:
    data = gzip.compress(b"product\nmug\n") + gzip.compress(b"") + gzip.compress(b"cup\n") + bytes(600)
    for size in (1, 7, 10_000):
        rows, _ = read(cut(data, size), form=form)
        assert [body["vars"]["product"] for body in bodies(rows)] == ["mug", "cup"]


def test_a_column_prompt_stands_for_a_template_that_is_not_there() -> None:
    rows, bad = read(b"prompt,city\na {mug},Rome\n", None)
    assert bad == []
    assert bodies(rows) == [{"vars": {"city": "Rome"}, "params": {"prompt": "a {mug}"}}]


def test_a_column_prompt_fills_a_template_that_is_nothing_else() -> None:
    assert variables_of(b"prompt\na mug\n", "{prompt}") == [{"prompt": "a mug"}]


def test_variants_are_rows_of_their_own() -> None:
    rows, bad = read(b"custom_id,product,fps\nm,mug,16\n", seeds=(5, 9))
    assert bad == []
    assert [(row.custom_id, row.line) for row in rows] == [("m-1", 2), ("m-2", 2)]
    assert [body["params"] for body in bodies(rows)] == [{"fps": "16", "seed": 5}, {"fps": "16", "seed": 9}]
    rows, _ = read(b"product\nmug\n", variants=3)
    assert [(row.custom_id, body["variant"]) for row, body in zip(rows, bodies(rows), strict=True)] == [
        ("row-2-1", 1), ("row-2-2", 2), ("row-2-3", 3),
    ]  # fmt: skip


def test_one_seed_for_all_gives_way_to_a_rows_own() -> None:
    rows, _ = read(b"product,seed\nmug,\ncup,3\n", seeds=(5,))
    assert [(row.custom_id, body["params"]) for row, body in zip(rows, bodies(rows), strict=True)] == [
        ("row-2", {"seed": 5}), ("row-3", {"seed": 3}),
    ]  # fmt: skip


def test_a_seed_beside_variants_is_refused() -> None:
    assert file_error(b"product,seed\nmug,1\n", variants=2).param == "seed"
    rows, bad = read(b'{"product":"m","seed":1}\n{"product":"m"}', variants=2)
    assert (len(rows), [(row.line, row.field) for row in bad]) == (2, [(1, "seed")])


def test_a_piece_ends_where_it_would_hold_too_much() -> None:
    reader = reader_of(b"product\n" + b"".join(b"x" * 1000 + b"\n" for _ in range(50)))
    taken = reader.take(50, chars=5000)
    assert taken.records == len(taken.rows) == 5


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf", b"  \r\n ", gzip.compress(b"", mtime=0)])
@pytest.mark.parametrize("form", [None, Format.CSV, Format.JSONL, Format.MANIFEST])
def test_an_empty_file_says_so(data: bytes, form: Format | None) -> None:
    assert file_error(data, form=form).code == "empty_file"


@pytest.mark.parametrize("data", [b"product\n", b"product", b"sep=,\nproduct\n\n,\n"])
def test_a_header_alone_is_an_empty_file(data: bytes) -> None:
    assert file_error(data).code == "empty_file"


def test_the_header_of_a_manifest_alone_is_an_empty_file() -> None:
    assert file_error(b'{"object":"campaign.manifest"}\n', None).code == "empty_file"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
@pytest.mark.parametrize("text", ["product\nmug\n", '{"product":"mug"}\n'])
def test_utf_16_and_utf_32_are_refused_by_name(encoding: str, text: str) -> None:
    error = file_error(text.encode(encoding))
    assert (error.param, error.code) == ("input", "not_utf8")
    assert "must be UTF-8" in error.message


def test_a_header_in_another_encoding_is_refused() -> None:
    assert file_error("größe,product\n1,mug\n".encode("latin-1")).code == "not_utf8"


@pytest.mark.parametrize(
    ("data", "word"), [(b"PK\x03\x04\x14\x00", "spreadsheet"), (b'[{"product":"mug"}]', "JSON list")]
)
def test_what_is_none_of_the_formats_is_told_what_it_is(data: bytes, word: str) -> None:
    error = file_error(data)
    assert error.code == "unknown_format"
    assert word in error.message


@pytest.mark.parametrize(
    ("header", "code", "param"),
    [
        ("product,secnds", "misspelt_column", "secnds"),
        ("product,Seconds", "misspelt_column", "Seconds"),
        ("product,negative prompt", "misspelt_column", "negative prompt"),
        ("product,custom-id", "misspelt_column", "custom-id"),
        ("product,modle", "misspelt_column", "modle"),
        ("product,product", "duplicate_column", "product"),
        ("product, product ", "duplicate_column", "product"),
        ("product,caf\u00e9,cafe\u0301", "duplicate_column", "caf\u00e9"),
        ("product,", "empty_column", "input"),
        ("city", "missing_column", "product"),
        ("Product", "missing_column", "product"),
        ("product,prompt", "forbidden_column", "prompt"),
        ("product,priority", "forbidden_column", "priority"),
        ("product,webhook_url", "forbidden_column", "webhook_url"),
        ("product,run_at", "forbidden_column", "run_at"),
        ("product,deadline", "forbidden_column", "deadline"),
        ("product,idempotency_key", "forbidden_column", "idempotency_key"),
        ("product,extra_body", "forbidden_column", "extra_body"),
        ("product,extra_params", "forbidden_column", "extra_params"),
        ("product,n", "forbidden_column", "n"),
        ("product,image,input_reference", "duplicate_column", "input_reference"),
        ("product," + ",".join(f"c{n}" for n in range(300)), "too_many_columns", "input"),
        ("product," + "x" * 200, "too_long", "the name of column 2"),
    ],
)
def test_a_header_that_cannot_be_meant_stops_the_file(header: str, code: str, param: str) -> None:
    error = file_error(f"{header}\nmug\n".encode())
    assert (error.code, error.param) == (code, param)


def test_a_misspelt_column_is_told_what_it_looks_like() -> None:
    assert 'looks like a misspelt "seconds"' in file_error(b"product,secnds\nmug,6\n").message
    assert 'is it "Product"?' in file_error(b"Product\nmug\n").message


def test_a_column_of_the_template_may_be_close_to_a_parameter() -> None:
    assert variables_of(b"modle,weight\nmug,5\n", "a {modle}") == [{"modle": "mug", "weight": "5"}]


@pytest.mark.parametrize("template", ["a {model}", "{seed}", "{custom_id}", "{image}", "x {prompt}"])
def test_a_variable_that_is_a_parameter_too_is_refused(template: str) -> None:
    error = file_error(b"model,seed\nmug,1\n", template)
    assert (error.param, error.code) == ("prompt", "invalid_template")


def test_a_gzip_file_that_is_cut_off_stops_there() -> None:
    packed = gzip.compress(b"product\n" + b"mug\n" * 1000)
    for end in (2, 9, 20, len(packed) - 1):
        error = file_error(packed[:end])
        assert (error.param, error.code) == ("input", "broken_gzip")


def test_a_damaged_gzip_file_is_no_shorter_file() -> None:
    packed = bytearray(gzip.compress(b"product\n" + b"mug\n" * 1000))
    packed[-6] ^= 1  # its checksum
    reader_error = file_error(bytes(packed))
    assert reader_error.code == "broken_gzip"
    assert file_error(gzip.compress(b"product\nmug\n") + b"rest").code == "broken_gzip"


def test_a_file_that_broke_stays_broken() -> None:
    packed = gzip.compress(bytes(f"product\n{'mug' * 100_000}\nx", "ascii"))[:-1]
    reader = reader_of(packed)
    for _ in range(3):
        with pytest.raises(InvalidField, match="cut off"):
            reader.take(100)


def test_a_gzip_bomb_is_stopped_at_its_bound_and_never_held() -> None:
    packer = gzip.compress(b"product\n" + b"a" * (50 * MiB), compresslevel=9)
    assert len(packer) < MiB
    sizes: list[int] = []
    tracemalloc.start()
    try:
        pieces = unpack(cut(packer, 65_536), max_bytes=40 * MiB)
        with pytest.raises(InvalidField, match="more than"):
            sizes.extend(len(piece) for piece in pieces)
        assert max(sizes) <= STEP
        assert 39 * MiB < sum(sizes) <= 40 * MiB
        assert file_error(packer, max_bytes=40 * MiB).code == "too_large"
        assert tracemalloc.get_traced_memory()[1] < 12 * MiB
    finally:
        tracemalloc.stop()


def test_plain_bytes_have_the_same_bound() -> None:
    assert file_error(b"product\n" + b"mug\n" * 1000, max_bytes=1000).code == "too_large"


def test_one_huge_chunk_is_handed_on_in_pieces() -> None:
    assert max(len(piece) for piece in unpack(iter([b"x" * (3 * STEP)]), max_bytes=MiB * 9)) == STEP


_CELLS = st.one_of(
    st.sampled_from(["mug", "", "a,b", 'say "hi"', "two\nlines", "cr\rlf\r\n", "Köln", "日本", "\x00", "x" * 200, "7"]),
    st.text(max_size=5),
)
_BYTES = st.one_of(st.sampled_from([b'"', b"\n", b"\r\n", b"\xff", b",,,\n", b"x" * 300, b'x,"\n', b"{", b"}"]))


def _csv(rows: list[tuple[str, str]], end: str) -> bytes:
    quoted = (tuple('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows)
    text = end.join(["custom_id,product", *(",".join(row) for row in quoted)])
    return text.encode("utf-8", "surrogatepass")


def _jsonl(rows: list[tuple[str, str]], end: str) -> bytes:
    return end.join(json.dumps({"custom_id": a, "product": b}) for a, b in rows).encode()


def _outcome(reader: RowReader) -> tuple[list[list[NewRow | BadRow]], str | None]:
    """What each record came to, in order, and the error that ended the file."""
    found: list[list[NewRow | BadRow]] = []
    try:
        while (taken := reader.take(1)).records:
            found.append([*taken.rows, *taken.bad])
    except InvalidField as error:
        return found, error.code
    return found, None


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=st.lists(st.tuples(_CELLS, _CELLS), max_size=8),
    spoilt=st.lists(st.tuples(st.integers(0, 500), _BYTES), max_size=3),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    write=st.sampled_from([_csv, _jsonl]),
    packed=st.booleans(),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    skip=st.integers(0, 12),
)
def test_however_it_is_cut_and_wherever_it_goes_on_the_rows_are_the_same(
    rows: list[tuple[str, str]],
    spoilt: list[tuple[int, bytes]],
    end: str,
    write: Any,
    packed: bool,
    cuts: list[int],
    skip: int,
) -> None:
    data = write(rows, end)
    for at, junk in spoilt:
        data = data[:at] + junk + data[at:]
    form = Format.CSV if write is _csv else Format.JSONL

    def pieces() -> Iterator[bytes]:
        sent, at, turn = (gzip.compress(data) if packed else data), 0, 0
        while at < len(sent):
            size = cuts[turn % len(cuts)]
            yield sent[at : at + size]
            at, turn = at + size, turn + 1

    def outcome(chunks: Iterable[bytes], skip: int) -> tuple[list[list[NewRow | BadRow]], str | None]:
        try:
            reader = reader_of(chunks, form=form, skip=skip, max_record_bytes=256)
        except RequestError as error:
            return [], error.code
        return _outcome(reader)

    whole, ended = outcome([data], 0)
    assert outcome(pieces(), 0) == (whole, ended)
    later, later_ended = outcome(pieces(), skip)
    assert later == whole[skip:]
    assert later_ended == ended
    lines = [found[0].line for found in whole]
    assert lines == sorted(set(lines))
    for row in (row for found in whole for row in found if isinstance(row, NewRow)):
        json.loads(row.body.encode())
        assert "\\u0000" not in row.body.replace("\\\\", "")

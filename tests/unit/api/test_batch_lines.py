"""JSON Lines of requests: whatever is in the file, it is read, or refused by line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.dialects import lines_of
from orchestrator.batches.lines import MAX_ERRORS, LineReader, parse_line, split_lines
from orchestrator.domain.batch import LineError, window_seconds
from orchestrator.domain.errors import RequestError, TooLarge
from tests.support.api import api_settings

ENDPOINT = "/v1/videos"
LINES = lines_of(api_settings("postgresql://nobody@nowhere/none"))

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(
    ["prompt", "model", "seconds", "size", "seed", "input_reference", "image_url", "extra_body", "metadata", "duration"]
)


def reader(data: bytes, *, max_lines: int = 100, max_bytes: int = 10_000, endpoint: str = ENDPOINT) -> LineReader:
    def check(body: Mapping[str, Any], job_id: UUID) -> object:
        return LINES["openai" if endpoint == ENDPOINT else "bigmodel"].request(body, job_id)

    lines = split_lines([data], max_bytes=max_bytes)
    return LineReader(lines=lines, endpoint=endpoint, check=check, max_lines=max_lines)


def request(custom_id: object = "a", **changes: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": {"prompt": "x"}} | changes


@given(st.binary(max_size=200))
def test_any_bytes_are_a_line_or_a_request_error(raw: bytes) -> None:
    with suppress(RequestError):
        assert parse_line(raw, ENDPOINT).custom_id


@given(JSON)
def test_any_json_is_a_line_or_a_request_error(value: object) -> None:
    with suppress(RequestError):
        assert parse_line(json.dumps(value).encode(), ENDPOINT).custom_id


def test_a_line_may_ask_for_all_that_a_request_may() -> None:
    body = {"prompt": "x", "profile": "draft", "adapter": "ink", "adapter_scale": "0.5", "resume": "any"}
    asked = LINES["openai"].request(body, UUID(int=0))
    assert (asked.profile, asked.adapter, asked.adapter_scale, asked.resume_anywhere) == ("draft", "ink", 0.5, True)


@pytest.mark.parametrize("endpoint", [ENDPOINT, "/v4/videos/generations"])
@given(body=st.dictionaries(NAMES | st.text(max_size=8), JSON, max_size=5), custom_id=st.text(max_size=20))
def test_any_body_becomes_an_item_or_an_error_that_the_database_can_hold(
    endpoint: str, body: dict[str, Any], custom_id: str
) -> None:
    raw = json.dumps(request(custom_id, url=endpoint, body=body)).encode()
    reading = reader(raw, endpoint=endpoint)
    items = reading.take(lines=10, size=10_000)
    assert len(items) + len(reading.errors) == 1
    told = [item.body + item.custom_id for item in items] + [f"{e.message}{e.param}" for e in reading.errors]
    assert "\x00" not in told[0]
    told[0].encode()


@given(st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line)), st.integers(1, 20))
def test_lines_are_the_same_however_the_bytes_arrive(lines: list[bytes], size: int) -> None:
    data = b"\n".join(lines)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    read = list(split_lines(pieces, max_bytes=100))
    assert read == list(split_lines([data], max_bytes=100))
    bare = [line.removeprefix(b"\xef\xbb\xbf") if n == 1 else line for n, line in enumerate(lines, 1)]
    assert [(line.number, line.raw) for line in read] == [
        (n, line) for n, line in enumerate(bare, 1) if line and not line.isspace()
    ]
    assert [data[line.at : line.at + len(line.raw)] for line in read] == [line.raw for line in read]


def test_a_line_that_does_not_end_is_refused_before_it_fills_the_memory() -> None:
    read = 0

    def endless() -> Any:
        nonlocal read
        while True:
            read += 1
            yield b"x" * 1000

    with pytest.raises(TooLarge, match="line 1"):
        list(split_lines(endless(), max_bytes=5000))
    assert read == 6


def test_a_byte_order_mark_and_windows_line_ends_are_let_through() -> None:
    data = b"\xef\xbb\xbf" + b"\r\n".join(json.dumps(request(name)).encode() for name in "ab") + b"\r\n"
    reading = reader(data)
    assert [item.custom_id for item in reading.take(lines=10, size=10_000)] == ["a", "b"]
    assert reading.finish() == []


def test_a_deeply_nested_line_is_refused() -> None:
    deep = b'{"custom_id": "a", "method": "POST", "url": "/v1/videos", "body": {"x": ' + b"[" * 100_000
    reading = reader(deep, max_bytes=10**6)
    assert reading.take(lines=1, size=10**6) == []
    assert [(error.code, error.line) for error in reading.finish()] == [("invalid_json_line", 1)]


def test_errors_and_lines_are_bounded() -> None:
    assert len(taken(reader(b"{}\n" * 500, max_lines=1000)).errors) == MAX_ERRORS
    data = b"\n".join(json.dumps(request(str(n))).encode() for n in range(5))
    assert taken(reader(data, max_lines=5)).errors == []
    assert taken(reader(data, max_lines=4)).errors == [
        LineError(code="too_many_lines", message="the file has more than 4 lines")
    ]


@pytest.mark.parametrize("window", ["", "24", "0h", "-1h", "24H", "1w", "1.5h", "٢h", "9999h", "8d"])
def test_a_window_is_hours_or_days_up_to_a_week(window: str) -> None:
    with pytest.raises(RequestError) as caught:
        window_seconds(window)
    assert caught.value.param == "completion_window"
    assert (window_seconds("24h"), window_seconds("7d")) == (86_400, 604_800)


def taken(reading: LineReader) -> LineReader:
    while reading.take(lines=3, size=10_000):
        pass
    return reading

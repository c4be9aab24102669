"""Multipart bodies: what is sent is what is read, or it is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.wire.forms import UploadedFile, parse_form
from orchestrator.domain.errors import InvalidField

FORM = "multipart/form-data; boundary=XX"
PROMPT = b'--XX\r\ncontent-disposition: form-data; name="prompt"\r\n\r\na lighthouse\r\n'


def part(value: bytes, *, disposition: bytes = b'form-data; name="prompt"', more: bytes = b"") -> bytes:
    return b"--XX\r\ncontent-disposition: " + disposition + b"\r\n" + more + b"\r\n" + value + b"\r\n--XX--\r\n"


def refused(body: bytes, content_type: str = FORM) -> InvalidField:
    with pytest.raises(InvalidField) as caught:
        parse_form(body, content_type)
    return caught.value


@given(st.text())
def test_text_comes_back_as_it_was_sent(text: str) -> None:
    try:
        sent = text.encode()
    except UnicodeEncodeError:
        return
    assert parse_form(part(sent), FORM) == [("prompt", text)]


def test_files_keep_their_bytes_and_name_and_parts_their_order() -> None:
    file = part(b"\xff\x00", disposition='form-data; name="input_reference"; filename="ä.png"'.encode())
    assert parse_form(PROMPT + file, FORM) == [
        ("prompt", "a lighthouse"),
        ("input_reference", UploadedFile("ä.png", b"\xff\x00")),
    ]


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", '"utf-8"', "utf8"])
def test_a_form_may_say_that_it_is_utf8(charset: str) -> None:
    assert parse_form(part("灯塔".encode()), f"{FORM}; charset={charset}") == [("prompt", "灯塔")]


@pytest.mark.parametrize("charset", ["undefined", "latin-1", "utf-16", "idna", "no such", '""', "x" * 1000])
def test_a_form_in_another_encoding_is_refused(charset: str) -> None:
    assert len(refused(part(b"sea"), f"{FORM}; charset={charset}").message) < 200


def test_so_is_a_part_in_another_encoding() -> None:
    for more in (b"content-type: text/plain; charset=latin-1\r\n", b"content-transfer-encoding: base64\r\n"):
        assert refused(part(b"c2Vh", more=more)).param == "prompt"


def test_bytes_that_are_no_utf8_are_refused_and_not_guessed_at() -> None:
    assert refused(part(b"caf\xe9")).param == "prompt"
    refused(part(b"sea", disposition=b'form-data; name="caf\xe9"'))
    refused(part(b"sea", disposition=b'form-data; name="prompt"; filename="caf\xe9"'))


@pytest.mark.parametrize("end", [b"", b"--XX", b"--XX-", b"--XX\r\n", PROMPT[:-2], b"--XY--\r\n"])
def test_a_body_that_ends_before_its_closing_boundary_is_refused(end: bytes) -> None:
    refused(PROMPT + end)


@pytest.mark.parametrize("disposition", [b"form-data", b'form-data; name=""', b""])
def test_a_part_without_a_name_is_refused(disposition: bytes) -> None:
    refused(part(b"sea", disposition=disposition))


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=", FORM + "X" * 1000])
def test_a_form_without_a_usable_boundary_is_refused(kind: str) -> None:
    refused(part(b"sea"), kind)


def test_a_form_of_too_many_parts_is_refused() -> None:
    assert len(parse_form(PROMPT * 100 + b"--XX--", FORM)) == 100
    refused(PROMPT * 101 + b"--XX--")


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(body: bytes) -> None:
    for tried in (body, part(body), PROMPT + body):
        try:
            parse_form(tried, FORM)
        except InvalidField:
            continue

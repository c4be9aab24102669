"""A JPEG's markers: how many scans, segments and bytes of fill it has, and where they do not count."""

from __future__ import annotations

import random
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from orchestrator.pictures.jpegs import MAX_FILL, MAX_SCANS, MAX_SEGMENTS, Jpeg, read


def encoded(**options: Any) -> bytes:
    """One with detail everywhere, always the same."""
    file = BytesIO()
    Image.frombytes("RGB", (64, 48), random.Random(7).randbytes(64 * 48 * 3)).save(file, "JPEG", **options)
    return file.getvalue()


PLAIN, PROGRESSIVE = encoded(), encoded(progressive=True)


def last_scan(data: bytes) -> int:
    return data.rindex(b"\xff\xda")


def test_what_encoders_write_has_few_scans_and_no_fill() -> None:
    for data, scans in ((PLAIN, 1), (PROGRESSIVE, 10)):
        found = read(data)
        assert (found.size, found.scans, found.fill, found.excess) == ((64, 48), scans, 0, None)


@pytest.mark.parametrize("more", [0, 10, 11])
def test_scans_are_counted_up_to_one_too_many(more: int) -> None:
    scan = last_scan(PROGRESSIVE)
    found = read(PROGRESSIVE[:scan] + PROGRESSIVE[scan:-2] * (1 + more) + PROGRESSIVE[-2:])
    assert found.scans == 10 + more
    assert found.excess == (f"has more than {MAX_SCANS} scans" if more == 11 else None)


@pytest.mark.parametrize("restarts", [{}, {"restart_marker_blocks": 1}])
@pytest.mark.parametrize("count", [1, MAX_FILL, MAX_FILL + 1])
def test_fill_counts_wherever_a_decoder_skips_it(count: int, restarts: dict[str, int]) -> None:
    plain = encoded(**restarts)
    scan, stuffed = last_scan(plain), plain.rindex(b"\xff\x00")
    for at in (2, scan, stuffed, len(plain) - 2):  # first marker, the scan, within it, behind it
        found = read(plain[:at] + b"\xff" * count + plain[at:])
        assert (found.size, found.fill) == ((64, 48) if count <= MAX_FILL or at > 2 else None, count)
        assert (found.excess is None) == (count <= MAX_FILL)


def test_what_looks_the_same_inside_a_segment_or_behind_the_end_does_not_count() -> None:
    profile = b"\xff\xda" * 30_000 + b"\xff" * 70_000
    for data in (encoded(icc_profile=profile), encoded(comment=b"\xff\xda" * 100), PLAIN + PROGRESSIVE * 9):
        assert (read(data).scans, read(data).fill, read(data).excess) == (1, 0, None)


def test_junk_between_markers_counts_as_fill_and_before_the_frame_there_may_be_none() -> None:
    scan = last_scan(PLAIN)
    assert read(PLAIN[:scan] + bytes(70_000) + PLAIN[scan:]).excess == f"has more than {MAX_FILL} bytes of fill"
    assert read(PLAIN[:2] + bytes(9) + PLAIN[2:]).size is None


def test_segments_are_bounded() -> None:
    data = PLAIN[:2] + b"\xff\xe1\0\2" * 300 + PLAIN[2:]
    assert read(data).excess is None
    empty = b"\xff\xd8" + b"\xff\xe1\0\0" * 1_000_000
    assert read(empty).segments == MAX_SEGMENTS + 1


@given(st.lists(st.sampled_from([b"\xff", b"\0", b"\xda", b"\xd0", b"\xc0", b"\xe0", b"\0\4", PLAIN])).map(b"".join))
def test_no_bytes_make_it_fail(tail: bytes) -> None:
    assert isinstance(read(b"\xff\xd8\xff" + tail), Jpeg)

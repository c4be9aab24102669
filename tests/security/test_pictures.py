"""Pictures that cost more than they show: one tenant's neither hold up another's nor swell the process that serves."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from orchestrator.config import FetchSettings
from orchestrator.confined.child import Answer, Child
from orchestrator.domain.errors import InvalidField, RequestError, Unavailable
from orchestrator.pictures import apart, decoding
from orchestrator.pictures.apart import Decoders
from tests.support.checked import check_picture

MiB = 2**20
SETTINGS = FetchSettings()
OTHERS = Path(__file__).parents[1] / "support" / "pictures"


def encoded(kind: str, size: tuple[int, int] = (64, 48), **options: Any) -> bytes:
    file = BytesIO()
    Image.new("RGB", size, "teal").save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    started = Decoders(SETTINGS.max_image_bytes, SETTINGS.max_image_pixels)
    started.check(encoded("PNG")).result()
    print(f"a child that waits has {resident(started.small) // MiB} MiB")
    yield started
    started.small.end()
    started.any_size.end()


def resident(child: Child) -> int:
    return int(psutil.Process(child.pid).memory_info().rss)


def refusal(decoders: Decoders, data: bytes) -> RequestError:
    with pytest.raises(RequestError) as refused:
        decoders.check(data).result()
    return refused.value


def test_a_child_says_of_every_picture_what_the_check_says(decoders: Decoders) -> None:
    """Whatever a decoder imports or opens late would be refused there."""
    exif = Image.Exif()
    exif[274] = 6
    turned = [encoded(kind, exif=exif) for kind in ("PNG", "JPEG", "WEBP", "AVIF")]
    lossless = encoded("WEBP", lossless=True, exif=exif)
    for data in [*turned, lossless, *(path.read_bytes() for path in sorted(OTHERS.iterdir()))]:
        assert decoders.check(data).result() == check_picture(data, SETTINGS)
    small = FetchSettings(max_image_bytes=SETTINGS.max_image_bytes)
    for data in (b"GIF89a", turned[0][:60], encoded("PNG", (15, 400)), encoded("PNG", (6400, 6400)), turned[3][:99]):
        with pytest.raises(RequestError) as expected:
            check_picture(data, small)
        found = refusal(decoders, data)
        assert (type(found), vars(found)) == (type(expected.value), vars(expected.value))


PLAIN, PROGRESSIVE = encoded("JPEG"), encoded("JPEG", progressive=True)
SCAN = PROGRESSIVE.rindex(b"\xff\xda")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (PLAIN[:2] + b"\xff" * (5 * MiB - 2000) + PLAIN[2:], "more than 65536 bytes of fill"),
        (PLAIN[:2] + b"\xff\xe0\0\2" * 1_300_000 + PLAIN[2:], "more than 10000 segments"),
        (PROGRESSIVE[:SCAN] + PROGRESSIVE[SCAN:-2] * 90 + PROGRESSIVE[-2:], "more than 20 scans"),
    ],
    ids=["fill", "segments", "scans"],
)
def test_a_jpeg_that_takes_seconds_is_refused_by_name(decoders: Decoders, data: bytes, reason: str) -> None:
    began = time.perf_counter()
    error = refusal(decoders, data)
    print(f"{len(data)} bytes: {error.message}, after {time.perf_counter() - began:.2f} s")
    assert isinstance(error, InvalidField)
    assert (error.param, error.code, reason in error.message) == ("image", "image_too_slow", True)


def test_a_few_bytes_that_unpack_to_hundreds_of_megabytes_do_so_elsewhere(decoders: Decoders) -> None:
    data = _canvas(6300)
    assert len(data) < 300
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _peak()
    assert decoders.check(data).result().width == 6300
    grown = _peak() - before
    print(f"{len(data)} bytes, decoded: +{grown // MiB} MiB in the process that asks")
    assert grown < 32 * MiB


def _canvas(side: int) -> bytes:
    """A moving picture of 16 x 16 pixels on a canvas of so many."""
    data = bytearray(encoded("WEBP", (16, 16), save_all=True, append_images=[Image.new("RGB", (16, 16))]))
    data[24:30] = (side - 1).to_bytes(3, "little") * 2  # of VP8X, the first chunk
    return bytes(data)


def _peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def test_a_picture_that_holds_up_its_decoder_holds_up_no_other_picture(
    decoders: Decoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apart, "DECODE_S", 2.0)
    assert decoders.check(encoded("PNG")).result().width == 64
    assert decoders.small.pid is not None
    os.kill(decoders.small.pid, signal.SIGSTOP)
    held_up = decoders.check(encoded("PNG"))
    assert decoders.check(encoded("JPEG")).result().width == 64
    assert not held_up.done()
    # It did not work, so that is not its picture's fault.
    assert isinstance(held_up.exception(), Unavailable)
    assert decoders.check(encoded("PNG")).result().width == 64


class Says(Child):
    """A child that somebody has taken over."""

    def __init__(self, words: dict[str, Any]) -> None:
        self._words = words

    def ask(self, words: Any, blob: bytes = b"", *, within_s: float) -> Answer:
        return Answer(self._words, b"")


WIDTHS: tuple[Any, ...] = ("many", None, [], 0, -1, 70_000_000)
PLAUSIBLE = {"content_type": "image/png", "width": 64, "height": 48, "sideways": False}


@pytest.mark.parametrize(
    "words",
    [
        *({}, {"content_type": "image/png"}, {"refused": "invalid"}, {"memory": True}),
        *({**PLAUSIBLE, "content_type": kind} for kind in ("image/../../videos/x", "text/html", None, 1)),
        *({**PLAUSIBLE, "width": width} for width in WIDTHS),
    ],
)
def test_what_no_child_of_ours_says_is_not_believed(words: dict[str, Any]) -> None:
    with pytest.raises(InvalidField) as refused:
        apart.asked(Says(words), PLAIN)
    assert refused.value.code == "image_broken"


def test_a_child_that_lacks_something_is_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "refused")

    monkeypatch.setattr(decoding, "decode", refused)
    words = decoding.answered(PLAIN, decoding.DecoderBounds(MiB, 10_000, 10_000, 5))
    with pytest.raises(Unavailable):
        apart.asked(Says(words), PLAIN)


def test_a_decoder_that_was_killed_is_replaced_before_anybody_notices(decoders: Decoders) -> None:
    decoders.check(encoded("PNG")).result()
    killed = decoders.small.pid
    assert killed is not None
    os.kill(killed, signal.SIGSEGV)
    assert decoders.check(encoded("PNG")).result().width == 64
    assert decoders.small.pid != killed


def test_a_process_that_had_no_thread_left_checks_pictures_once_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    poor = Decoders(SETTINGS.max_image_bytes, SETTINGS.max_image_pixels)
    with monkeypatch.context() as few:
        few.setattr(threading.Thread, "start", none)
        with pytest.raises(Unavailable):
            poor.check(PLAIN)
    assert poor.check(PLAIN).result(30).width == 64
    poor.small.end()

"""What every `ObjectStore` promises, held against real S3."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import psutil
import pytest

from orchestrator.adapters.s3 import S3Objects
from orchestrator.config import S3Settings
from orchestrator.domain.errors import IntegrityError, InvalidField, NotFound, ObjectsUnavailable
from orchestrator.domain.job import Artifact
from tests.support.s3 import ACCESS_KEY, SECRET_KEY, S3Server

MIB = 2**20


@pytest.fixture
def large_file(tmp_path: Path) -> Path:
    """Four parts: above the multipart threshold of the tests' settings."""
    path = tmp_path / "large.mp4"
    path.write_bytes(os.urandom(25 * MIB + 12_345))
    return path


def test_what_is_put_is_what_is_got(objects: S3Objects) -> None:
    data = "naïve 🎬".encode()
    artifact = objects.put("videos/a b+c/1/résumé.json", data, "application/json")
    assert artifact == Artifact(
        key="videos/a b+c/1/résumé.json",
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        content_type="application/json",
    )
    assert objects.get(artifact.key) == data
    assert objects.size(artifact.key) == len(data)


def test_an_empty_object_is_an_object(objects: S3Objects) -> None:
    objects.put("empty", b"", "text/plain")
    assert objects.get("empty") == b""
    assert objects.size("empty") == 0


def test_a_large_file_goes_up_in_parts_and_comes_back_whole(objects: S3Objects, large_file: Path) -> None:
    parts: list[None] = []
    objects._client.meta.events.register("before-call.s3.UploadPart", lambda **_: parts.append(None))
    artifact = objects.upload("videos/x/1/video.mp4", large_file, "video/mp4")
    data = large_file.read_bytes()
    assert (artifact.size, artifact.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert b"".join(objects.stream(artifact.key)) == data
    assert len(parts) == 4


@pytest.mark.parametrize("how", ["put", "upload", "upload in parts"])
def test_what_does_not_read_back_as_it_was_handed_over_is_no_success(
    objects: S3Objects, large_file: Path, how: str
) -> None:
    """Somebody between here and the disk changes a bit, and everybody answers that all is well."""

    def damage(params: dict[str, Any], **_: Any) -> None:
        body = params["body"]
        data = body if isinstance(body, bytes) else body.read()
        params["body"] = data[:-1] + bytes([data[-1] ^ 1])

    events = objects._client.meta.events
    events.register("before-call.s3.UploadPart" if how == "upload in parts" else "before-call.s3.PutObject", damage)
    small = large_file.with_name("small.webp")
    small.write_bytes(b"a small picture")
    ways: dict[str, Callable[[], object]] = {
        "put": lambda: objects.put("x", small.read_bytes(), "image/webp"),
        "upload": lambda: objects.upload("x", small, "image/webp"),
        "upload in parts": lambda: objects.upload("x", large_file, "video/mp4"),
    }
    with pytest.raises(IntegrityError, match="reads back as"):
        ways[how]()


def test_progress_is_told_while_bytes_move_up_and_back(objects: S3Objects, large_file: Path) -> None:
    calls: list[None] = []
    objects.upload("x.mp4", large_file, "video/mp4", on_progress=lambda: calls.append(None))
    assert len(calls) > 50, "a slow upload must be seen to live"


def test_a_range_is_inclusive_at_both_ends(objects: S3Objects) -> None:
    objects.put("digits", b"0123456789", "text/plain")
    assert b"".join(objects.stream("digits", start=2, end=5)) == b"2345"
    assert b"".join(objects.stream("digits", start=7)) == b"789"
    assert b"".join(objects.stream("digits", start=0, end=0)) == b"0"
    with pytest.raises(InvalidField):
        list(objects.stream("digits", start=10))


def test_reading_streams_instead_of_holding_the_object(objects: S3Objects, tmp_path: Path) -> None:
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.truncate(96 * MIB)
    artifact = objects.upload("big", path, "video/mp4")
    before = psutil.Process().memory_info().rss
    peak = 0
    for chunk in objects.stream(artifact.key):
        assert len(chunk) <= MIB
        peak = max(peak, psutil.Process().memory_info().rss - before)
    assert peak < 32 * MIB


def test_a_missing_key_is_not_found(objects: S3Objects) -> None:
    with pytest.raises(NotFound):
        objects.get("nothing")
    with pytest.raises(NotFound):
        objects.size("nothing")
    with pytest.raises(NotFound):
        objects.verify(Artifact(key="nothing", size=0, sha256="", content_type=""))


def test_an_object_that_differs_from_its_record_does_not_verify(objects: S3Objects) -> None:
    artifact = objects.put("a", b"abc", "text/plain")
    objects.verify(artifact)
    objects._client.put_object(Bucket=objects._bucket, Key="a", Body=b"abd")
    with pytest.raises(IntegrityError, match="a reads back as 3 bytes"):
        objects.verify(artifact)


def test_an_object_that_lost_its_end_is_damaged(s3_server: S3Server) -> None:
    """Behind the server's back, which announces the size that it knows: no range is left to go on with."""
    settings = s3_server.new_bucket()
    objects = S3Objects(settings)
    artifact = objects.put("a", bytes(range(256)) * 100, "text/plain")
    with s3_server.file(settings, "a").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(IntegrityError, match="ends at byte 1000"):
        objects.get("a")
    with pytest.raises(IntegrityError, match="a reads back as 1000 bytes"):  # now the server knows, too
        objects.verify(artifact)


def test_listing_and_deleting_go_on_past_a_page(objects: S3Objects, s3_server: S3Server) -> None:
    """1,203 keys: more than one page of a listing and more than one batch of a deletion."""
    settings = s3_server.new_bucket()
    objects = S3Objects(settings)
    directory = s3_server.file(settings, "videos/j/1")
    directory.mkdir(parents=True)
    for number in range(1203):
        (directory / f"{number:04}").touch()
    objects.put("videos/jj/1/other", b"", "text/plain")
    keys = [f"videos/j/1/{number:04}" for number in range(1203)]
    assert list(objects.list_keys("videos/j/")) == keys
    objects.delete(objects.list_keys("videos/j/"))
    assert list(objects.list_keys("videos/")) == ["videos/jj/1/other"]


def test_deleting_what_is_not_there_is_no_error(objects: S3Objects) -> None:
    objects.put("a", b"", "text/plain")
    objects.delete(["a", "b", "c"])
    objects.delete([])
    assert list(objects.list_keys("")) == []


def test_a_signed_url_opens_without_a_header_until_it_expires(objects: S3Objects) -> None:
    objects.put("videos/x/1/video.mp4", b"moov", "video/mp4")
    url = objects.presign("videos/x/1/video.mp4", lifetime_s=60)
    answer = httpx.get(url)
    assert (answer.status_code, answer.content) == (200, b"moov")
    assert answer.headers["content-type"] == "video/mp4"
    assert "content-disposition" not in answer.headers
    assert httpx.get(url, headers={"range": "bytes=1-2"}).content == b"oo"
    assert parse_qs(urlsplit(url).query)["X-Amz-Expires"] == ["60"]
    assert httpx.get(url.replace("X-Amz-Expires=60", "X-Amz-Expires=600")).status_code == 403
    assert httpx.get(url.replace("video.mp4", "result.json")).status_code == 403


def test_a_signed_url_can_name_the_file_that_a_browser_saves(objects: S3Objects) -> None:
    objects.put("x.mp4", b"", "video/mp4")
    nasty = 'é"; x=\r\n../a.mp4'
    answer = httpx.get(objects.presign("x.mp4", lifetime_s=60, filename=nasty))
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == ("attachment; filename*=UTF-8''%C3%A9%22%3B%20x%3D%0D%0A..%2Fa.mp4")


def test_signed_urls_carry_the_public_host_and_verify_there_only(s3_server: S3Server) -> None:
    settings = s3_server.new_bucket(public_url=f"http://localhost:{s3_server.port}")
    objects = S3Objects(settings)
    objects.put("a", b"public", "text/plain")
    url = objects.presign("a", lifetime_s=60)
    assert urlsplit(url).netloc == f"localhost:{s3_server.port}"
    assert httpx.get(url).content == b"public"
    assert httpx.get(url.replace("localhost", "127.0.0.1")).status_code == 403


def test_one_store_serves_many_threads(objects: S3Objects) -> None:
    def there_and_back(number: int) -> bool:
        data = os.urandom(10_000)
        return objects.get(objects.put(f"t/{number}", data, "text/plain").key) == data

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(there_and_back, range(64)))


def test_the_doctor_finds_a_healthy_bucket_and_leaves_nothing(objects: S3Objects) -> None:
    objects.check()
    assert list(objects.list_keys("")) == []


@pytest.mark.parametrize(
    "wrong",
    [{"bucket": "no-such-bucket"}, {"secret_key": "wrong-secret"}, {"access_key": "nobody"}],
    ids=["no bucket", "wrong secret", "unknown key"],
)
def test_the_doctor_says_what_s3_refused(s3_server: S3Server, wrong: dict[str, str]) -> None:
    given = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "bucket": "some-bucket"} | wrong
    settings = S3Settings.model_validate(given | {"endpoint_url": f"http://127.0.0.1:{s3_server.port}"})
    with pytest.raises(ObjectsUnavailable, match="S3 refused doctor/"):
        S3Objects(settings).check()


def test_making_the_bucket_twice_is_no_error(objects: S3Objects) -> None:
    objects.put("a", b"kept", "text/plain")
    objects.ensure_bucket()
    assert objects.get("a") == b"kept"

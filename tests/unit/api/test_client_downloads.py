"""The client's downloads: resumed, compared with their SHA-256, and for campaigns many at once under safe names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cogmill_client as module
import httpx
import pytest
from cogmill_client.names import Names, safe_name

from orchestrator.domain.delivering import step_of
from tests.support.cogmill_client import Client, Torn, client, error

__all__ = ["client"]

DATA = bytes(range(256)) * 40
SHA256 = hashlib.sha256(DATA).hexdigest()


class Store:
    """Answers GETs of one object with ranges; connections break after `breaks` bytes, one for each entry."""

    def __init__(self, data: bytes = DATA, *breaks: int, etag: str | None = None, ranges: bool = True) -> None:
        self.data, self.breaks, self.ranges = data, list(breaks), ranges
        self.etag = hashlib.sha256(data).hexdigest() if etag is None else etag

    def __call__(self, request: httpx.Request) -> httpx.Response:
        start = 0
        if self.ranges and "range" in request.headers:
            start = int(request.headers["range"].removeprefix("bytes=").removesuffix("-"))
            if start >= len(self.data):
                return error(416, content_range=f"bytes */{len(self.data)}")
        headers = {"etag": f'"{self.etag}"', "content-type": "video/mp4"}
        if start:
            headers["content-range"] = f"bytes {start}-{len(self.data) - 1}/{len(self.data)}"
        rest = self.data[start:]
        body = Torn(rest[: self.breaks.pop(0)]) if self.breaks else Torn(rest, breaks=False)
        return httpx.Response(206 if start else 200, headers=headers, stream=body)


class TestOne:
    def test_a_download_is_whole_and_leaves_nothing_beside_it(self, client: Client, tmp_path: Path) -> None:
        client.answer, heard = Store(), []
        path = tmp_path / "new" / "a.mp4"
        assert client(lambda c: c.videos.download("video_1", path, on_bytes=heard.append)) == path
        assert path.read_bytes() == DATA
        assert list(path.parent.iterdir()) == [path]
        assert heard[-1] == len(DATA)
        assert dict(client.asked[0].url.params) == {"variant": "video"}

    def test_a_connection_that_breaks_is_taken_up_where_it_broke_however_often(
        self, client: Client, tmp_path: Path
    ) -> None:
        client.answer = Store(DATA, *([1000] * 8))
        client(lambda c: c.videos.download("video_1", tmp_path / "a.mp4"))
        assert (tmp_path / "a.mp4").read_bytes() == DATA
        assert [request.headers.get("range") for request in client.asked[:3]] == [
            None, "bytes=1000-", "bytes=2000-",
        ]  # fmt: skip

    def test_one_that_gets_nowhere_is_given_up_and_another_call_goes_on_there(
        self, client: Client, tmp_path: Path
    ) -> None:
        client.answer = Store(DATA, 1000, *([0] * 9))
        with pytest.raises(module.ConnectionFailed):
            client(lambda c: c.videos.download("video_1", tmp_path / "a.mp4"))
        assert (tmp_path / "a.mp4.part").stat().st_size == 1000
        assert not (tmp_path / "a.mp4").exists()
        client.answer = Store()
        client.asked.clear()
        client(lambda c: c.videos.download("video_1", tmp_path / "a.mp4"))
        assert [request.headers["range"] for request in client.asked] == ["bytes=1000-"]
        assert (tmp_path / "a.mp4").read_bytes() == DATA

    @pytest.mark.parametrize("left", [b"of another file", DATA + b"more", DATA[:500] + b"x"])
    def test_what_is_left_of_another_file_is_not_mixed_in(self, client: Client, tmp_path: Path, left: bytes) -> None:
        (tmp_path / "a.mp4.part").write_bytes(left)
        client.answer = Store()
        client(lambda c: c.videos.download("video_1", tmp_path / "a.mp4"))
        assert (tmp_path / "a.mp4").read_bytes() == DATA

    def test_a_server_without_ranges_is_read_from_the_start(self, client: Client, tmp_path: Path) -> None:
        (tmp_path / "a.mp4.part").write_bytes(DATA[:500])
        client.answer = Store(ranges=False)
        client(lambda c: c.videos.download("video_1", tmp_path / "a.mp4"))
        assert (tmp_path / "a.mp4").read_bytes() == DATA

    def test_other_bytes_than_the_recorded_ones_are_refused_and_removed(self, client: Client, tmp_path: Path) -> None:
        client.answer = Store(etag=hashlib.sha256(b"other").hexdigest())
        with pytest.raises(module.ChecksumMismatch):
            client(lambda c: c.videos.download("video_1", tmp_path / "a.mp4"))
        assert list(tmp_path.iterdir()) == []

    def test_what_is_not_ready_is_the_servers_word_and_leaves_nothing(self, client: Client, tmp_path: Path) -> None:
        client.answers(error(400, "video_not_ready"))
        with pytest.raises(module.BadRequest) as caught:
            client(lambda c: c.videos.download("video_1", tmp_path / "a.mp4"))
        assert caught.value.code == "video_not_ready"
        assert list(tmp_path.iterdir()) == []

    def test_an_empty_file_is_a_file(self, client: Client, tmp_path: Path) -> None:
        client.answer = Store(b"")
        client(lambda c: c.files.download("file-1", tmp_path / "empty"))
        assert (tmp_path / "empty").read_bytes() == b""


IDS = ["mug", "../../etc/passwd", "a/b", "a%2Fb", "Mug", "ü" * 5, ".", "..", "x" * 900, "a b", "c:\\d", "日本", "\x00"]


class TestNames:
    @pytest.mark.parametrize("custom_id", [each for each in IDS if len(each) < 100])
    def test_a_safe_name_is_the_one_that_the_server_and_its_checks_use(self, custom_id: str) -> None:
        assert safe_name(custom_id) == step_of(custom_id)

    def test_no_name_leads_out_and_no_two_are_one_even_where_case_and_composition_do_not_count(self) -> None:
        names = Names("{custom_id}.mp4")
        ids = [*IDS, "MUG", "mUg", "x" * 901, "u\u0308" * 5]
        given = [names.name(each) for each in ids]
        assert len({name.casefold() for name in given}) == len(ids)
        assert not [name for name in given if "/" in name or "\\" in name or name in (".mp4", "..mp4") or "\0" in name]
        assert max(len(name.encode()) for name in given) < 255
        assert [names.name(each) for each in ids] == given

    def test_a_pattern_without_the_id_is_refused(self) -> None:
        with pytest.raises(module.ConfigurationError, match="pattern"):
            Names("clip.mp4")


class Campaign:
    """A campaign's links, and the objects behind them; a link may have run out so many times."""

    def __init__(self, objects: dict[str, bytes], stale: int = 0) -> None:
        self.objects, self.stale = objects, stale
        self.fetched: list[str] = []
        self.authorized: set[bool] = set()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/campaigns/campaign_1/manifest":
            assert request.url.params["format"] == "links"
            return httpx.Response(200, content="".join(map(self._line, self.objects)))
        self.authorized.add("authorization" in request.headers)
        custom_id = request.url.params["id"]
        if custom_id.startswith("late") and self.stale:
            self.stale -= 1
            return httpx.Response(403, text="<Error>expired")
        self.fetched.append(custom_id)
        return httpx.Response(200, content=self.objects[custom_id])

    def _line(self, custom_id: str) -> str:
        data = self.objects[custom_id]
        link: dict[str, Any] = {
            "custom_id": custom_id,
            "url": str(httpx.URL("http://s3.test/o", params={"id": custom_id})),
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": len(data),
            "expires_at": 1,
        }
        return json.dumps(link) + "\n"


class TestCampaign:
    def test_all_videos_come_and_those_that_are_there_are_left_alone(self, client: Client, tmp_path: Path) -> None:
        objects = {f"clip-{n}": bytes([n]) * 100 for n in range(30)} | {"../out": b"x", "Clip-1": b"other"}
        client.answer = served = Campaign(objects)
        seen: list[str] = []
        notice: Callable[[str, Path], None] = lambda custom_id, path: seen.append(custom_id)  # noqa: E731
        done = client(lambda c: c.download_campaign("campaign_1", tmp_path / "out", workers=4, on_file=notice))
        assert (done.saved, done.present, done.failed, sorted(seen)) == (32, 0, {}, sorted(objects))
        assert done.bytes == sum(map(len, objects.values()))
        assert sorted(path.read_bytes() for path in (tmp_path / "out").iterdir()) == sorted(objects.values())
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
        assert served.authorized == {False}, "the key is told to nobody but the API"
        (tmp_path / "out" / "clip-3.mp4").write_bytes(b"damaged")
        (tmp_path / "out" / "clip-4.mp4").unlink()
        served.fetched.clear()
        done = client(lambda c: c.download_campaign("campaign_1", tmp_path / "out", workers=4))
        assert (done.saved, done.present, sorted(served.fetched)) == (2, 30, ["clip-3", "clip-4"])

    def test_links_that_have_run_out_are_asked_for_anew(self, client: Client, tmp_path: Path) -> None:
        client.answer = served = Campaign({"a": b"a", "late-1": b"1", "late-2": b"2"}, stale=3)
        done = client(lambda c: c.download_campaign("campaign_1", tmp_path, workers=1))
        assert (done.saved, done.failed) == (3, {})
        assert sorted(served.fetched) == ["a", "late-1", "late-2"]

    def test_one_video_that_is_wrong_is_named_and_the_others_come(self, client: Client, tmp_path: Path) -> None:
        served = Campaign({"a": b"a", "b": b"b", "c": b"c"})

        def answer(request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, content=b"?") if request.url.params.get("id") == "b" else served(request)

        client.answer = answer
        done = client(lambda c: c.download_campaign("campaign_1", tmp_path, pattern="v/{custom_id}.mp4"))
        assert (done.saved, list(done.failed)) == (2, ["b"])
        assert "SHA-256" in done.failed["b"]
        assert sorted(path.name for path in (tmp_path / "v").iterdir()) == ["a.mp4", "c.mp4"]

    def test_a_network_that_is_down_is_not_tried_for_every_row(self, client: Client, tmp_path: Path) -> None:
        served = Campaign({f"{n}": b"x" for n in range(500)})

        def answer(request: httpx.Request) -> httpx.Response:
            if request.url.host == "s3.test":
                raise httpx.ConnectError("refused")
            return served(request)

        client.answer, client.max_retries = answer, 0
        with pytest.raises(module.ConnectionFailed):
            client(lambda c: c.download_campaign("campaign_1", tmp_path, workers=2))
        assert len(client.asked) < 50

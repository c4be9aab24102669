"""The client's campaigns: what is sent for each verb, rows in one stream of any length, and what streams back."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import cogmill_client as module
import httpx
import pytest

from tests.support.cogmill_client import Client, campaign, client, error, page

__all__ = ["client"]

ROW: dict[str, Any] = {
    "object": "campaign.row", "custom_id": "mug", "line": 1, "place": 0, "state": "succeeded", "video_id": "video_1",
    "variables": {"product": "mug"}, "parameters": {}, "prompt": "a mug", "seed": 7, "template_version": 1,
    "attempts": 1, "gpu_seconds": 1.5, "error": None, "flags": ["all_black"],
    "result": {
        "key": "k", "size": 3, "sha256": "0" * 64, "model": "m", "revision": None, "profile": "exact",
        "numerics": None, "continuity": "whole",
    },
}  # fmt: skip


def sent(client: Client) -> tuple[str, str, Any]:
    request = client.asked[-1]
    return request.method, request.url.path, json.loads(request.content or "null")


def test_a_campaign_is_asked_for_with_what_was_said_and_no_more(client: Client) -> None:
    client.answers(httpx.Response(200, json=campaign()))
    client(lambda c: c.campaigns.create("a {product}", input="file-1", variants=3, defaults={"size": "96x64"}))
    assert sent(client) == (
        "POST",
        "/v1/campaigns",
        {"prompt": "a {product}", "input": "file-1", "variants": 3, "defaults": {"size": "96x64"}},
    )
    client(lambda c: c.campaigns.create("a {product}", negative_prompt="people"))
    assert sent(client)[2] == {"template": {"prompt": "a {product}", "negative_prompt": "people"}}
    client(lambda c: c.campaigns.create(like="file-2"))
    assert sent(client)[2] == {"like": "file-2"}


@pytest.mark.parametrize(
    ("use", "verb", "body"),
    [
        (lambda c: c.campaigns.approve("campaign_1", "t"), "approve", {"plan_token": "t"}),
        (lambda c: c.campaigns.reject("campaign_1", ["a"], do="drop"), "reject", {"rows": ["a"], "do": "drop"}),
        (lambda c: c.campaigns.pause("campaign_1"), "pause", {}),
        (lambda c: c.campaigns.pause("campaign_1", reason="lunch"), "pause", {"reason": "lunch"}),
        (lambda c: c.campaigns.resume("campaign_1"), "resume", {}),
        (lambda c: c.campaigns.cancel("campaign_1"), "cancel", {}),
        (lambda c: c.campaigns.retry("campaign_1"), "retry", {}),
        (lambda c: c.campaigns.retry("campaign_1", rows=["a"], code="x"), "retry", {"rows": ["a"], "code": "x"}),
        (lambda c: c.campaigns.waive("campaign_1", code="x"), "waive", {"code": "x"}),
        (lambda c: c.campaigns.promote("campaign_1", profile="exact"), "promote", {"profile": "exact"}),
        (lambda c: c.campaigns.ingest("campaign_1", input="s3://b/k", format="csv"), "ingest",
         {"input": "s3://b/k", "format": "csv"}),
    ],
)  # fmt: skip
def test_each_verb_says_what_it_means(client: Client, use: Any, verb: str, body: Any) -> None:
    client.answers(httpx.Response(200, json=campaign()))
    assert client(use).id == "campaign_1"
    assert sent(client) == ("POST", f"/v1/campaigns/campaign_1/{verb}", body)


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("rows.csv", "text/csv"), ("rows.JSONL", "application/jsonl"), ("rows.csv.gz", "text/csv"),
        ("rows.parquet", "application/vnd.apache.parquet"),
    ],
)  # fmt: skip
def test_rows_go_from_a_path_in_one_stream_and_again_after_a_failure(
    client: Client, tmp_path: Path, name: str, content_type: str
) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"product\nmug\n") if name.endswith(".gz") else b"product\nmug\n")
    client.answers(error(503), httpx.ReadError("lost"), httpx.Response(200, json=campaign(state="ingesting")))
    assert client(lambda c: c.campaigns.upload_input("campaign_1", path)).state == "ingesting"
    assert [(request.method, request.content) for request in client.asked] == [("PUT", path.read_bytes())] * 3
    assert client.asked[-1].headers["content-type"] == content_type
    assert client.asked[-1].headers["content-length"] == str(path.stat().st_size)
    assert "transfer-encoding" not in client.asked[-1].headers


def taken(path: Path, **input: Any) -> httpx.Response:
    """A campaign that has taken in a file."""
    given = {"source": "file-1", "format": "csv", "records_read": 0, "bytes": path.stat().st_size}
    return httpx.Response(200, json=campaign(state="ingesting", input=given | input))


def no_draft() -> httpx.Response:
    return error(400, "wrong_state")


def test_rows_that_arrived_though_their_answer_did_not_are_a_success(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"product\nmug\n")
    for lost in (httpx.ReadError("lost"), error(502)):
        client.asked.clear()
        client.answers(lost, no_draft(), taken(path))
        assert client(lambda c: c.campaigns.upload_input("campaign_1", path)).state == "ingesting"
        assert [(request.method, request.url.path) for request in client.asked] == [
            ("PUT", "/v1/campaigns/campaign_1/input"),
            ("PUT", "/v1/campaigns/campaign_1/input"),
            ("GET", "/v1/campaigns/campaign_1"),
        ]


def test_a_campaign_that_has_other_rows_refuses_these(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"product\nmug\n")
    lost = httpx.ReadError("lost")
    for answers in (
        (no_draft(), taken(path)),  # it was no draft before the first try
        (lost, error(400, "unknown_format"), taken(path)),
        (lost, no_draft(), taken(path, bytes=7)),
        (lost, no_draft(), httpx.Response(200, json=campaign(state="cancelled"))),
    ):
        client.answers(*answers)
        with pytest.raises(module.BadRequest):
            client(lambda c: c.campaigns.upload_input("campaign_1", path))


def test_rows_go_from_a_stream_once(client: Client) -> None:
    for source in (io.BytesIO(b"product\nmug\n"), iter([b"product\n", b"", b"mug\n"])):
        client.answers(error(503))
        with pytest.raises(module.ServerError):
            client(lambda c, source=source: c.campaigns.upload_input("campaign_1", source, format="csv"))
        assert client.asked.pop().content == b"product\nmug\n"
        assert client.asked == []


def test_what_a_file_is_is_left_to_the_server_where_its_name_does_not_say(client: Client, tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(b"product\n")
    client.answers(httpx.Response(200, json=campaign()))
    for source in (tmp_path / "rows", io.BytesIO(b"product\n")):
        client(lambda c, source=source: c.campaigns.upload_input("campaign_1", source))
        assert client.asked[-1].headers["content-type"] == "application/octet-stream"
    with pytest.raises(module.ConfigurationError, match="format"):
        client(lambda c: c.campaigns.upload_input("campaign_1", tmp_path / "rows", format="xlsx"))
    with pytest.raises(module.ConfigurationError, match="no file"):
        client(lambda c: c.campaigns.upload_input("campaign_1", tmp_path / "gone.csv"))


def test_a_large_file_takes_the_memory_of_a_small_one(client: Client, tmp_path: Path) -> None:
    path, size = tmp_path / "rows.csv", 24 * 2**20
    with path.open("wb") as file:
        file.truncate(size)
    counted = 0

    class Counting(httpx.BaseTransport, httpx.AsyncBaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            nonlocal counted
            for piece in request.stream:  # type: ignore[union-attr]
                counted += len(piece)
            return httpx.Response(200, json=campaign())

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            nonlocal counted
            async for piece in request.stream:  # type: ignore[union-attr]
                counted += len(piece)
            return httpx.Response(200, json=campaign())

    tracemalloc.start()
    client.transport = Counting()
    client(lambda c: c.campaigns.upload_input("campaign_1", path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert counted == size
    assert peak < 4 * 2**20


def test_rows_may_be_put_at_a_signed_url_without_the_key(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"product\n")
    upload = {"object": "campaign.upload", "url": "http://s3.test/put?sig=1", "method": "PUT", "expires_at": 1}
    client.answers(httpx.Response(200, json=upload))
    where = client(lambda c: c.campaigns.presign_upload("campaign_1"))
    client.answers(httpx.Response(200))
    client(lambda c: c.campaigns.upload_to(where, path))
    put = client.asked[-1]
    assert (put.method, str(put.url), put.content) == ("PUT", "http://s3.test/put?sig=1", b"product\n")
    assert "authorization" not in put.headers


def test_rows_are_filtered_and_paged(client: Client) -> None:
    client.answers(page(ROW))
    (row,) = client(
        lambda c: c.campaigns.rows("campaign_1", state="succeeded", variables={"product": "mug", "colour": "red"})
    )
    assert (row.custom_id, row.result.size, row.flags) == ("mug", 3, ["all_black"])
    assert client.asked[0].url.params.get_list("var") == ["product:mug", "colour:red"]
    assert client.asked[0].url.params["state"] == "succeeded"
    empty = {"object": "list", "data": [], "first_id": None, "last_id": "99", "has_more": True}
    client.answers(httpx.Response(200, json=empty), page(ROW))
    client.asked.clear()
    assert len(client(lambda c: c.campaigns.rows("campaign_1", state="failed"))) == 1
    assert client.asked[1].url.params["after"] == "99"


def test_bad_records_come_line_by_line(client: Client) -> None:
    bad = {"line": 3, "custom_id": None, "field": "product", "code": "missing", "reason": "is missing"}
    client.answers(httpx.Response(200, content=f"{json.dumps(bad)}\n\n{json.dumps(bad | {'line': 9})}"))
    assert [each.line for each in client(lambda c: c.campaigns.errors("campaign_1"))] == [3, 9]
    client.answers(httpx.Response(200, content="<html>"))
    with pytest.raises(module.BadAnswer, match="BadRow"):
        client(lambda c: c.campaigns.errors("campaign_1"))


def test_a_manifest_is_saved_as_it_is(client: Client, tmp_path: Path) -> None:
    client.answers(httpx.Response(200, content=b'{"object":"campaign.manifest"}\n'))
    client(lambda c: c.campaigns.manifest("campaign_1", tmp_path / "m.jsonl"))
    assert (tmp_path / "m.jsonl").read_bytes() == b'{"object":"campaign.manifest"}\n'
    assert client.asked[0].url.params["format"] == "jsonl"


def test_use_is_asked_for_as_it_was_said(client: Client) -> None:
    sums = {"attempts": 1, "gpu_seconds": 2.5, "wasted_gpu_seconds": 0.0, "money": None}
    used = {
        "object": "usage", "since": 1, "until": 2, "by": ["model"], "tenant": "acme", "currency": "USD",
        "data": [{**sums, "object": "usage.line", "hour": None, "tenant": None, "campaign": None, "model": "m",
                  "pool": None, "outcome": None}],
        "total": sums, "waste": dict.fromkeys(("cancelled", "failed", "lost", "evicted", "released"), 0.0),
    }  # fmt: skip
    client.answers(httpx.Response(200, json=used))
    told = client(lambda c: c.usage(from_="2026-11-01", to=5, by=["model", "hour"]))
    assert (told.data[0].model, told.total.gpu_seconds) == ("m", 2.5)
    assert dict(client.asked[0].url.params) == {"from": "2026-11-01", "to": "5", "by": "model,hour"}
    client.answers(httpx.Response(200, text="model\r\n"))
    assert client(lambda c: c.usage_csv(by="model")) == "model\r\n"

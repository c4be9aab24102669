"""The client's requests: how often they are made, what they carry, and what their answers become."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cogmill_client as module
import httpx
import pytest
from cogmill_client import AsyncCogmill, Cogmill
from cogmill_client import client as clients

from tests.support.cogmill_client import Client, campaign, client, error, page, video

__all__ = ["client"]  # the fixture


class TestRetries:
    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
    def test_what_may_pass_is_tried_again_with_growing_pauses(self, client: Client, status: int) -> None:
        client.answers(error(status), error(status), httpx.Response(200, json=video()))
        assert client(lambda c: c.videos.retrieve("video_1")).id == "video_1"
        first, second = client.slept
        assert 0.25 <= first <= 0.5 <= second <= 1

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 412, 413])
    def test_what_no_repetition_mends_is_asked_once(self, client: Client, status: int) -> None:
        client.answers(error(status))
        with pytest.raises(module.ApiError):
            client(lambda c: c.videos.retrieve("video_1"))
        assert (len(client.asked), client.slept) == (1, [])

    def test_the_server_says_how_long_to_wait_and_whether_at_all(self, client: Client) -> None:
        client.answers(error(429, retry_after="7"), error(429, retry_after="3600"))
        with pytest.raises(module.RateLimited) as caught:
            client(lambda c: c.videos.retrieve("video_1"))
        assert (client.slept, caught.value.retry_after_s) == ([7], 3600)
        client.answers(error(429, x_should_retry="false"))
        with pytest.raises(module.RateLimited):
            client(lambda c: c.videos.retrieve("video_1"))
        assert len(client.asked) == 3

    def test_a_connection_that_fails_is_made_again_until_it_is_given_up(self, client: Client) -> None:
        client.answers(httpx.ConnectError("refused"), httpx.Response(200, json=video()))
        assert client(lambda c: c.videos.retrieve("video_1")).status == "queued"
        client.answers(httpx.ReadTimeout("silence"))
        client.asked.clear()
        with pytest.raises(module.ConnectionFailed, match="in time"):
            client(lambda c: c.videos.retrieve("video_1"))
        assert len(client.asked) == 1 + client.max_retries

    def test_what_creates_carries_one_key_over_all_tries_and_another_for_each_call(self, client: Client) -> None:
        client.answers(error(503), httpx.ReadError("lost"), httpx.Response(200, json=video()))
        client(lambda c: c.videos.create("sea"))
        client(lambda c: c.videos.create("sea"))
        client(lambda c: c.videos.remix("video_1", "the sea"))
        client(lambda c: c.videos.retry("video_1"))
        client.answers(httpx.Response(200, json=campaign()))
        client(lambda c: c.campaigns.create("a {thing}"))
        keys = [request.headers["idempotency-key"] for request in client.asked]
        assert len(set(keys[:3])) == 1
        assert len(set(keys)) == 5
        client(lambda c: c.campaigns.create("a {thing}", idempotency_key="mine"))
        assert client.asked[-1].headers["idempotency-key"] == "mine"

    def test_what_shows_a_secret_once_is_not_asked_for_again_when_its_answer_is_lost(self, client: Client) -> None:
        """The server could not give that answer once more, and is not made to believe that it might."""
        endpoint = {"name": "n", "url": "https://example.org", "event_types": ["video.completed"]}
        client.answers(httpx.ReadError("lost"))
        for use in (
            lambda c: c.keys.create(name="ci"),
            lambda c: c.keys.rotate("cgm_1"),
            lambda c: c.webhooks.create_endpoint(**endpoint),
        ):
            client.asked.clear()
            with pytest.raises(module.ConnectionFailed):
                client(use)
            (asked,) = client.asked
            assert "idempotency-key" not in asked.headers


class TestErrors:
    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (400, module.BadRequest), (401, module.Unauthenticated), (403, module.Forbidden), (404, module.NotFound),
            (409, module.Conflict), (412, module.PreconditionFailed), (413, module.TooLarge), (422, module.BadRequest),
            (429, module.RateLimited), (500, module.ServerError), (503, module.ServerError), (418, module.ApiError),
        ],
    )  # fmt: skip
    def test_each_status_has_its_class_with_code_and_param(
        self, client: Client, status: int, kind: type[module.ApiError]
    ) -> None:
        client.answers(error(status, "unsupported_value", "size", x_request_id="req_1"))
        client.max_retries = 0
        with pytest.raises(module.CogmillError) as caught:
            client(lambda c: c.videos.retrieve("video_1"))
        failed = caught.value
        assert type(failed) is kind
        assert isinstance(failed, module.ApiError)
        assert (failed.status, failed.code, failed.param) == (status, "unsupported_value", "size")
        assert (failed.message, failed.request_id) == ("size: wrong", "req_1")

    def test_an_error_that_is_no_json_is_told_by_its_status(self, client: Client) -> None:
        client.answers(httpx.Response(404, text="<html>nginx"))
        with pytest.raises(module.NotFound, match="/v1/videos/video_1 was answered 404"):
            client(lambda c: c.videos.retrieve("video_1"))

    @pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"id": "video_1"}'])
    def test_an_answer_that_cannot_be_read_is_said(self, client: Client, body: bytes) -> None:
        client.answers(httpx.Response(200, content=body))
        with pytest.raises(module.BadAnswer, match="no Video"):
            client(lambda c: c.videos.retrieve("video_1"))

    @pytest.mark.parametrize("body", [b"<html>", b"[]", b"null", b"", b'{"data": "abc", "speeds": []}'])
    def test_so_is_one_that_is_handed_on_as_the_api_words_it(self, client: Client, body: bytes) -> None:
        client.answers(httpx.Response(200, content=body))
        with pytest.raises(module.BadAnswer, match="no Predictions"):
            client(lambda c: c.admin.predictions())

    def test_a_redirect_is_not_followed_with_the_key(self, client: Client) -> None:
        client.answers(httpx.Response(302, headers={"location": "http://elsewhere.test"}))
        with pytest.raises(module.ApiError):
            client(lambda c: c.videos.retrieve("video_1"))
        assert len(client.asked) == 1

    def test_ids_that_would_be_other_routes_are_refused_or_quoted(self, client: Client) -> None:
        for wrong in ("", ".", ".."):
            with pytest.raises(module.ConfigurationError, match="no id"):
                client(lambda c, name=wrong: c.videos.retrieve(name))
        client.answers(httpx.Response(200, json=video()))
        client(lambda c: c.videos.retrieve("a/../b?c"))
        assert client.asked[0].url.raw_path == b"/v1/videos/a%2F..%2Fb%3Fc"


class TestAnswers:
    def test_what_a_newer_server_adds_does_no_harm_and_is_there(self, client: Client) -> None:
        client.answers(httpx.Response(200, json=video(status="dreaming", incidents=["slept"], colour="red")))
        seen = client(lambda c: c.videos.retrieve("video_1"))
        assert (seen.status, seen.incidents, seen.colour) == ("dreaming", ["slept"], "red")

    def test_a_listing_is_one_iteration_over_its_pages(self, client: Client) -> None:
        client.answers(page(video(id="a"), video(id="b"), has_more=True), page(video(id="c")))
        assert [each.id for each in client(lambda c: c.videos.list(order="asc"))] == ["a", "b", "c"]
        assert [dict(request.url.params) for request in client.asked] == [
            {"order": "asc", "limit": "100"},
            {"order": "asc", "limit": "100", "after": "b"},
        ]
        client.answers(page(video(id="a"), video(id="b"), has_more=True))
        assert len(client(lambda c: c.videos.list(limit=2))) == 2
        assert len(client.asked) == 3

    def test_a_listing_whose_pages_never_move_on_ends(self, client: Client) -> None:
        client.answers(page(video(id="a"), has_more=True))
        assert len(client(lambda c: c.videos.list())) == 2


class TestWhatIsSent:
    def test_a_video_is_asked_for_with_what_was_said_and_no_more(self, client: Client, tmp_path: Path) -> None:
        client.answers(httpx.Response(200, json=video()))
        picture = tmp_path / "mill.png"
        picture.write_bytes(b"png")
        asked: list[tuple[Any, Any]] = [
            (picture, {"image_url": "data:application/octet-stream;base64,cG5n"}),
            (b"png", {"image_url": "data:application/octet-stream;base64,cG5n"}),
            ("https://example.org/a.png", {"image_url": "https://example.org/a.png"}),
            ("file-1", {"file_id": "file-1"}),
        ]
        for image, sent in asked:
            client(lambda c, image=image: c.videos.create("sea", seed=7, image=image, sparkle=True))
            body = json.loads(client.asked[-1].content)
            assert body == {"prompt": "sea", "seed": 7, "sparkle": True, "input_reference": sent}
        assert client.asked[-1].headers["authorization"] == "Bearer the-key"
        with pytest.raises(module.ConfigurationError, match="image"):
            client(lambda c: c.videos.create("sea", image=tmp_path / "nowhere"))

    def test_a_file_is_sent_from_a_path_from_bytes_and_from_a_stream_whole_again_after_a_failure(
        self, client: Client, tmp_path: Path
    ) -> None:
        path = tmp_path / "shots.jsonl"
        path.write_bytes(b"{}\n")
        told = {
            "id": "file-1", "object": "file", "bytes": 3, "created_at": 1, "filename": "shots.jsonl",
            "purpose": "batch", "status": "processed", "expires_at": None,
        }  # fmt: skip
        for source in (path, str(path), b"{}\n"):
            client.answers(error(503), httpx.Response(200, json=told))
            client.asked.clear()
            client(lambda c, source=source: c.files.upload(source, purpose="batch", filename="shots.jsonl"))
            first, second = client.asked
            assert b'filename="shots.jsonl"' in second.content
            assert b"\r\n{}\n\r\n" in second.content
            assert len(first.content) == len(second.content)

    def test_a_pipe_is_sent_as_long_as_it_turns_out_to_be_and_once(self, client: Client) -> None:
        for status in (503, 400):
            reading, writing = os.pipe()
            with os.fdopen(writing, "wb") as file:
                file.write(b"{}\n")
            client.asked.clear()
            client.answers(error(status))
            with os.fdopen(reading, "rb") as pipe, pytest.raises(module.ApiError):
                client(lambda c, pipe=pipe: c.files.upload(pipe, purpose="batch", filename="stdin"))
            (request,) = client.asked
            assert b"\r\n{}\n\r\n" in request.content
            assert request.headers["transfer-encoding"] == "chunked"

    def test_a_patch_sends_what_is_given_nulls_too_and_the_etag(self, client: Client) -> None:
        client.answers(httpx.Response(200, json=campaign()))
        client(lambda c: c.campaigns.patch("campaign_1", etag='"3"', deadline=None, priority=5))
        assert client.asked[0].headers["if-match"] == '"3"'
        assert json.loads(client.asked[0].content) == {"deadline": None, "priority": 5}


def test_both_clients_have_the_same_surface() -> None:
    for name in ("Videos", "Files", "Campaigns", "Webhooks", "Account"):
        one, other = getattr(clients, name), getattr(clients, f"Async{name}")
        assert _public(one) == _public(other)
        for each in _public(one) - {"verify"}:
            assert vars(one)[each].procedure is vars(other)[each].procedure
            assert vars(one)[each].__doc__
    assert _public(Cogmill) == _public(AsyncCogmill)


def _public(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


class TestAdministration:
    def test_a_tenant_is_erased_by_its_name_twice_and_its_receipt_is_the_very_bytes(self, client: Client) -> None:
        going = {
            "object": "tenant.erasure", "id": "erasure_1", "status": "in_progress", "tenant": "acme", "usage": "erased",
            "requested_at": 1, "requested_by": "key:cgm_1", "erased": {}, "waits_for": None, "finished_at": None,
        }  # fmt: skip
        client.answers(httpx.Response(200, json=going))
        assert client(lambda c: c.admin.erase_tenant("acme")).status == "in_progress"
        assert client.asked[-1].url.path == "/v1/admin/tenants/acme/erasure"
        assert json.loads(client.asked[-1].content) == {"confirm": "acme", "keep_usage": False}
        client.answers(httpx.Response(200, content=b'{"receipt" :1}'))
        assert client(lambda c: c.admin.receipt("erasure_1")) == b'{"receipt" :1}'

    def test_the_audit_log_is_asked_for_what_was_done_and_when(self, client: Client) -> None:
        client.answers(page())
        found = client(lambda c: c.admin.audit(action="key.create", from_="2026-01-01", limit=5))
        assert list(found) == []
        asked = dict(client.asked[-1].url.params)
        assert asked == {"action": "key.create", "from": "2026-01-01", "limit": "5"}

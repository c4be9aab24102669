"""The openai packages, unmodified, against a running stack: what a team that changes the base URL goes on doing."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import Caller, NewCaller
from tests.support.videos import pixels, probe
from tests.support.web import Web

MAGIC = {"video": b"ftyp", "thumbnail": b"RIFF", "spritesheet": b"\xff\xd8\xff"}
DAY_S = 24 * 3600


@pytest.fixture(scope="module", params=["openai-3", "openai-2"])
def openai(request: pytest.FixtureRequest, caller: NewCaller) -> Caller:
    return caller(request.param, "openai_python.py", "/v1")


@pytest.fixture(scope="module")
def node(caller: NewCaller) -> Caller:
    return caller("openai-node", "openai_node.mjs", "/v1")


class TestOpenAI:
    def test_a_video_is_created_polled_downloaded_in_every_variant_and_deleted(
        self, openai: Caller, tmp_path: Path
    ) -> None:
        seen = openai("life", out=str(tmp_path))
        created, done = seen["created"], seen["done"]
        assert (created["status"], created["model"], created["seconds"]) == ("queued", "sora-2", "4")
        assert created["id"].startswith("video_")
        assert seen["request_id"]
        assert 0 < seen["poll_after_ms"] <= 5000
        assert (done["status"], done["progress"], done["error"]) == ("completed", 100, None)
        assert (done["seed"], done["steps"], done["metadata"]) == (7, 2, {"shot": "one"})
        assert done["expires_at"] > done["completed_at"] >= done["created_at"]
        assert seen["contents"] == {"video": "video/mp4", "thumbnail": "image/webp", "spritesheet": "image/jpeg"}
        for variant, magic in MAGIC.items():
            assert magic in (tmp_path / variant).read_bytes()[:12]
        assert f"{probe(tmp_path / 'video').width}x{probe(tmp_path / 'video').height}" == done["size"]
        assert probe(tmp_path / "video").seconds == 4
        assert seen["deleted"] == {"id": created["id"], "object": "video.deleted", "deleted": True}
        assert (seen["afterwards"]["kind"], seen["afterwards"]["status"]) == ("NotFoundError", 404)

    def test_a_remix_names_its_source_and_keeps_all_but_the_prompt(self, openai: Caller) -> None:
        seen = openai("remix")
        source, remixed = seen["source"], seen["remixed"]
        assert remixed["status"] == "completed"
        assert remixed["remixed_from_video_id"] == source["id"] != remixed["id"]
        assert remixed["prompt"] == "a watermill in the snow"
        kept = ("model", "size", "seconds", "seed", "steps")
        assert [remixed[name] for name in kept] == [source[name] for name in kept]

    def test_a_list_pages_by_itself_in_both_orders(self, openai: Caller) -> None:
        seen = openai("pages")
        made = seen["made"]
        assert [video_id for video_id in seen["oldest_first"] if video_id in made] == made
        assert [video_id for video_id in seen["newest_first"] if video_id in made] == made[::-1]
        assert len(set(seen["newest_first"])) == len(seen["newest_first"])

    def test_a_first_frame_comes_in_every_form_that_the_package_can_send(
        self, openai: Caller, picture: dict[str, str], tmp_path: Path
    ) -> None:
        done = openai("images", out=str(tmp_path), **picture)
        assert {name: video["status"] for name, video in done.items()} == dict.fromkeys(done, "completed")
        assert len({pixels(tmp_path / f"{name}.mp4") for name in done}) == 1

    def test_the_models_are_listed(self, openai: Caller) -> None:
        seen = openai("models")
        assert {"tiny-2b", "tiny-5b", "tiny-5b-i2v"} <= set(seen["listed"])
        assert (seen["one"]["id"], seen["one"]["object"]) == (seen["listed"][0], "model")

    def test_a_running_video_is_cancelled_and_tried_again(self, openai: Caller) -> None:
        seen = openai("beyond")
        assert (seen["cancelled"]["status"], seen["cancelled"]["error"]["code"]) == ("failed", "cancelled")
        assert (seen["again"]["status"], seen["again"]["steps"]) == ("queued", 200)

    def test_each_mistake_raises_the_class_that_callers_catch_with_its_code_and_param(self, openai: Caller) -> None:
        seen = openai("refusals")
        assert seen == {
            "no such key": api_error("AuthenticationError", 401, "invalid_api_key"),
            "no such model": api_error("BadRequestError", 400, "model_not_found", "model"),
            "no such video": api_error("NotFoundError", 404, "not_found"),
            "no such size": api_error("BadRequestError", 400, "unsupported_value", "size"),
            "no such field": api_error("BadRequestError", 400, "unknown_parameter", "sound"),
            "no text": api_error("BadRequestError", 400, "invalid_value", "prompt"),
            "no picture": api_error("BadRequestError", 400, "image_format", "input_reference"),
            "not ready": api_error("BadRequestError", 400, "video_not_ready"),
        }

    def test_a_post_repeated_under_its_key_makes_one_video(self, openai: Caller) -> None:
        seen = openai("repeated")
        assert seen["first"] == seen["second"]
        assert (seen["other"]["kind"], seen["other"]["code"]) == ("BadRequestError", "idempotency_key_reused")

    def test_a_batch_runs_from_its_file_to_its_output_and_error_files(self, openai: Caller) -> None:
        seen = openai("batch")
        source, created, done = seen["source"], seen["created"], seen["done"]
        assert (source["purpose"], source["filename"], source["status"]) == ("batch", "shots.jsonl", "processed")
        assert (created["input_file_id"], created["endpoint"]) == (source["id"], "/v1/videos")
        assert created["expires_at"] - created["created_at"] == DAY_S
        assert (done["status"], done["metadata"]) == ("completed", {"night": "1"})
        assert done["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
        output = {line["custom_id"]: line for line in seen["output"]}
        assert output.keys() == {"good-1", "good-2"}
        for line in output.values():
            assert (line["error"], line["response"]["status_code"]) == (None, 200)
            assert line["response"]["body"]["status"] == "completed"
        (error,) = seen["errors"]
        assert (error["custom_id"], error["response"]["status_code"]) == ("bad", 400)
        assert error["response"]["body"]["error"]["param"] == "prompt"
        assert seen["listed"] == [created["id"]]
        assert {source["id"], done["output_file_id"], done["error_file_id"]} <= set(seen["files"])
        assert seen["deleted"] == {"id": source["id"], "object": "file", "deleted": True}

    def test_a_batch_with_an_unreadable_line_fails_and_names_the_line(self, openai: Caller) -> None:
        done = openai("unreadable_batch")
        assert done["status"] == "failed"
        (error,) = done["errors"]["data"]
        assert (error["code"], error["line"]) == ("invalid_json_line", 2)

    def test_a_batch_can_be_called_off(self, openai: Caller) -> None:
        seen = openai("cancelled_batch")
        assert seen["asked"]["status"] in ("cancelling", "cancelled")
        assert seen["done"]["status"] == "cancelled"

    def test_a_delivered_webhook_unwraps(self, openai: Caller, web: Web) -> None:
        path = f"/{hashlib.sha256(openai.key.encode()).hexdigest()}"
        seen = openai("webhook", receiver=web.url + path)
        posted = next(each for each in web.arrivals(path) if seen["video"].encode() in each.body)
        event = openai(
            "unwrap",
            secret=seen["endpoint"]["signing_secret"],
            headers=dict(posted.headers),
            body=posted.body.decode(),
        )
        assert event.pop("forged") == "InvalidWebhookSignatureError"
        assert event == {"type": "video.completed", "data": seen["video"], "standard": True}

    def test_the_newer_package_manages_webhook_endpoints(self, caller: NewCaller, web: Web) -> None:
        seen = caller("openai-3", "openai_python.py", "/v1")("managed_webhook", receiver=f"{web.url}/managed")
        created = seen["created"]
        assert created["signing_secret"].startswith("whsec_")
        assert (created["name"], created["event_types"]) == ("managed", ["batch.completed"])
        assert (seen["retrieved_before"], seen["rotated"]) == (True, True)
        assert seen["deleted"]["deleted"] is True
        assert seen["afterwards"]["kind"] == "NotFoundError"


class TestOpenAIForNode:
    def test_a_video_begins_at_a_streamed_picture_and_ends_as_a_file(
        self, node: Caller, picture: dict[str, str], tmp_path: Path
    ) -> None:
        seen = node("life", picture=picture["picture"], out=str(tmp_path))
        assert (seen["created"]["status"], seen["done"]["status"]) == ("queued", "completed")
        assert probe(tmp_path / "video").seconds == 4
        assert seen["deleted"]["deleted"] is True

    def test_a_picture_is_given_by_its_url(self, node: Caller, picture: dict[str, str]) -> None:
        assert node("image_url", picture_url=picture["picture_url"])["status"] == "completed"

    def test_a_list_pages_by_itself(self, node: Caller) -> None:
        seen = node("pages")
        assert seen["listed"][-3:] == seen["made"]

    def test_each_mistake_throws_the_class_that_callers_catch(self, node: Caller) -> None:
        assert node("refusals") == {
            "no such key": {**api_error("AuthenticationError", 401, "invalid_api_key"), "param": None},
            "no such model": api_error("BadRequestError", 400, "model_not_found", "model"),
            "no such video": api_error("NotFoundError", 404, "not_found"),
        }


def api_error(kind: str, status: int, code: str, param: str | None = None) -> dict[str, Any]:
    return {"kind": kind, "status": status, "code": code, "param": param}

"""zai-sdk and zhipuai, unmodified, against a running stack: what a team that changes the base URL goes on doing."""

from __future__ import annotations

import time
from pathlib import Path

import jwt
import pytest
from PIL import Image

from tests.support.clients import Caller, NewCaller
from tests.support.videos import Probe, pixels, probe


@pytest.fixture(scope="module", params=["zai-sdk", "zhipuai"])
def bigmodel(request: pytest.FixtureRequest, caller: NewCaller) -> Caller:
    return caller(request.param, "bigmodel_python.py", "/api/paas/v4")


class TestBigmodel:
    @pytest.mark.parametrize("signed", [False, True], ids=["plain key", "signed tokens"])
    def test_a_video_is_generated_and_fetched_without_a_header(
        self, bigmodel: Caller, signed: bool, tmp_path: Path
    ) -> None:
        seen = bigmodel("life", signed=signed, out=str(tmp_path))
        created, done = seen["created"], seen["done"]
        assert (created["task_status"], created["model"]) == ("PROCESSING", "cogvideox-flash")
        assert (done["task_status"], done["request_id"]) == ("SUCCESS", f"signed-{signed}")
        assert probe(tmp_path / "video").frames > 1
        assert Image.open(tmp_path / "cover").size == (
            probe(tmp_path / "video").width,
            probe(tmp_path / "video").height,
        )

    def test_the_first_frame_comes_in_every_form(
        self, bigmodel: Caller, picture: dict[str, str], tmp_path: Path
    ) -> None:
        done = bigmodel("images", out=str(tmp_path), **picture)
        assert {name: task["task_status"] for name, task in done.items()} == dict.fromkeys(done, "SUCCESS")
        assert len({pixels(tmp_path / name / "video") for name in done}) == 1

    def test_a_post_repeated_under_its_request_id_makes_one_video(self, bigmodel: Caller) -> None:
        seen = bigmodel("repeated")
        assert seen["first"] == seen["second"]
        assert (seen["other"]["kind"], seen["other"]["code"]) == ("APIRequestFailedError", "1231")

    def test_each_mistake_raises_the_class_that_callers_catch_with_its_business_code(self, bigmodel: Caller) -> None:
        seen = bigmodel("refusals", expired_token=expired_token(bigmodel.key))
        assert {name: (error["kind"], error["status"], error["code"]) for name, error in seen.items()} == {
            "no such key": ("APIAuthenticationError", 401, "1000"),
            "forged token": ("APIAuthenticationError", 401, "1004"),
            "expired token": ("APIAuthenticationError", 401, "1003"),
            "no such model": ("APIRequestFailedError", 400, "1211"),
            "no such task": ("APIStatusError", 404, "1222"),
            "no such size": ("APIRequestFailedError", 400, "1214"),
            "nothing to go by": ("APIRequestFailedError", 400, "1213"),
            "too long": ("APIRequestFailedError", 400, "1261"),
            "sound": ("APIRequestFailedError", 400, "1214"),
        }

    def test_a_batch_runs_and_its_list_ends(self, bigmodel: Caller) -> None:
        seen = bigmodel("batch")
        source, created, done = seen["source"], seen["created"], seen["done"]
        assert (source["purpose"], source["filename"]) == ("batch", "shots.jsonl")
        assert created["endpoint"] == "/v4/videos/generations"
        assert done["status"] == "completed"
        counts = done["request_counts"]
        assert (counts["total"], counts["completed"], counts["failed"]) == (3, 2, 1)
        output = {line["custom_id"]: line["response"] for line in seen["output"]}
        assert output.keys() == {"good-1", "good-2"}
        for response in output.values():
            assert (response["status_code"], response["body"]["task_status"]) == (200, "SUCCESS")
            assert response["body"]["request_id"]
        (error,) = seen["errors"]
        assert (error["custom_id"], error["response"]["status_code"]) == ("bad", 400)
        assert error["response"]["body"]["error"]["code"] == "1214"
        assert seen["listed"] == [created["id"]]
        assert source["id"] in seen["files"]
        assert seen["deleted"]["deleted"] is True


def test_the_vendors_promise_is_kept(caller: NewCaller, tmp_path: Path) -> None:
    """Its guide: `model: cogvideox`, six seconds at 1440x960 and 16 frames per second."""
    done = caller("zhipuai", "bigmodel_python.py", "/api/paas/v4")("promise", out=str(tmp_path))
    assert done["task_status"] == "SUCCESS"
    assert probe(tmp_path / "video") == Probe(width=1440, height=960, frames=96, fps=16)


def expired_token(key: str) -> str:
    """A token as the clients sign them, which expired a second ago; both moments are in milliseconds."""
    key_id, secret = key.split(".")
    now_ms = round(time.time() * 1000)
    claims = {"api_key": key_id, "exp": now_ms - 1000, "timestamp": now_ms - 211_000}
    return jwt.encode(claims, secret, algorithm="HS256", headers={"sign_type": "SIGN"})

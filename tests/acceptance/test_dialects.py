"""One video, end to end, in each dialect: from the request over HTTP to an MP4 that plays."""

from __future__ import annotations

import io
import time

import av
import httpx
import pytest

from tests.support.stack import Up, wait_for

pytestmark = pytest.mark.xdist_group("stack")

STEPS = 4


def test_the_openai_dialect_renders_shows_its_steps_and_serves_the_content(stack: Up) -> None:
    with stack.client() as client:
        created = client.post(
            "/v1/videos", json={"model": "sora-2", "prompt": "a watermill", "num_inference_steps": STEPS}
        ).json()
        assert (created["status"], created["model"]) == ("queued", "sora-2")
        video = wait_for(client, created["id"])
        assert (video["progress"], video["step"], video["steps"]) == (100, STEPS, STEPS)

        mp4 = client.get(f"/v1/videos/{video['id']}/content").raise_for_status()
        assert mp4.headers["content-type"] == "video/mp4"
        width, height = map(int, video["size"].split("x"))
        assert _decoded(mp4.content) == (width, height, 33, 8)
        cover = client.get(f"/v1/videos/{video['id']}/content?variant=thumbnail").raise_for_status()
        assert cover.content.startswith(b"\x89PNG")

        assert client.delete(f"/v1/videos/{video['id']}").json()["deleted"] is True
        assert client.get(f"/v1/videos/{video['id']}").status_code == 404


def test_the_openai_dialect_takes_multipart_too(stack: Up) -> None:
    with stack.client() as client:
        fields = {"prompt": "a watermill", "num_inference_steps": "2", "num_frames": "9"}
        created = client.post("/v1/videos", files={name: (None, value) for name, value in fields.items()}).json()
        assert wait_for(client, created["id"])["steps"] == 2


def test_the_bigmodel_dialect_ends_with_urls_that_open_without_a_header(stack: Up) -> None:
    with stack.client() as client:
        request = {"model": "CogVideoX-Flash", "prompt": "a watermill", "num_inference_steps": 2, "num_frames": 9}
        task = client.post("/api/paas/v4/videos/generations", json=request).raise_for_status().json()
        assert task["task_status"] == "PROCESSING"
        deadline = time.monotonic() + 90
        while (result := client.get(f"/api/paas/v4/async-result/{task['id']}").json())["task_status"] == "PROCESSING":
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert result["task_status"] == "SUCCESS"
    (video,) = result["video_result"]
    assert _decoded(httpx.get(video["url"]).raise_for_status().content)[2:] == (9, 8)
    assert httpx.get(video["cover_image_url"]).raise_for_status().content.startswith(b"\x89PNG")


def test_a_request_without_a_key_is_refused_in_each_dialect(stack: Up) -> None:
    openai = httpx.post(f"{stack.ready['api']}/v1/videos", json={"prompt": "x"})
    bigmodel = httpx.post(f"{stack.ready['api']}/api/paas/v4/videos/generations", json={"prompt": "x"})
    assert (openai.status_code, bigmodel.status_code) == (401, 401)
    assert openai.json()["error"]["code"] == "invalid_api_key"
    assert bigmodel.json()["error"]["code"] == "1001"


def _decoded(data: bytes) -> tuple[int, int, int, float]:
    """Width, height, frames and frames per second of an MP4, by decoding all of it."""
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        frames = sum(1 for _ in container.decode(stream))
        assert stream.average_rate is not None
        return stream.width, stream.height, frames, float(stream.average_rate)

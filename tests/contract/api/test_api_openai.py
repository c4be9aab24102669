"""The OpenAI dialect on a real database and a real bucket."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx
import pytest

from api.openai.schemas import Video, VideoList
from tests.support.api import CLUSTER, COVER, VIDEO, Api

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def create(api: Api, **body: Any) -> str:
    answer = await api.http.post("/v1/videos", json={"prompt": "a lighthouse", **body})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def retrieve(api: Api, video_id: str) -> Video:
    answer = await api.http.get(f"/v1/videos/{video_id}")
    assert answer.status_code == 200, answer.text
    return Video.model_validate_json(answer.content, extra="forbid")


async def test_creating_from_json_answers_a_queued_video_with_every_key(api: Api) -> None:
    body = {"prompt": "a 🌊", "model": "Sora-2", "seconds": "4", "size": "64x96", "seed": 7, "user": "u", "n": 1}
    answer = await api.http.post("/v1/videos", json=body)
    shown = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert shown == {
        "id": shown["id"],
        "object": "video",
        "created_at": shown["created_at"],
        "status": "queued",
        "model": "Sora-2",
        "progress": 0,
        "seconds": "4",
        "size": "64x96",
        "prompt": "a 🌊",
        "completed_at": None,
        "expires_at": None,
        "error": None,
        "remixed_from_video_id": None,
        "stage": None,
        "step": 0,
        "steps": 20,
        "started_at": None,
        "rendered_by": "tiny-2b",
        "negative_prompt": None,
        "num_inference_steps": 20,
        "guidance_scale": 6.0,
        "seed": 7,
        "num_frames": 33,
        "fps": 8,
        "profile": "exact",
        "adapter": None,
        "adapter_scale": None,
        "reproducible": False,
        "resume": "exact",
        "watermark": False,
        "priority": 10,
        "run_at": None,
        "deadline": None,
        "metadata": None,
        "queue_reason": None,
        "forecast": None,
        "strict_prompt": False,
        "prompt_tokens": None,
        "prompt_cut": None,
        "webhook_url": None,
        "attempts": 0,
        "max_attempts": 3,
        "claims": 0,
        "retry_of": None,
        "predicted_gpu_seconds": shown["predicted_gpu_seconds"],
        "predicted_charge": shown["predicted_charge"],
        "gpu_seconds": None,
        "charge": None,
        "incidents": [],
        "checkpoint_step": None,
        "continuity": None,
        "resumed_at": None,
        "numerics": None,
    }
    assert await api.rows() == 1


async def test_extensions_reach_the_render(api: Api) -> None:
    video_id = await create(
        api, width=64, height=64, num_frames=17, fps=8, num_inference_steps=3, guidance_scale=1.5,
        negative_prompt="blur", extra_body={"seed": 5},
    )  # fmt: skip
    spec = (await api.claim(video_id)).spec
    assert (spec.width, spec.height, spec.num_frames, spec.fps) == (64, 64, 17, 8)
    assert (spec.num_inference_steps, spec.guidance_scale, spec.negative_prompt, spec.seed) == (3, 1.5, "blur", 5)


async def test_multipart_as_the_clients_send_it_is_the_same_request(api: Api) -> None:
    # Numbers as text, `extra_body` as JSON text.
    parts = {
        "prompt": (None, "a lighthouse 🌊"),
        "seconds": (None, "4"),
        "guidance_scale": (None, "1.5"),
        "generate_sound": (None, "false"),
        "extra_body": (None, '{"num_inference_steps": 3}'),
    }
    answer = await api.http.post("/v1/videos", files=parts)
    assert answer.status_code == 200, answer.text
    spec = (await api.claim(answer.json()["id"])).spec
    assert (spec.prompt, spec.num_frames, spec.guidance_scale) == ("a lighthouse 🌊", 33, 1.5)
    assert spec.num_inference_steps == 3


async def test_a_browsers_form_may_leave_its_file_field_untouched_and_an_empty_file_is_refused(api: Api) -> None:
    def form(filename: str) -> bytes:
        """As browsers send it; no chosen file is an empty one without a name (HTML, "constructing the entry list")."""
        return (
            b'--mill\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na lighthouse\r\n'
            b'--mill\r\nContent-Disposition: form-data; name="input_reference"; filename="%b"\r\n'
            b"Content-Type: application/octet-stream\r\n\r\n\r\n--mill--\r\n"
        ) % filename.encode()

    kind = {"content-type": "multipart/form-data; boundary=mill"}
    untouched = await api.http.post("/v1/videos", content=form(""), headers=kind)
    assert untouched.status_code == 200, untouched.text
    empty = await api.http.post("/v1/videos", content=form("mill.png"), headers=kind)
    assert (empty.status_code, empty.json()["error"]["param"]) == (400, "input_reference")


async def test_progress_follows_real_steps_until_the_video_is_complete(api: Api) -> None:
    video_id = await create(api)
    queued = await api.http.get(f"/v1/videos/{video_id}")
    assert 250 <= int(queued.headers["openai-poll-after-ms"]) <= 5_000
    claim = await api.claim(video_id)
    assert (await retrieve(api, video_id)).status == "in_progress"
    await api.step(claim, 5)
    shown = await retrieve(api, video_id)
    assert (shown.progress, shown.stage, shown.step, shown.steps) == (25, "denoising", 5, 20)
    await api.step(claim, 20)
    assert (await retrieve(api, video_id)).progress == 99


async def test_a_finished_video_is_complete_and_says_when_it_goes(api: Api) -> None:
    video_id = await create(api)
    await api.succeed(video_id)
    shown = await retrieve(api, video_id)
    assert (shown.status, shown.progress, shown.error) == ("completed", 100, None)
    assert shown.completed_at is not None
    assert shown.expires_at == shown.completed_at + int(api.settings.retention.jobs_s)
    assert "openai-poll-after-ms" not in (await api.http.get(f"/v1/videos/{video_id}")).headers


async def test_a_failed_video_says_why(api: Api) -> None:
    video_id = await create(api)
    await api.fail(video_id)
    shown = await retrieve(api, video_id)
    assert shown.status == "failed"
    assert shown.error is not None
    assert (shown.error.code, shown.error.message) == ("out_of_memory", "the render did not fit")


@pytest.mark.parametrize(
    ("variant", "data", "media_type", "ending"),
    [("video", VIDEO, "video/mp4", "mp4"), ("thumbnail", COVER, "image/png", "png")],
)
async def test_content_is_the_whole_object(api: Api, variant: str, data: bytes, media_type: str, ending: str) -> None:
    video_id = await create(api)
    await api.succeed(video_id)
    answer = await api.http.get(f"/v1/videos/{video_id}/content", params={"variant": variant})
    assert (answer.status_code, answer.content) == (200, data)
    assert answer.headers["content-type"] == media_type
    assert answer.headers["content-length"] == str(len(data))
    assert answer.headers["content-disposition"] == f'attachment; filename="{video_id}.{ending}"'
    assert answer.headers["etag"] == f'"{hashlib.sha256(data).hexdigest()}"'


async def test_content_in_ranges(api: Api) -> None:
    video_id = await create(api)
    await api.succeed(video_id)
    size = len(VIDEO)

    async def part(header: str, **headers: str) -> httpx.Response:
        return await api.http.get(f"/v1/videos/{video_id}/content", headers={"range": header, **headers})

    middle = await part("bytes=100-299")
    assert (middle.status_code, middle.content) == (206, VIDEO[100:300])
    assert middle.headers["content-range"] == f"bytes 100-299/{size}"
    assert middle.headers["content-length"] == "200"
    assert (await part("bytes=-16")).content == VIDEO[-16:]
    assert (await part(f"bytes={size - 1}-")).content == VIDEO[-1:]
    assert (await part("bytes=0-9", **{"if-range": middle.headers["etag"]})).status_code == 206
    assert (await part("bytes=0-9", **{"if-range": '"another"'})).status_code == 200
    behind = await part(f"bytes={size}-")
    assert behind.status_code == 416
    assert behind.headers["content-range"] == f"bytes */{size}"
    assert behind.json()["error"]["code"] == "range_not_satisfiable"


async def test_content_that_cannot_be_had_is_an_error_that_says_why(api: Api) -> None:
    video_id = await create(api)

    async def refused(variant: str, status: int) -> dict[str, Any]:
        answer = await api.http.get(f"/v1/videos/{video_id}/content", params={"variant": variant})
        assert answer.status_code == status
        error: dict[str, Any] = answer.json()["error"]
        return error

    assert (await refused("video", 400))["code"] == "video_not_ready"
    result = await api.succeed(video_id)
    assert (await refused("spritesheet", 404))["param"] == "variant"
    assert (await refused("film", 400))["param"] == "variant"
    api.services.objects.delete([result.video.key])
    assert "is gone" in (await refused("video", 404))["message"]


async def test_pages_walk_through_every_video_in_both_orders(api: Api) -> None:
    made = [await create(api, seed=seed) for seed in range(5)]
    for order, expected in (("asc", made), ("desc", made[::-1])):
        seen: list[str] = []
        after: dict[str, str] = {}
        for more in (True, True, False):
            answer = await api.http.get("/v1/videos", params={"limit": "2", "order": order, **after})
            page = VideoList.model_validate_json(answer.content)
            seen += [video.id for video in page.data]
            assert (page.first_id, page.last_id, page.has_more) == (page.data[0].id, page.data[-1].id, more)
            after = {"after": seen[-1]}
        assert seen == expected
    assert [video["id"] for video in (await api.http.get("/v1/videos")).json()["data"]] == made[::-1]


async def test_an_empty_list_has_no_first_and_no_last(api: Api) -> None:
    shown = (await api.http.get("/v1/videos")).json()
    assert shown == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "101"}, {"limit": "many"}, {"order": "up"}])
async def test_a_listing_that_cannot_be_is_a_400_in_the_dialect(api: Api, query: dict[str, str]) -> None:
    answer = await api.http.get("/v1/videos", params=query)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == next(iter(query))
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("stage", ["queued", "running", "succeeded"])
async def test_a_deleted_video_is_gone_whatever_it_was_doing(api: Api, stage: str) -> None:
    video_id = await create(api)
    if stage == "running":
        claim = await api.claim(video_id)
    elif stage == "succeeded":
        await api.succeed(video_id)
    # As openai-python sends it: a JSON content type and no body.
    answer = await api.http.delete(f"/v1/videos/{video_id}", headers={"content-type": "application/json"})
    assert answer.json() == {"id": video_id, "object": "video.deleted", "deleted": True}
    for path in (f"/v1/videos/{video_id}", f"/v1/videos/{video_id}/content"):
        assert (await api.http.get(path)).status_code == 404
    assert (await api.http.delete(f"/v1/videos/{video_id}")).status_code == 404
    assert (await api.http.get("/v1/videos")).json()["data"] == []
    if stage == "running":
        assert claim.token in await api.dispatching.cancel_requests(CLUSTER)

"""The bigmodel dialect on a real database and a real bucket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio.to_thread
import httpx
import pytest

from tests.support.api import COVER, VIDEO, Api

pytestmark = pytest.mark.asyncio(loop_scope="module")

GENERATIONS = "/api/paas/v4/videos/generations"
NEXT = "its turn: it is next, when a worker is free"


async def generate(api: Api, **body: Any) -> dict[str, Any]:
    answer = await api.http.post(GENERATIONS, json={"model": "cogvideox-3", "prompt": "a lighthouse", **body})
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def result(api: Api, video_id: str) -> dict[str, Any]:
    # The vendor's clients send a JSON content type with every GET, and no body.
    headers = {"content-type": "application/json; charset=UTF-8"}
    answer = await api.http.get(f"/api/paas/v4/async-result/{video_id}", headers=headers)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def test_a_request_as_the_vendors_client_sends_it_is_accepted(api: Api) -> None:
    # zhipuai sends every key it knows, unset ones as null; hand-written clients send numbers as text.
    unset = ("image_url", "quality", "with_audio", "watermark_enabled", "fps", "user_id", "sensitive_word_check")
    shown = await generate(
        api, model="CogVideoX-3", size="64x96", duration="4", request_id="mine", **dict.fromkeys(unset)
    )
    assert shown == {"id": shown["id"], "model": "CogVideoX-3", "request_id": "mine", "task_status": "PROCESSING"}
    spec = (await api.claim(shown["id"])).spec
    assert (spec.model, spec.width, spec.height, spec.num_frames) == ("tiny-2b", 64, 96, 33)


async def test_a_submit_hands_nothing_to_a_thread(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """As FastAPI does with a dependency that is no coroutine function, though it look at a string only."""
    handed: list[object] = []

    async def hand(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        handed.append(function)
        return function(*arguments)

    monkeypatch.setattr(anyio.to_thread, "run_sync", hand)
    await generate(api)
    assert handed == []


async def test_defaults_are_five_seconds_of_the_models_own_size_and_rate(api: Api) -> None:
    spec = (await api.claim((await generate(api))["id"])).spec
    assert (spec.width, spec.height, spec.num_frames, spec.fps) == (96, 64, 41, 8)


async def test_our_own_fields_reach_the_render_and_unknown_or_vidu_fields_are_ignored(api: Api) -> None:
    shown = await generate(
        api, seed=5, negative_prompt="blur", num_inference_steps="3", guidance_scale="1.5", num_frames=9,
        watermark_enabled=False, with_audio="false", quality="quality", style="general", off_peak=True, novelty=1,
        sensitive_word_check={"type": "ALL", "status": "DISABLE"}, user_id="somebody",
    )  # fmt: skip
    spec = (await api.claim(shown["id"])).spec
    assert (spec.seed, spec.negative_prompt, spec.num_inference_steps) == (5, "blur", 3)
    assert (spec.guidance_scale, spec.num_frames) == (1.5, 9)


async def test_a_request_without_an_id_gets_one_that_stays(api: Api) -> None:
    shown = await generate(api)
    assert shown["request_id"]
    assert (await result(api, shown["id"]))["request_id"] == shown["request_id"]


async def test_success_carries_signed_links_that_open_without_a_header(api: Api) -> None:
    task = await generate(api, request_id="mine")
    processing = {"id": task["id"], "model": "cogvideox-3", "request_id": "mine", "task_status": "PROCESSING"}
    assert await result(api, task["id"]) == {**processing, "queue_reason": NEXT}
    await api.succeed(task["id"])
    done = await result(api, task["id"])
    (links,) = done.pop("video_result")
    assert done == {**processing, "task_status": "SUCCESS"}
    async with httpx.AsyncClient() as anybody:
        video, cover = await anybody.get(links["url"]), await anybody.get(links["cover_image_url"])
        assert (video.status_code, video.content) == (200, VIDEO)
        assert (cover.status_code, cover.content) == (200, COVER)
        assert (await anybody.get(links["url"].partition("?")[0])).is_client_error


async def test_a_failure_is_a_200_that_says_fail_and_why(api: Api) -> None:
    task = await generate(api)
    await api.fail(task["id"])
    failed = await result(api, task["id"])
    assert failed["task_status"] == "FAIL"
    assert failed["error"] == {"code": "500", "message": "out_of_memory: the render did not fit"}
    assert "video_result" not in failed


async def test_a_cancelled_task_is_a_fail(api: Api) -> None:
    task = await generate(api)
    await api.services.jobs.cancel(api.tenant, task["id"])
    assert (await result(api, task["id"]))["error"]["message"] == "the task was cancelled"


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"prompt": None}, "1213", "prompt"),
        ({"model": None}, "1213", "model"),
        ({"model": "cogvideox-9"}, "1211", "model"),
        ({"prompt": "x" * 2_001}, "1261", "prompt"),
        ({"image_url": "https://example.org/cat.png"}, "1214", "image_url"),
        ({"with_audio": True}, "1214", "with_audio"),
        ({"image_url": ["https://a.example/1.png", "https://a.example/2.png"]}, "1214", "image_url"),
        ({"user_id": "short"}, "1214", "user_id"),
        ({"size": "4096x2160"}, "1214", "size"),
        ({"fps": 61}, "1214", "fps"),
        ({"duration": 10}, "1214", "duration"),
        ({"duration": 0}, "1214", "duration"),
        ({"quality": "best"}, "1214", "quality"),
        ({"request_id": "x" * 129}, "1261", "request_id"),
        ({"request_id": "a\u0000"}, "1214", "request_id"),
    ],
)
async def test_what_cannot_be_done_is_refused_by_name_and_business_code(
    api: Api, changes: dict[str, Any], code: str, field: str
) -> None:
    answer = await api.http.post(GENERATIONS, json={"model": "cogvideox-3", "prompt": "sea", **changes})
    assert answer.status_code == 400
    assert answer.json().keys() == {"error"}
    assert answer.json()["error"]["code"] == code
    assert answer.json()["error"]["message"].startswith(f"{field}: ")
    assert await api.rows() == 0


@pytest.mark.parametrize(
    ("header", "code"),
    [(None, "1001"), ("Bearer", "1002"), ("Bearer eyJh.eyJh.c2ln", "1002"), ("Bearer someone.else", "1000")],
)
async def test_a_request_without_a_good_key_is_a_401_with_its_code(api: Api, header: str | None, code: str) -> None:
    del api.http.headers["authorization"]
    headers = {} if header is None else {"authorization": header}
    for method, path in (("POST", GENERATIONS), ("GET", "/api/paas/v4/async-result/video_1")):
        answer = await api.http.request(method, path, headers=headers, content=b"not even JSON")
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == code


async def test_the_key_works_without_bearer(api: Api) -> None:
    api.http.headers["authorization"] = await api.key(api.tenant)
    await generate(api)

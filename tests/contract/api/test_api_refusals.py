"""Bad input and bad keys: in both dialects a clear error in the dialect's body, and no row."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from tests.support.api import Api

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPENAI = "/v1/videos"
BIGMODEL = "/api/paas/v4/videos/generations"
ROUTES = pytest.mark.parametrize("route", [OPENAI, BIGMODEL])


def blamed(answer: httpx.Response) -> str | None:
    """The field that an error names, after checking that the error has the form of its dialect."""
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    error = answer.json()["error"]
    if str(answer.request.url.path).startswith("/api/paas"):
        assert error.keys() == {"code", "message"}
        assert error["code"].isdecimal()
        field, colon, _ = error["message"].partition(": ")
        return field if colon and field.isidentifier() else None
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == ("server_error" if answer.status_code >= 500 else "invalid_request_error")
    param: str | None = error["param"]
    return param


@ROUTES
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": " \n"}, "prompt"),
        ({"prompt": "x" * 100_000}, "prompt"),
        ({"prompt": "a\u0000b"}, "prompt"),
        ({"prompt": "a\u001b[31m"}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": ["a"]}, "prompt"),
        ({"negative_prompt": "a\u0007"}, "negative_prompt"),
        ({"model": "no-such-model"}, "model"),
        ({"model": 3}, "model"),
        ({"size": "97x64"}, "size"),
        ({"size": "big"}, "size"),
        ({"size": 64}, "size"),
        ({"size": "0x0"}, "size"),
        ({"fps": 7}, "fps"),
        ({"num_frames": 10}, "num_frames"),
        ({"num_frames": 10**30}, "num_frames"),
        ({"num_frames": 9.5}, "num_frames"),
        ({"num_frames": True}, "num_frames"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"num_inference_steps": "many"}, "num_inference_steps"),
        ({"guidance_scale": 21}, "guidance_scale"),
        ({"guidance_scale": "nan"}, "guidance_scale"),
        ({"seed": -1}, "seed"),
        ({"seed": {}}, "seed"),
    ],
)
async def test_a_wrong_field_is_named_and_makes_no_row(
    api: Api, route: str, changes: dict[str, Any], field: str
) -> None:
    answer = await api.http.post(route, json={"model": "tiny-2b", "prompt": "sea", **changes})
    assert answer.status_code == 400, answer.text
    assert blamed(answer) == field
    assert await api.rows() == 0


@ROUTES
async def test_half_a_surrogate_pair_is_refused_by_name(api: Api, route: str) -> None:
    answer = await api.http.post(route, content=b'{"model": "tiny-2b", "prompt": "\\ud83d"}')
    assert (answer.status_code, blamed(answer)) == (400, "prompt")
    assert await api.rows() == 0


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"seconds": "7"}, "seconds"),
        ({"seconds": "0"}, "seconds"),
        ({"seconds": "soon"}, "seconds"),
        ({"input_reference": {"image_url": "https://example.org/cat.png"}}, "input_reference"),
        ({"characters": [{"id": "c"}]}, "characters"),
        ({"generate_sound": True}, "generate_sound"),
        ({"enable_frame_interpolation": True}, "enable_frame_interpolation"),
        ({"flow_shift": 3.0}, "flow_shift"),
        ({"n": 2}, "n"),
        ({"width": 64}, "height"),
        ({"num_inference_step": 5}, "num_inference_step"),
        ({"extra_body": "{"}, "extra_body"),
    ],
)
async def test_what_openais_dialect_has_and_we_cannot_do_is_refused_by_name(
    api: Api, changes: dict[str, Any], field: str
) -> None:
    answer = await api.http.post(OPENAI, json={"prompt": "sea", **changes})
    assert (answer.status_code, blamed(answer)) == (400, field)
    assert await api.rows() == 0


@pytest.mark.parametrize(
    "parts",
    [
        {"input_reference": ("cat.png", b"\x89PNG", "image/png")},
        {"input_reference[image_url]": (None, "https://example.org/cat.png")},
        {"characters[][id]": (None, "c")},
    ],
)
async def test_what_a_form_adds_and_we_cannot_do_is_refused_by_name(api: Api, parts: dict[str, Any]) -> None:
    answer = await api.http.post(OPENAI, files={"prompt": (None, "sea"), **parts})
    assert (answer.status_code, blamed(answer)) == (400, next(iter(parts)).partition("[")[0])
    assert await api.rows() == 0


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ({"extra_body": ("x.json", b"{}", "application/json")}, "extra_body"),
        ({"prompt": ("prompt.txt", b"sea", "text/plain")}, "prompt"),
        ({"[": (None, "x")}, "["),
        ({"[a]": (None, "x")}, "[a]"),
        ({"extra_body[": (None, "x")}, "extra_body["),
        ({"extra_body[sed]": (None, "7")}, "sed"),
    ],
)
async def test_a_form_field_that_cannot_be_is_refused_by_its_own_name(
    api: Api, parts: dict[str, Any], field: str
) -> None:
    answer = await api.http.post(OPENAI, files={"prompt": (None, "sea"), **parts})
    assert (answer.status_code, blamed(answer)) == (400, field)
    assert await api.rows() == 0


async def test_a_form_field_given_twice_is_refused_rather_than_chosen_from(api: Api) -> None:
    answer = await api.http.post(OPENAI, files=[("prompt", (None, "sea")), ("prompt", (None, "land"))])
    assert (answer.status_code, blamed(answer)) == (400, "prompt")
    assert await api.rows() == 0


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("boundary=XX; charset=undefined", b'--XX\r\ncontent-disposition: form-data; name="prompt"\r\n\r\na\r\n--XX--'),
        ("boundary=XX", b'--XX\r\ncontent-disposition: form-data; name="prompt"\r\n\r\n\xe9\r\n--XX--'),
        ("boundary=XX", b'--XX\r\ncontent-disposition: form-data; name="prompt"\r\n\r\na\r\n--XX\r\ncontent-dis'),
    ],
)
async def test_a_form_that_is_not_utf8_or_not_complete_is_a_400(api: Api, kind: str, body: bytes) -> None:
    answer = await api.http.post(OPENAI, content=body, headers={"content-type": f"multipart/form-data; {kind}"})
    assert answer.status_code == 400, answer.text
    blamed(answer)
    assert await api.rows() == 0


@ROUTES
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"sea"',
        b"null",
        b"[" * 100_000,
        b'{"prompt": NaN}',
        b'{"seed": ' + b"9" * 5000 + b"}",
        b"\xff",
    ],
)
async def test_a_body_that_is_no_json_object_is_a_400(api: Api, route: str, body: bytes) -> None:
    answer = await api.http.post(route, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    blamed(answer)
    assert await api.rows() == 0


@ROUTES
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_a_wrong_content_type_is_a_400_that_says_so(api: Api, route: str, kind: str) -> None:
    answer = await api.http.post(route, content=b'{"prompt": "sea"}', headers={"content-type": kind})
    assert answer.status_code == 400
    blamed(answer)
    assert await api.rows() == 0


@ROUTES
@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_over_the_limit_is_a_413_before_it_was_read_to_its_end(
    api: Api, route: str, announced: bool
) -> None:
    limit, chunk = api.settings.max_request_bytes, 2**16
    read = 0
    read_before_answer: list[int] = []

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        async def counting_receive() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            return message

        async def noting_send(message: Message) -> None:
            read_before_answer.append(read)
            await send(message)

        await api.app(scope, counting_receive, noting_send)

    async def body() -> AsyncIterator[bytes]:
        for _ in range(50 * 2**20 // chunk):
            yield b" " * chunk

    headers = {**api.http.headers} | ({"content-length": str(50 * 2**20)} if announced else {})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(watched), base_url="http://api") as client:
        answer = await client.post(route, content=body(), headers=headers)
    assert answer.status_code == 413
    blamed(answer)
    assert read_before_answer[0] == (0 if announced else (limit // chunk + 1) * chunk)
    assert await api.rows() == 0


@ROUTES
async def test_a_revoked_key_and_no_key_are_401s_before_anything_is_read(api: Api, route: str) -> None:
    key = api.http.headers["authorization"].removeprefix("Bearer ")
    await api.services.store.revoke_key(key.split(".")[0])
    for headers in ({}, {"authorization": ""}):
        answer = await api.http.post(route, json={"prompt": 5}, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert blamed(answer) is None
    assert await api.rows() == 0


@pytest.mark.parametrize(
    "trick", ["..%2f..%2fetc%2fpasswd", "%2e%2e", "video_", "video_' OR 1=1", "%00", "video_" + "0" * 33, "x" * 3_000]
)
async def test_a_path_trick_is_a_404(api: Api, trick: str) -> None:
    for method, path in (
        ("GET", "/v1/videos/{}"),
        ("GET", "/v1/videos/{}/content"),
        ("DELETE", "/v1/videos/{}"),
        ("GET", "/api/paas/v4/async-result/{}"),
    ):
        answer = await api.http.request(method, path.format(trick))
        assert answer.status_code == 404, path
        blamed(answer)


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/videos", "GET, POST"),
        ("/v1/videos/video_1", "GET, DELETE"),
        ("/v1/videos/video_1/content", "GET, HEAD"),
        (BIGMODEL, "POST"),
    ],
)
async def test_a_405_lists_every_method_of_the_path(api: Api, path: str, methods: str) -> None:
    answer = await api.http.put(path)
    assert (answer.status_code, answer.headers["allow"]) == (405, methods)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/videos/", 404),
        ("PUT", "/v1/videos", 405),
        ("GET", "/nowhere", 404),
        ("GET", "/api/paas/v4/nothing", 404),
        ("POST", BIGMODEL + "/", 404),
        ("GET", BIGMODEL, 405),
    ],
)
async def test_unknown_routes_and_methods_answer_in_the_dialect_without_a_redirect(
    api: Api, method: str, path: str, status: int
) -> None:
    answer = await api.http.request(method, path)
    assert answer.status_code == status
    blamed(answer)
    assert ("allow" in answer.headers) == (status == 405)

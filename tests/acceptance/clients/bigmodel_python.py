"""What callers of zhipuai and of its successor zai-sdk do: the same calls, on a client of another name."""

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import scenario

try:
    from zai import ZhipuAiClient as Client
except ImportError:
    from zhipuai import ZhipuAI as Client  # type: ignore[no-redef]

QUICK = {"num_inference_steps": 1, "num_frames": 9}
MODEL = "cogvideox-flash"
ENDPOINT = "/v4/videos/generations"
ENDED = ("completed", "failed", "expired", "cancelled")


def life(url: str, key: str, signed: bool, out: str) -> dict[str, Any]:
    """A video until its file is there, with the key as it is or with tokens signed by it."""
    client = Client(base_url=url, api_key=key, disable_token_cache=not signed)
    created = client.videos.generations(
        model=MODEL, prompt="a watermill", user_id="user-0001", request_id=f"signed-{signed}", extra_body=QUICK
    )
    return {"created": created.model_dump(), "done": finished(client, created.id, Path(out))}


def promise(url: str, key: str, out: str) -> dict[str, Any]:
    """What the vendor's guide showed when CogVideoX was new: six seconds, 1440x960, 16 frames per second."""
    client = Client(base_url=url, api_key=key)
    created = client.videos.generations(
        model="cogvideox", prompt="a watermill", size="1440x960", fps=16, duration=6, quality="speed", with_audio=False
    )
    return finished(client, created.id, Path(out))


def images(url: str, key: str, picture: str, picture_url: str, out: str) -> dict[str, Any]:
    """The same video begun at the same picture, given in every form."""
    client = Client(base_url=url, api_key=key)
    plain = base64.b64encode(Path(picture).read_bytes()).decode()
    forms: dict[str, Any] = {
        "url": picture_url,
        "base64": plain,
        "data": f"data:image/png;base64,{plain}",
        "list": [picture_url],
        "dict": {"url": picture_url},
    }
    extra = {"num_inference_steps": 1, "seed": 11}
    made = {
        name: client.videos.generations(model=MODEL, prompt="the mill turns", image_url=form, extra_body=extra).id
        for name, form in forms.items()
    }
    done = {}
    for name, task_id in made.items():
        (Path(out) / name).mkdir()
        done[name] = finished(client, task_id, Path(out) / name)
    return done


def repeated(url: str, key: str) -> dict[str, Any]:
    """The same POST twice under one request_id, and another under it."""
    client = Client(base_url=url, api_key=key, max_retries=0)

    def generate(prompt: str) -> str:
        return str(client.videos.generations(model=MODEL, prompt=prompt, request_id="shot-1", extra_body=QUICK).id)

    return {"first": generate("one"), "second": generate("one"), "other": refusal(lambda: generate("another"))}


def refusals(url: str, key: str, expired_token: str) -> dict[str, Any]:
    """What is raised for each kind of mistake."""
    client = Client(base_url=url, api_key=key, max_retries=0)
    generate = client.videos.generations
    stranger = Client(base_url=url, api_key="nobody.secret", max_retries=0)
    late = Client(base_url=url, api_key=expired_token, max_retries=0)
    forger = Client(base_url=url, api_key=f"{key.split('.')[0]}.guess", disable_token_cache=False, max_retries=0)
    return {
        "no such key": refusal(lambda: stranger.videos.generations(model=MODEL, prompt="x")),
        "forged token": refusal(lambda: forger.videos.retrieve_videos_result("x")),
        "expired token": refusal(lambda: late.videos.retrieve_videos_result("x")),
        "no such model": refusal(lambda: generate(model="no-such-model", prompt="x")),
        "no such task": refusal(lambda: client.videos.retrieve_videos_result("video_0198c5a7e3b97d6f8a0c1f2e3d4c5b6a")),
        "no such size": refusal(lambda: generate(model=MODEL, prompt="x", size="4000x17")),
        "nothing to go by": refusal(lambda: generate(model=MODEL)),
        "too long": refusal(lambda: generate(model=MODEL, prompt="x" * 5000)),
        "sound": refusal(lambda: generate(model=MODEL, prompt="x", with_audio=True)),
    }


def batch(url: str, key: str) -> dict[str, Any]:
    """A file of requests, one of them wrong, from the upload to the output and error files."""
    client = Client(base_url=url, api_key=key)
    good, bad = {"model": MODEL, "prompt": "one", **QUICK}, {"model": MODEL, "prompt": " "}
    lines = [
        {"custom_id": name, "method": "POST", "url": ENDPOINT, "body": body}
        for name, body in {"good-1": good, "good-2": good, "bad": bad}.items()
    ]
    text = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
    source = client.files.create(file=("shots.jsonl", text), purpose="batch")
    created = client.batches.create(
        completion_window="24h", endpoint=ENDPOINT, input_file_id=source.id, auto_delete_input_file=False
    )
    deadline = time.monotonic() + 60
    while (done := client.batches.retrieve(created.id)).status not in ENDED:
        assert time.monotonic() < deadline, done
        time.sleep(0.2)
    output, errors = (
        [json.loads(line) for line in client.files.content(file_id).content.splitlines()] if file_id else None
        for file_id in (done.output_file_id, done.error_file_id)
    )
    return {
        "source": source.model_dump(),
        "created": created.model_dump(),
        "done": done.model_dump(),
        "output": output,
        "errors": errors,
        "listed": [each.id for each in client.batches.list(limit=1)],  # ends at an empty page only
        "files": [each.id for each in client.files.list(purpose="batch").data],
        "deleted": client.files.delete(source.id).model_dump(),
    }


def finished(client: Any, task_id: str, out: Path) -> dict[str, Any]:
    """A task's end; its video and cover fetched without a header, as end users do."""
    deadline = time.monotonic() + 120
    while (task := client.videos.retrieve_videos_result(task_id)).task_status == "PROCESSING":
        assert time.monotonic() < deadline, task
        time.sleep(0.1)
    if task.task_status == "SUCCESS":
        (video,) = task.video_result
        (out / "video").write_bytes(httpx.get(video.url).raise_for_status().content)
        (out / "cover").write_bytes(httpx.get(video.cover_image_url).raise_for_status().content)
    return dict(task.model_dump())


def refusal(call: Callable[[], object]) -> dict[str, Any]:
    """What a call raises: its class, HTTP status and business code."""
    try:
        answer = call()
    except Exception as error:
        response: httpx.Response = error.response  # type: ignore[attr-defined]
        return {
            "kind": type(error).__name__,
            "status": response.status_code,
            "code": response.json()["error"]["code"],
            "message": response.json()["error"]["message"],
        }
    raise AssertionError(f"was not refused: {answer}")


scenario.run(life, promise, images, repeated, refusals, batch)

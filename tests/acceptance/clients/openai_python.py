"""What callers of the openai package do, with 2.x and 3.x alike."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import scenario
from openai import OpenAI
from standardwebhooks import Webhook

QUICK = {"num_inference_steps": 1, "num_frames": 9}
ENDED = ("completed", "failed", "expired", "cancelled")


def life(url: str, key: str, out: str) -> dict[str, Any]:
    """A video from its creation to its deletion."""
    videos = OpenAI(base_url=url, api_key=key).videos
    asked = {"seed": 7, "num_inference_steps": 2, "negative_prompt": "people", "metadata": {"shot": "one"}}
    answer = videos.with_raw_response.create(prompt="a watermill", model="sora-2", seconds="4", extra_body=asked)
    created = answer.parse()
    waiting = videos.with_raw_response.retrieve(created.id).headers
    done = videos.poll(created.id)
    contents = {}
    for variant in ("video", "thumbnail", "spritesheet"):
        content = videos.download_content(created.id, variant=variant)
        content.write_to_file(Path(out) / variant)
        contents[variant] = content.response.headers["content-type"]
    deleted = videos.delete(created.id)
    return {
        "created": created.to_dict(),
        "request_id": answer.headers["x-request-id"],
        "poll_after_ms": int(waiting["openai-poll-after-ms"]),
        "done": done.to_dict(),
        "contents": contents,
        "deleted": deleted.to_dict(),
        "afterwards": refusal(lambda: videos.retrieve(created.id)),
    }


def remix(url: str, key: str) -> dict[str, Any]:
    """A finished video, made again to another prompt."""
    videos = OpenAI(base_url=url, api_key=key).videos
    source = videos.create_and_poll(prompt="a watermill", extra_body=QUICK | {"seed": 3})
    remixed = videos.poll(videos.remix(source.id, prompt="a watermill in the snow").id)
    return {"source": source.to_dict(), "remixed": remixed.to_dict()}


def pages(url: str, key: str) -> dict[str, Any]:
    """Five videos, listed two to a page, in both orders."""
    videos = OpenAI(base_url=url, api_key=key).videos
    made = [videos.create(prompt=f"shot {number}", extra_body=QUICK).id for number in range(5)]
    newest = [video.id for video in videos.list(limit=2)]
    oldest = [video.id for video in videos.list(limit=2, order="asc")]
    for video_id in made:
        videos.delete(video_id)
    return {"made": made, "newest_first": newest, "oldest_first": oldest, "left": len(videos.list().data)}


def images(url: str, key: str, picture: str, picture_url: str, out: str) -> dict[str, Any]:
    """The same video begun at the same picture, given in every form that the package can send."""
    client = OpenAI(base_url=url, api_key=key)
    path = Path(picture)
    uploaded = client.files.create(file=path, purpose="vision")
    forms: dict[str, dict[str, Any]] = {
        "bytes": {"input_reference": path.read_bytes()},
        "path": {"input_reference": path},
        "named": {"input_reference": ("first.png", path.read_bytes(), "image/png")},
        "image_url": {"extra_body": {"input_reference": {"image_url": picture_url}}},
        "file_id": {"extra_body": {"input_reference": {"file_id": uploaded.id}}},
    }
    made = {}
    for name, form in forms.items():
        extra = {"num_inference_steps": 1, "seed": 11, **form.pop("extra_body", {})}
        made[name] = client.videos.create(prompt="the mill turns", extra_body=extra, **form).id
    done = {name: client.videos.poll(video_id).to_dict() for name, video_id in made.items()}
    for name, video in done.items():
        if video["status"] == "completed":
            client.videos.download_content(made[name]).write_to_file(Path(out) / f"{name}.mp4")
    return done


def models(url: str, key: str) -> dict[str, Any]:
    """What there is to render with."""
    client = OpenAI(base_url=url, api_key=key)
    listed = [model.id for model in client.models.list()]
    return {"listed": listed, "one": client.models.retrieve(listed[0]).to_dict()}


def beyond(url: str, key: str) -> dict[str, Any]:
    """What this server adds: a running video is cancelled, and tried again."""
    client = OpenAI(base_url=url, api_key=key)
    slow = client.videos.create(prompt="a watermill", extra_body={"num_inference_steps": 200, "num_frames": 9})
    client.post(f"/videos/{slow.id}/cancel", cast_to=object)
    cancelled = client.videos.poll(slow.id)
    again: Any = client.post(f"/videos/{slow.id}/retry", cast_to=object)
    client.videos.delete(again["id"])
    return {"cancelled": cancelled.to_dict(), "again": again}


def refusals(url: str, key: str) -> dict[str, Any]:
    """What is raised for each kind of mistake."""
    client = OpenAI(base_url=url, api_key=key, max_retries=0)
    create = client.videos.create
    long_one = create(prompt="a watermill", extra_body={"num_inference_steps": 200}).id
    seen = {
        "no such key": refusal(OpenAI(base_url=url, api_key="nobody.secret").videos.list),
        "no such model": refusal(lambda: create(prompt="x", model="no-such-model")),
        "no such video": refusal(lambda: client.videos.retrieve("video_0198c5a7e3b97d6f8a0c1f2e3d4c5b6a")),
        "no such size": refusal(lambda: create(prompt="x", size="4000x17")),
        "no such field": refusal(lambda: create(prompt="x", extra_body={"sound": "loud"})),
        "no text": refusal(lambda: create(prompt=" ")),
        "no picture": refusal(lambda: create(prompt="x", input_reference=b"neither PNG nor JPEG")),
        "not ready": refusal(lambda: client.videos.download_content(long_one)),
    }
    client.videos.delete(long_one)
    return seen


def repeated(url: str, key: str) -> dict[str, Any]:
    """The same POST twice under one Idempotency-Key, and another under it."""
    create = OpenAI(base_url=url, api_key=key, max_retries=0).videos.create
    headers = {"Idempotency-Key": "shot-0001"}
    first, second = (create(prompt="a watermill", extra_body=QUICK, extra_headers=headers).id for _ in range(2))
    other = refusal(lambda: create(prompt="a windmill", extra_body=QUICK, extra_headers=headers))
    return {"first": first, "second": second, "other": other}


def batch(url: str, key: str) -> dict[str, Any]:
    """A file of requests, one of them wrong, from the upload to the output and error files."""
    client = OpenAI(base_url=url, api_key=key)
    bodies = {"good-1": {"prompt": "one", **QUICK}, "good-2": {"prompt": "two", **QUICK}, "bad": {"prompt": " "}}
    lines = [{"custom_id": name, "method": "POST", "url": "/v1/videos", "body": body} for name, body in bodies.items()]
    source = client.files.create(file=("shots.jsonl", jsonl(lines)), purpose="batch")
    created = client.batches.create(
        input_file_id=source.id, endpoint="/v1/videos", completion_window="24h", metadata={"night": "1"}
    )
    done = wait(lambda: client.batches.retrieve(created.id))
    output, errors = (
        read_jsonl(client.files.content(file_id).text) if file_id else None
        for file_id in (done.output_file_id, done.error_file_id)
    )
    return {
        "source": source.to_dict(),
        "created": created.to_dict(),
        "done": done.to_dict(),
        "output": output,
        "errors": errors,
        "listed": [each.id for each in client.batches.list(limit=1)],
        "files": sorted(each.id for each in client.files.list(limit=2)),
        "deleted": client.files.delete(source.id).to_dict(),
    }


def unreadable_batch(url: str, key: str) -> dict[str, Any]:
    """A file whose second line is no JSON."""
    client = OpenAI(base_url=url, api_key=key)
    good = {"custom_id": "1", "method": "POST", "url": "/v1/videos", "body": {"prompt": "one", **QUICK}}
    source = client.files.create(file=("shots.jsonl", jsonl([good]) + b"{oh no\n"), purpose="batch")
    created = client.batches.create(input_file_id=source.id, endpoint="/v1/videos", completion_window="24h")
    return wait(lambda: client.batches.retrieve(created.id)).to_dict()


def cancelled_batch(url: str, key: str) -> dict[str, Any]:
    """A batch that is called off while its first render goes on."""
    client = OpenAI(base_url=url, api_key=key)
    slow = {"prompt": "slow", "num_inference_steps": 200}
    lines = [{"custom_id": str(n), "method": "POST", "url": "/v1/videos", "body": slow} for n in range(3)]
    source = client.files.create(file=("shots.jsonl", jsonl(lines)), purpose="batch")
    created = client.batches.create(input_file_id=source.id, endpoint="/v1/videos", completion_window="24h")
    asked = client.batches.cancel(created.id)
    return {"asked": asked.to_dict(), "done": wait(lambda: client.batches.retrieve(created.id)).to_dict()}


def webhook(url: str, key: str, receiver: str) -> dict[str, Any]:
    """An endpoint for the ends of videos, and a video that ends."""
    client = OpenAI(base_url=url, api_key=key)
    asked = {"name": "tests", "url": receiver, "event_types": ["video.completed"]}
    endpoint = client.post("/webhook_endpoints", body=asked, cast_to=object)
    video = client.videos.create_and_poll(prompt="a watermill", extra_body=QUICK)
    return {"endpoint": endpoint, "video": video.id}


def unwrap(url: str, key: str, secret: str, headers: dict[str, str], body: str) -> dict[str, Any]:
    """A delivery, as receivers read it by either package; and with another secret."""
    client = OpenAI(base_url=url, api_key=key)
    event: Any = client.webhooks.unwrap(body, headers, secret=secret)
    other = "whsec_" + "A" * 32
    return {
        "type": event.type,
        "data": event.data.id,
        "standard": Webhook(secret).verify(body, headers) == json.loads(body),
        "forged": refusal(lambda: client.webhooks.unwrap(body, headers, secret=other))["kind"],
    }


def managed_webhook(url: str, key: str, receiver: str) -> dict[str, Any]:
    """An endpoint's whole life through the methods that 3.x has for it."""
    webhooks = OpenAI(base_url=url, api_key=key).webhooks
    created = webhooks.create(name="managed", url=receiver, event_types=["batch.completed"])
    listed = [endpoint.id for endpoint in webhooks.list(limit=1)]
    rotated = webhooks.rotate_secret(created.id)
    deleted = webhooks.delete(created.id)
    return {
        "created": created.to_dict(),
        "retrieved_before": created.id in listed,
        "rotated": rotated.signing_secret != created.signing_secret,
        "deleted": deleted.to_dict(),
        "afterwards": refusal(lambda: webhooks.retrieve(created.id)),
    }


def refusal(call: Callable[[], object]) -> dict[str, Any]:
    """What a call raises: its class, status, code and param."""
    try:
        answer = call()
    except openai.APIStatusError as error:
        seen = {"kind": type(error).__name__, "status": error.status_code, "code": error.code, "param": error.param}
        return seen if error.request_id else {"no": "x-request-id"}
    except Exception as error:
        return {"kind": type(error).__name__, "text": str(error)}
    raise AssertionError(f"was not refused: {answer}")


def wait(retrieve: Callable[[], Any]) -> Any:
    """A batch when it has ended."""
    deadline = time.monotonic() + 60
    while (found := retrieve()).status not in ENDED:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


def jsonl(lines: list[dict[str, Any]]) -> bytes:
    return "".join(f"{json.dumps(line)}\n" for line in lines).encode()


def read_jsonl(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


scenario.run(
    life, remix, pages, images, models, beyond, refusals, repeated, batch, unreadable_batch, cancelled_batch,
    webhook, unwrap, managed_webhook,
)  # fmt: skip

"""The Python client against a server made of one function: blocking and async, with the pauses noted and not slept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from cogmill_client import AsyncCogmill, Cogmill, drivers

Answer = Callable[[httpx.Request], httpx.Response]
BASE = "http://api.test"


@dataclass
class Client:
    """Calls one or the other client. `asked` are the requests that came, `slept` the pauses between them."""

    kind: str
    answer: Answer = lambda request: httpx.Response(404)
    asked: list[httpx.Request] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    max_retries: int = 3
    # In place of `answer`.
    transport: Any = None

    def __call__(self, use: Callable[[Any], Any]) -> Any:
        """What `use` of a client comes to; of an iterator, the list of its items."""
        transport = self.transport or httpx.MockTransport(self._handle)
        options: dict[str, Any] = {"api_key": "the-key", "base_url": BASE, "max_retries": self.max_retries}
        if self.kind == "blocking":
            with Cogmill(**options, http_client=httpx.Client(transport=transport)) as client:
                result = use(client)
                return list(result) if isinstance(result, Iterator) else result
        return asyncio.run(
            self._async(use, AsyncCogmill(**options, http_client=httpx.AsyncClient(transport=transport)))
        )

    async def _async(self, use: Callable[[Any], Any], client: AsyncCogmill) -> Any:
        async with client:
            result = use(client)
            if isinstance(result, AsyncIterator):
                return [item async for item in result]
            return await result

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return self.answer(request)

    def answers(self, *answers: httpx.Response | Exception) -> None:
        """One after the other; the last one again and again."""
        left = list(answers)

        def answer(request: httpx.Request) -> httpx.Response:
            one = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(one, Exception):
                raise one
            return one

        self.answer = answer


@pytest.fixture(params=["blocking", "async"])
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Client:
    made = Client(request.param)

    async def sleep(seconds: float) -> None:
        made.slept.append(seconds)

    monkeypatch.setattr(drivers, "time", SimpleNamespace(sleep=made.slept.append))
    monkeypatch.setattr(drivers, "asyncio", SimpleNamespace(sleep=sleep, to_thread=asyncio.to_thread))
    return made


class Torn(httpx.SyncByteStream, httpx.AsyncByteStream):
    """Pieces of an answer, and then a connection that breaks."""

    def __init__(self, *pieces: bytes, breaks: bool = True) -> None:
        self._pieces, self._breaks = pieces, breaks

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces
        if self._breaks:
            raise httpx.ReadError("the connection broke")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


def error(status: int, code: str = "x", param: str | None = None, **headers: str) -> httpx.Response:
    body = {"error": {"message": f"{param}: wrong", "type": "invalid_request_error", "param": param, "code": code}}
    return httpx.Response(status, json=body, headers={name.replace("_", "-"): value for name, value in headers.items()})


def stream(*events: tuple[str | None, str, Any], breaks: bool = False) -> httpx.Response:
    """(id, kind, data) as server-sent events; then the stream ends, or breaks."""
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Torn(*told(events), breaks=breaks))


def told(events: Iterable[tuple[str | None, str, Any]]) -> Iterator[bytes]:
    for event_id, kind, data in events:
        named = "" if event_id is None else f"id: {event_id}\n"
        yield f"{named}event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def video(**fields: Any) -> dict[str, Any]:
    """A video as the API answers it."""
    return {
        "id": "video_1", "object": "video", "created_at": 1, "status": "queued", "model": "tiny-2b", "progress": 0,
        "seconds": "4", "size": "96x64", "prompt": "sea", "completed_at": None, "expires_at": None, "error": None,
        "remixed_from_video_id": None, "queue_reason": None, "forecast": None,
        "stage": None, "step": 0, "steps": 2, "started_at": None,
        "rendered_by": "tiny-2b", "negative_prompt": None, "num_inference_steps": 2, "guidance_scale": 6.0, "seed": 7,
        "num_frames": 9, "fps": 8, "profile": "exact", "adapter": None, "adapter_scale": None, "reproducible": False,
        "resume": "exact", "strict_prompt": False, "watermark": False, "priority": 10, "run_at": None,
        "deadline": None, "metadata": None, "webhook_url": None, "attempts": 1, "max_attempts": 3, "claims": 1,
        "retry_of": None, "predicted_gpu_seconds": 1.0, "gpu_seconds": None, "incidents": [], "checkpoint_step": None,
        "continuity": None, "resumed_at": None, "prompt_tokens": None, "prompt_cut": None, "numerics": None,
    } | fields  # fmt: skip


COUNTS = dict.fromkeys(
    ("rows", "bad", "waiting", "held", "queued", "running", "succeeded", "failed", "cancelled", "dropped", "waived",
     "flagged"), 0,
)  # fmt: skip


def campaign(**fields: Any) -> dict[str, Any]:
    """A campaign as the API answers it."""
    return {
        "id": "campaign_1", "object": "campaign", "name": "mugs", "state": "running", "pause_reasons": [],
        "version": 3, "created_at": 1, "started_at": 2, "ended_at": None, "run_at": None, "deadline": None,
        "on_deadline": "continue", "template": {"prompt": "a {product}", "negative_prompt": None},
        "template_version": 1, "defaults": {}, "variants": 1, "seeds": None, "sample": 0, "order": "arrival",
        "strict": False, "approval": "required", "priority": 20, "max_running": None, "budget": None,
        "stop_on_failures": None, "progress_every": 10, "webhook_url": None, "row_webhooks": False, "output": None,
        "metadata": None, "schedule": None, "schedule_of": None, "input": None, "error": None, "counts": COUNTS,
        "spent": {"gpu_seconds": 0.0, "reserved_gpu_seconds": 0.0, "money": None, "currency": None},
        "on_miss": "warn",
        "plan_token": None, "approved_token": None, "forecast": None, "manifest": None, "waiting_for": None,
    } | fields  # fmt: skip


def page(*data: dict[str, Any], has_more: bool = False) -> httpx.Response:
    first, last = (data[0].get("id"), data[-1].get("id")) if data else (None, None)
    return httpx.Response(
        200, json={"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": has_more}
    )

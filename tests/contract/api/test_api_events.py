"""A video's events: told by any replica, taken up again behind any of them, and over when the video is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from api.native import events
from orchestrator.config import Settings
from orchestrator.domain.job import Artifact, Checkpoint, Claim, Failure, Incident
from orchestrator.domain.protocol import Broke, HandedBack
from orchestrator.notify import watching
from orchestrator.ports import Progress
from tests.support.api import Api, listening, serving
from tests.support.builders import prefix_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True)
class Heard:
    id: str
    kind: str
    data: dict[str, Any]


class Stream:
    """One open connection, read event by event; `commented` is set by the first comment."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.commented = asyncio.Event()
        self._lines = answer.aiter_lines()

    async def next(self) -> Heard | None:
        """The next event; None when the connection ended well."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(10):
            async for line in self._lines:
                if line.startswith(":"):
                    self.commented.set()
                elif line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif fields:
                    return Heard(fields["id"], fields["event"], json.loads(fields["data"]))
        return None

    async def until(self, kind: str) -> list[Heard]:
        """Everything up to the next event of this kind."""
        heard: list[Heard] = []
        while not heard or heard[-1].kind != kind:
            event = await self.next()
            assert event is not None, f"ended before {kind}: {heard}"
            heard.append(event)
        return heard


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def replicas(api_app: tuple[FastAPI, Settings]) -> AsyncIterator[tuple[str, str]]:
    """Two processes' worth of the API on one database, behind real servers."""
    app, settings = api_app
    async with serving(settings) as other, listening(app) as one_port, listening(other) as other_port:
        yield f"http://127.0.0.1:{one_port}", f"http://127.0.0.1:{other_port}"


@asynccontextmanager
async def following(api: Api, replica: str, video_id: str, last: str | None = None) -> AsyncIterator[Stream]:
    headers = {"authorization": api.http.headers["authorization"]} | ({"last-event-id": last} if last else {})
    async with (
        httpx.AsyncClient(headers=headers, timeout=20) as client,
        client.stream("GET", f"{replica}/v1/videos/{video_id}/events") as answer,
    ):
        yield Stream(answer)


async def a_video(api: Api) -> str:
    return str((await api.http.post("/v1/videos", json={"prompt": "sea"})).json()["id"])


async def step(api: Api, claim: Claim, step: int, *, preview: bool = False) -> None:
    key = f"{prefix_of(claim)}preview.webp"
    shown = Artifact(key=key, size=1, sha256="0" * 64, content_type="image/webp") if preview else None
    await api.dispatching.record_progress(
        [Progress(job_id=claim.job_id, token=claim.token, stage="denoising", step=step, preview=shown)]
    )


async def test_a_life_is_told_from_the_queue_to_the_video_object(api: Api, replicas: tuple[str, str]) -> None:
    video_id = await a_video(api)
    async with following(api, replicas[0], video_id) as stream:
        assert stream.answer.headers["content-type"].startswith("text/event-stream")
        (queued,) = await stream.until("stage")
        assert queued.data == {"stage": "queued", "attempt": 0}
        claim = await api.claim(video_id)
        begun = (await stream.until("attempt"))[-1]
        assert begun.data == {"attempt": 1, "attempts": 1, "max_attempts": 3, "ended": []}
        await step(api, claim, 5, preview=True)
        told = await stream.until("preview")
        assert {"step": 5, "steps": 20, "progress": 25} in [event.data for event in told]
        assert f"{prefix_of(claim)}preview.webp" in told[-1].data["url"]
        await api.publish(claim)
        end = (await stream.until("end"))[-1]
        assert end.data == (await api.http.get(f"/v1/videos/{video_id}")).json()
        assert end.data["status"] == "completed"
        assert await stream.next() is None


async def test_another_replica_takes_up_behind_the_last_event_and_repeats_nothing(
    api: Api, replicas: tuple[str, str]
) -> None:
    video_id = await a_video(api)
    claim = await api.claim(video_id)
    await step(api, claim, 3)
    async with following(api, replicas[0], video_id) as stream:
        before = await stream.until("step")
    await step(api, claim, 9)
    async with following(api, replicas[1], video_id, before[-1].id) as stream:
        after = await stream.next()
        assert after is not None
        assert (after.kind, after.data["step"]) == ("step", 9)
        failure = Failure(code="out_of_memory", message="no room", retryable=False)
        await api.end(claim, Broke(failure=failure))
        rest = await stream.until("end")
    ended = {"attempt": 1, "outcome": "failed", "error": {"code": "out_of_memory", "message": "no room"}}
    assert rest[0].data["ended"] == [ended]
    assert rest[-1].data["error"] == ended["error"]
    # An EventSource comes back after every end, and stops at a 204 only.
    async with following(api, replicas[0], video_id, rest[-1].id) as stream:
        assert stream.answer.status_code == 204
    query = await api.http.get(f"/v1/videos/{video_id}/events", params={"last_event_id": rest[-1].id})
    assert query.status_code == 204


async def test_a_render_that_is_preempted_says_so_and_another_replica_repeats_nothing(
    api: Api, replicas: tuple[str, str]
) -> None:
    video_id = await a_video(api)
    claim = await api.claim(video_id)
    waiting = Progress(
        job_id=claim.job_id, token=claim.token, stage="preempted", step=3, incidents=(Incident.PREEMPTED,)
    )
    await api.dispatching.record_progress([waiting])
    async with following(api, replicas[0], video_id) as stream:
        told = await stream.until("stage")
    assert [event.data for event in told[-3:]] == [
        {"incident": "preempted", "attempt": 1},
        {"step": 3, "steps": 20, "progress": 15},
        {"stage": "preempted", "attempt": 1},
    ]
    async with following(api, replicas[1], video_id, told[-3].id) as stream:
        assert await stream.until("stage") == told[-2:]
    await api.dispatching.record_progress([replace(waiting, stage="denoising", step=4)])
    async with following(api, replicas[1], video_id, told[-1].id) as stream:
        assert [event.data.get("stage") for event in await stream.until("step")] == ["denoising", None]


async def test_an_attempt_that_resumes_is_told_from_its_checkpoint_on(api: Api, replicas: tuple[str, str]) -> None:
    video_id = await a_video(api)
    claim = await api.claim(video_id)
    stored = Artifact(key=f"{prefix_of(claim)}checkpoints/7", size=1, sha256="0" * 64, content_type="application/x")
    checkpoint = Checkpoint(artifact=stored, step=7, numerics="0" * 16)
    await api.end(claim, HandedBack(reason="drained", checkpoint=checkpoint))
    await api.claim(video_id)
    async with following(api, replicas[0], video_id) as stream:
        told = await stream.until("step")
    assert told[-1].data == {"step": 7, "steps": 20, "progress": 35}


async def test_a_deleted_video_ends_its_stream(api: Api, replicas: tuple[str, str]) -> None:
    video_id = await a_video(api)
    async with following(api, replicas[0], video_id) as stream:
        await stream.until("stage")
        await api.http.delete(f"/v1/videos/{video_id}")
        end = (await stream.until("end"))[-1]
    assert end.data == {"id": video_id, "object": "video.deleted", "deleted": True}


async def test_silence_is_filled_with_comments(
    api: Api, replicas: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.05)
    video_id = await a_video(api)
    async with following(api, replicas[0], video_id) as stream:
        await stream.until("stage")
        reading = asyncio.create_task(stream.until("end"))
        await asyncio.wait_for(stream.commented.wait(), 10)
        await api.http.delete(f"/v1/videos/{video_id}")
        await reading


async def test_watchers_that_leave_make_room_and_one_too_many_is_told_to_wait(
    api: Api, replicas: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_FREE_FOR_ONE", 1_000)  # room for one of each tenant
    video_id = await a_video(api)
    async with following(api, replicas[0], video_id) as stream:
        await stream.until("stage")
        async with following(api, replicas[0], video_id) as second:
            assert second.answer.status_code == 429
            assert int(second.answer.headers["retry-after"]) > 0
            assert json.loads(await second.answer.aread())["error"]["type"] == "rate_limit_error"
    async with asyncio.timeout(10):  # the server notices that the first one hung up
        while True:
            async with following(api, replicas[0], video_id) as third:
                if third.answer.status_code == 200:
                    break
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("last", ["1", "1.2.3", "x", "1.2.3.4.5", "-1.0.0.0.0.0.0", "1.9.0.0.0.0.0"])
async def test_what_is_no_event_id_is_refused_by_the_headers_name(api: Api, last: str) -> None:
    answer = await api.http.get(f"/v1/videos/{await a_video(api)}/events", headers={"last-event-id": last})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "Last-Event-ID")

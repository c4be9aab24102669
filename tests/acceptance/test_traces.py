"""One video on the session's stack, with a real worker: its trace from four processes, its log lines, and its life."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.collector import Collector, Seen
from tests.support.receivers import receiving
from tests.support.stack import Up, cogmill, wait_for

STAGES = ("encoding", "denoising", "decoding", "finishing", "uploading")


def named(spans: list[Seen], name: str) -> Seen:
    (found,) = (span for span in spans if span.name == name)
    return found


def lines_with(word: str, *logs: Path, within_s: float = 20.0) -> list[str]:
    """The lines of each of these logs that have it, once all of them do."""
    deadline = time.monotonic() + within_s
    while True:
        found = {log: [line for line in log.read_text("utf-8", "replace").splitlines() if word in line] for log in logs}
        if all(found.values()):
            return [line for lines in found.values() for line in lines]
        assert time.monotonic() < deadline, f"{word} is not in all of {found}"
        time.sleep(0.2)


@pytest.mark.timeout(600)
async def test_a_video_is_one_trace_from_its_request_to_its_webhook(stack: Up, collector: Collector) -> None:
    trace_id = uuid4().hex
    async with receiving() as receiver:
        body = {
            "model": "sora-2", "prompt": "a watermill", "num_inference_steps": 2, "num_frames": 9,
            "webhook_url": receiver.url(),
        }  # fmt: skip

        def render() -> str:
            with stack.client(traceparent=f"00-{trace_id}-00f067aa0ba902b7-01") as client:
                created = client.post("/v1/videos", json=body).raise_for_status().json()
            with stack.client() as client:
                return str(wait_for(client, created["id"], within_s=400)["id"])

        video = await asyncio.to_thread(render)
        await receiver.until(1)
        (told,) = receiver.received
        wanted = ("POST /v1/videos", "submit", "wait", "attempt 1", "settlement", "webhook", *STAGES)
        # Before the receiver goes: it has to answer, or the delivery is tried again.
        spans = await asyncio.to_thread(collector.until, trace_id, *wanted)
    webhook, attempt = named(spans, "webhook"), named(spans, "attempt 1")
    assert {span.name: span.process for span in spans if span.name in wanted} == {
        "POST /v1/videos": "cogmill-api", "submit": "cogmill-api", "webhook": "cogmill-maintainer",
        **dict.fromkeys(("wait", "attempt 1", "settlement", *STAGES), "cogmill-dispatcher"),
    }  # fmt: skip
    assert told.headers["traceparent"] == f"00-{trace_id}-{webhook.span_id}-01"
    stages = [span for span in spans if span.name in STAGES]
    assert tuple(dict.fromkeys(span.name for span in stages)) == STAGES
    assert all(before.ended <= after.began + 0.01 for before, after in itertools.pairwise(stages))
    assert all(attempt.began <= span.began <= span.ended <= attempt.ended for span in stages)
    # What the stages took is most of what the attempt did.
    assert sum(span.ended - span.began for span in stages) > (attempt.ended - attempt.began) / 2

    # Every process says the trace in its lines about the job; the worker's are Ray's to keep.
    logs = stack.data_dir / "logs"
    lines_with(trace_id, logs / "api.log", logs / "dispatch.log")
    ray = Path(json.loads((stack.data_dir / "stack.json").read_text())["ray_temp_dir"]) / "ray"
    renders = [line for log in ray.glob("session_2*/logs/worker-*.err") for line in log.read_text().splitlines()]
    assert any(trace_id in line and "render_ended" in line for line in renders)

    # Its life is the same without any of that.
    shown = await asyncio.to_thread(cogmill, "trace", video, "--data-dir", stack.data_dir)
    assert shown.returncode == 0, shown.stderr
    first, root, *parts = shown.stdout.splitlines()
    assert trace_id in first
    assert video in root
    assert "succeeded" in root
    for part in ("wait", "attempt 1", *STAGES, "video.completed to 127.0.0.1, delivered, 1 try"):
        assert any(part in line for line in parts), (part, shown.stdout)
    told_as_json = await asyncio.to_thread(cogmill, "trace", video, "--json", "--data-dir", stack.data_dir)
    names = [span["name"] for span in json.loads(told_as_json.stdout)["spans"]]
    assert names[:3] == ["job", "wait", "attempt 1"]
    assert tuple(dict.fromkeys(name for name in names if name in STAGES)) == STAGES

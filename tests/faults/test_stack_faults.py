"""Kill or stop any part of a running stack: accepted jobs still end, once, and no step is rendered twice in vain."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil
import pytest

from orchestrator.local import ray
from orchestrator.local.process import kill_all
from tests.support.stack import Up, one_model, wait_for
from tests.support.videos import pixels

SETTINGS = {
    "COGMILL_LEASE__TTL_S": "20",
    "COGMILL_LEASE__BEAT_S": "1",
    "COGMILL_LEASE__POLL_TIMEOUT_S": "2",
    "COGMILL_LEASE__UNHELD_GRACE_S": "6",
    "COGMILL_RETRY__BASE_S": "0.2",
    "COGMILL_ENGINE__CHECKPOINT_EVERY_S": "0.5",
}


@pytest.fixture(scope="module")
def faulty(
    seeded_data_dir: Callable[[str], Path],
    tiny_checkpoint: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Up]:
    """A stack of this module's own, with short leases and one worker."""
    models = one_model(tmp_path_factory.mktemp("faulty"), tiny_checkpoint("tiny-2b"), "tiny-2b")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        running = Up.start(seeded_data_dir("faulty"), "--port", "0", "--models", str(models))
    try:
        yield running
    finally:
        family = running.family()
        running.stop()
        kill_all(family)


@pytest.fixture
def client(faulty: Up) -> Iterator[httpx.Client]:
    with faulty.client() as opened:
        yield opened


def submit(client: httpx.Client, *, steps: int, **more: Any) -> str:
    """A render of the small model that takes about `steps` / 30 seconds here."""
    shape = {"size": "160x96", "num_frames": 17, "num_inference_steps": steps}
    body = {"prompt": "a mill in a storm", "seed": 7, **shape, **more}
    video: dict[str, Any] = client.post("/v1/videos", json=body).raise_for_status().json()
    return str(video["id"])


@pytest.fixture(scope="module")
def undisturbed(faulty: Up, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The pixels that 150 steps give when nothing happens."""
    with faulty.client() as client:
        video = submit(client, steps=150)
        wait_for(client, video)
        return frames(client, video, tmp_path_factory.mktemp("undisturbed"))


def frames(client: httpx.Client, video_id: str, directory: Path) -> bytes:
    path = directory / f"{video_id}.mp4"
    path.write_bytes(client.get(f"/v1/videos/{video_id}/content", follow_redirects=True).raise_for_status().content)
    return pixels(path)


def read(client: httpx.Client, video_id: str) -> dict[str, Any]:
    video: dict[str, Any] = client.get(f"/v1/videos/{video_id}").raise_for_status().json()
    return video


def stepping(client: httpx.Client, video_id: str, *, at_least: int = 1) -> int:
    """Wait until the video has that many denoise steps; the step that it is at."""
    return eventually(lambda: (step := read(client, video_id)["step"]) >= at_least and step)


def eventually(look: Callable[[], Any], *, within_s: float = 60) -> Any:
    """Look again until it is true."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError("it never came")


def pid_of(stack: Up, part: str) -> psutil.Process:
    return psutil.Process(stack.state.parts[part].pid)


def workers(stack: Up) -> list[psutil.Process]:
    """The processes of the stack's render actors, found by the title that Ray gives them."""
    members = ray.session(stack.state.parts["ray"].pid)
    return [member for member in members if "RenderActor" in " ".join(member.cmdline())]


def query(stack: Up, sql: str, video_id: str) -> list[asyncpg.Record]:
    """Rows about a video, whose id is the query's $1, from the database itself."""

    async def fetch() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(stack.ready["database"])
        try:
            rows: list[asyncpg.Record] = await connection.fetch(sql, video_id.removeprefix("video_"))
            return rows
        finally:
            await connection.close()

    return asyncio.run(fetch())


def attempts(stack: Up, video_id: str) -> list[tuple[int, str]]:
    """(number, outcome) of every attempt of the video."""
    rows = query(stack, "SELECT number, outcome FROM attempts WHERE job_id = $1::uuid ORDER BY number", video_id)
    return [(row["number"], row["outcome"]) for row in rows]


def test_a_killed_dispatcher_costs_no_step(faulty: Up, client: httpx.Client) -> None:
    video = submit(client, steps=150)
    before = stepping(client, video, at_least=5)
    dispatcher = pid_of(faulty, "dispatch")
    dispatcher.kill()
    eventually(lambda: (new := faulty.state.parts.get("dispatch")) and new.pid != dispatcher.pid)
    steps = [before]
    while (seen := read(client, video))["status"] == "in_progress":
        steps.append(seen["step"])
        time.sleep(0.1)
    assert steps == sorted(steps)
    wait_for(client, video)
    assert attempts(faulty, video) == [(1, "succeeded")]


def test_a_killed_worker_costs_one_attempt_and_no_step_that_a_checkpoint_has(
    faulty: Up, client: httpx.Client, undisturbed: bytes, tmp_path: Path
) -> None:
    video = submit(client, steps=150)
    stored = eventually(lambda: read(client, video).get("checkpoint_step"))
    for worker in workers(faulty):
        worker.kill()
    wait_for(client, video)
    assert attempts(faulty, video) == [(1, "lost"), (2, "succeeded")]
    ended = read(client, video)
    assert ended["continuity"] == "resumed"
    assert ended["resumed_at"] >= stored
    assert frames(client, video, tmp_path) == undisturbed


def test_an_urgent_render_interrupts_a_bulk_one_which_ends_with_the_same_frames(
    faulty: Up, client: httpx.Client, undisturbed: bytes, tmp_path: Path
) -> None:
    bulk = submit(client, steps=150, priority=20)
    stepping(client, bulk)
    urgent = submit(client, steps=10, priority=10)
    wait_for(client, urgent)
    assert read(client, bulk)["status"] == "in_progress"
    wait_for(client, bulk)
    ended = read(client, bulk)
    assert ended["incidents"] == ["preempted"]
    assert ended["continuity"] == "whole"
    assert attempts(faulty, bulk) == [(1, "succeeded")]
    assert frames(client, bulk, tmp_path) == undisturbed


def test_a_worker_that_stands_still_is_replaced_and_publishes_nothing_more(faulty: Up, client: httpx.Client) -> None:
    video = submit(client, steps=150)
    stepping(client, video)
    stopped = workers(faulty)
    for worker in stopped:
        worker.send_signal(signal.SIGSTOP)
    wait_for(client, video, within_s=120)
    assert attempts(faulty, video) == [(1, "lost"), (2, "succeeded")]
    assert not any(worker.is_running() for worker in stopped)


def test_a_database_that_crashes_costs_no_step(faulty: Up, client: httpx.Client) -> None:
    video = submit(client, steps=150)
    stepping(client, video)
    pid_of(faulty, "database").kill()
    eventually(lambda: client.get("/readyz").status_code == 200)
    wait_for(client, video)
    assert attempts(faulty, video) == [(1, "succeeded")]


def test_storage_that_goes_away_during_a_render_is_waited_for(faulty: Up, client: httpx.Client) -> None:
    video = submit(client, steps=60)
    stepping(client, video)
    pid_of(faulty, "s3").kill()
    wait_for(client, video, within_s=120)
    assert attempts(faulty, video)[-1][1] == "succeeded"
    assert client.get(f"/v1/videos/{video}/content").status_code == 200


def test_a_cluster_that_dies_takes_its_attempt_with_it_and_no_job(faulty: Up, client: httpx.Client) -> None:
    video = submit(client, steps=150)
    stepping(client, video)
    pid_of(faulty, "ray").kill()
    for member in ray.session(faulty.state.parts["ray"].pid):
        member.kill()
    wait_for(client, video, within_s=150)
    assert attempts(faulty, video) == [(1, "lost"), (2, "succeeded")]


def test_a_cancelled_render_stops_long_before_it_would_have_ended(faulty: Up, client: httpx.Client) -> None:
    video = submit(client, steps=200)
    begun = stepping(client, video)
    client.delete(f"/v1/videos/{video}").raise_for_status()
    assert client.get(f"/v1/videos/{video}").status_code == 404
    eventually(lambda: attempts(faulty, video) == [(1, "cancelled")])
    # Left alone it comes to 200, and is cancelled by its row all the same: what tells is where it stood.
    (stopped,) = query(faulty, "SELECT step FROM jobs WHERE id = $1::uuid", video)
    assert begun <= stopped["step"] < 150

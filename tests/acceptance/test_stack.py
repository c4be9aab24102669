"""One stack from its first video to Ctrl-C: both dialects, what its operator sees and does, and a `kill -9` of it."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import av
import httpx
import psutil
import pytest

from orchestrator.local.process import ProcessId
from tests.support.stack import Up, cogmill, wait_for

STEPS = 4
LONG = 200  # steps of a render that is still going on when the stack has come back from a kill


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
        assert _decoded(mp4.content) == (width, height, 32, 8)
        thumbnail = client.get(f"/v1/videos/{video['id']}/content?variant=thumbnail").raise_for_status()
        assert thumbnail.content[8:12] == b"WEBP"

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


def test_its_line_of_json_says_where_everything_is(stack: Up) -> None:
    assert {"api", "key", "database", "s3", "metrics"} <= stack.ready.keys()
    for part, url in stack.ready["metrics"].items():
        assert "cogmill_" in httpx.get(url).raise_for_status().text, part


def test_nobody_else_on_the_machine_can_look_into_it(stack: Up) -> None:
    """Ray opens the directory that it is told of to everybody, so that one lies within another."""
    state = json.loads((stack.data_dir / "stack.json").read_text())
    ours = [Path(state["ray_temp_dir"]), *(stack.data_dir / name for name in ("s3", "logs", "models", "secrets"))]
    assert {path.name: path.stat().st_mode & 0o777 for path in ours} == {path.name: 0o700 for path in ours}
    assert list((ours[0] / "ray").glob("session_*"))


def test_no_secret_of_it_is_in_any_process_s_arguments(stack: Up) -> None:
    """`ps` shows them to everybody: those of the servers for PostgreSQL and S3, of Ray's, and of our own processes."""
    secrets = {path.name: path.read_text().strip() for path in (stack.data_dir / "secrets").iterdir()}
    assert len(secrets) >= 6
    arguments = dict[int, str]()
    for found in psutil.process_iter():
        with suppress(psutil.Error):  # gone meanwhile
            arguments[found.pid] = "\0".join(found.cmdline())
    assert str(stack.data_dir) in " ".join(arguments.values())
    shown = {name for name, secret in secrets.items() for said in arguments.values() if secret in said}
    assert shown == set()


def test_a_second_up_on_its_directory_is_refused_in_one_line(stack: Up) -> None:
    second = cogmill("up", "--json", "--data-dir", stack.data_dir)
    assert (second.returncode, second.stdout) == (2, "")
    expected = f"cogmill: a stack is already running in {stack.data_dir} (pid {stack.process.pid})\n"
    assert second.stderr == expected


def test_the_doctor_finds_it_healthy(stack: Up) -> None:
    examined = cogmill("doctor", "--data-dir", stack.data_dir)
    assert examined.returncode == 0, examined.stdout + examined.stderr
    checked = [line.split()[1] for line in examined.stdout.splitlines() if line.startswith("ok ")]
    assert checked == [
        "database", "schema", "master", "bucket", "ray", "gpus", *["pool"] * 3, "wake-ups", *["model"] * 3
    ]  # fmt: skip


def test_a_key_works_until_it_is_revoked(stack: Up) -> None:
    where = ("--data-dir", stack.data_dir)
    key = cogmill("keys", "create", "acme", "--name", "a test", *where).stdout.strip()
    key_id = key.split(".")[0]
    url, header = f"{stack.ready['api']}/v1/videos", {"Authorization": f"Bearer {key}"}
    assert httpx.get(url, headers=header).json()["data"] == []
    assert cogmill("keys", "revoke", key, *where).returncode == 0
    assert re.search(f"{key_id}  acme .* revoked .* a test", cogmill("keys", "list", "acme", *where).stdout)
    deadline = time.monotonic() + 10
    while httpx.get(url, headers=header).status_code != 401:  # a replica may remember a key for two seconds
        assert time.monotonic() < deadline
        time.sleep(0.1)
    again = cogmill("keys", "revoke", key_id, *where)
    assert (again.returncode, again.stderr) == (1, f"cogmill: no valid key has the id '{key_id}'\n")


async def test_a_tenants_weight_is_set_from_the_command_line(stack: Up) -> None:
    done = await asyncio.to_thread(cogmill, "tenants", "weight", "gold", "2.5", "--data-dir", stack.data_dir)
    assert (done.returncode, done.stderr) == (0, "")
    connection = await asyncpg.connect(stack.ready["database"])
    try:
        assert await connection.fetchval("SELECT weight FROM tenants WHERE name = 'gold'") == 2.5
    finally:
        await connection.close()


@pytest.mark.parametrize("part", ["api", "maintain"])  # the dispatcher is killed while it renders, in tests/faults
def test_a_part_of_the_control_plane_that_dies_is_started_again(stack: Up, part: str) -> None:
    before = stack.state.parts[part]
    os.kill(before.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while stack.state.parts.get(part, before) == before or not _answers(stack.ready["metrics"][part]):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@dataclass
class Killed:
    """What a stack was before its kill: a job was rendering, another had ended."""

    ready: dict[str, object]
    parts: Mapping[str, ProcessId]
    ended_id: str
    rendering_id: str
    signed_url: str


@pytest.fixture(scope="module")
def killed(stack: Up) -> Killed:
    """The stack's past: it was killed and started again."""
    with stack.client() as client:
        ended = wait_for(client, _submit(client, steps=2))
        task = client.get(f"/api/paas/v4/async-result/{ended['id']}").raise_for_status().json()
        rendering = wait_for(client, _submit(client, steps=LONG), status="in_progress")
    past = Killed(stack.ready, stack.state.parts, ended["id"], rendering["id"], task["video_result"][0]["url"])
    stack.kill()
    stack.start_again()
    return past


class TestAfterAKill:
    def test_every_address_and_the_key_are_as_before(self, stack: Up, killed: Killed) -> None:
        assert stack.ready == killed.ready

    def test_the_infrastructure_is_adopted_and_the_control_plane_is_new(self, stack: Up, killed: Killed) -> None:
        before, after = killed.parts, stack.state.parts
        kept = {name for name, identity in after.items() if before[name] == identity}
        assert kept == {"database", "s3", "ray"}
        assert all(before[name].process() is None for name in before.keys() - kept)

    def test_every_job_is_still_there_and_the_render_goes_on_where_it_was(self, stack: Up, killed: Killed) -> None:
        with stack.client() as client:
            assert client.get(f"/v1/videos/{killed.ended_id}").json()["status"] == "completed"
            steps: list[int] = []
            wait_for(client, killed.rendering_id, seen=lambda video: steps.append(video["step"]))
        assert steps == sorted(steps)
        assert steps[-1] == LONG

    def test_a_url_that_was_signed_before_still_opens(self, killed: Killed) -> None:
        assert httpx.get(killed.signed_url).raise_for_status().headers["content-type"] == "video/mp4"


def test_ctrl_c_stops_everything_and_nothing_else_was_printed(stack: Up) -> None:
    family = stack.family()
    assert len(family) > 8
    assert stack.stop() == (0, "")
    assert [process for process in family if process.is_running() and process.status() != "zombie"] == []
    assert stack.state.parts == {}
    examined = cogmill("doctor", "--data-dir", stack.data_dir)
    assert examined.returncode == 1
    failed = [line.split()[1] for line in examined.stdout.splitlines() if line.startswith("FAIL ")]
    assert failed == ["database", "bucket", "ray", "gpus"], "what only a database can tell is not asked"


def _submit(client: httpx.Client, *, steps: int) -> str:
    request = {"prompt": "a watermill", "num_inference_steps": steps, "num_frames": 9}
    return str(client.post("/v1/videos", json=request).raise_for_status().json()["id"])


def _decoded(data: bytes) -> tuple[int, int, int, float]:
    """Width, height, frames and frames per second of an MP4, by decoding all of it."""
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        frames = sum(1 for _ in container.decode(stream))
        assert stream.average_rate is not None
        return stream.width, stream.height, frames, float(stream.average_rate)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.TransportError:
        return False

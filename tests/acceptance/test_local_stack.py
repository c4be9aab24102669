"""`cogmill up`, `demo`, `doctor` and `keys`, as real processes."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from orchestrator.local.state import State
from tests.support.stack import Up, cogmill, data_dirs, wait_for

STEPS = 200  # a render that is still going on when the stack has come back


@pytest.mark.xdist_group("stack")
class TestTheSharedStack:
    def test_its_line_of_json_says_where_everything_is(self, stack: Up) -> None:
        assert {"api", "key", "database", "s3", "metrics"} <= stack.ready.keys()
        for part, url in stack.ready["metrics"].items():
            assert "cogmill_" in httpx.get(url).raise_for_status().text, part

    def test_a_second_up_on_its_directory_is_refused_in_one_line(self, stack: Up) -> None:
        second = cogmill("up", "--json", "--data-dir", stack.data_dir)
        assert (second.returncode, second.stdout) == (2, "")
        expected = f"cogmill: a stack is already running in {stack.data_dir} (pid {stack.process.pid})\n"
        assert second.stderr == expected

    def test_the_doctor_finds_it_healthy(self, stack: Up) -> None:
        examined = cogmill("doctor", "--data-dir", stack.data_dir)
        assert examined.returncode == 0, examined.stdout + examined.stderr
        checked = [line.split()[1] for line in examined.stdout.splitlines() if line.startswith("ok ")]
        assert checked == ["database", "schema", "bucket", "ray", "model", "model"]

    def test_a_key_works_until_it_is_revoked(self, stack: Up) -> None:
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

    @pytest.mark.parametrize("part", ["api", "dispatch", "maintain"])
    def test_a_part_of_the_control_plane_that_dies_is_started_again(self, stack: Up, part: str) -> None:
        before = stack.state.parts[part]
        os.kill(before.pid, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while stack.state.parts.get(part, before) == before or not _answers(stack.ready["metrics"][part]):
            assert time.monotonic() < deadline
            time.sleep(0.05)


@dataclass
class Revived:
    """A stack that was killed while a job was rendering and another had ended, and that was started again."""

    up: Up
    before: dict[str, object]
    state_before: State
    ended_id: str
    rendering_id: str
    signed_url: str


@pytest.fixture(scope="module")
def revived(seeded_data_dir: Callable[[str], Path]) -> Iterator[Revived]:
    data_dir = seeded_data_dir("killed")
    first = Up.start(data_dir, "--port", "0")
    with first.client() as client:
        ended = wait_for(client, _submit(client, steps=2)["id"])
        task = client.get(f"/api/paas/v4/async-result/{ended['id']}").raise_for_status().json()
        rendering = wait_for(client, _submit(client, steps=STEPS)["id"], status="in_progress")
    state_before = first.state
    first.kill()
    second = Up.start(data_dir)
    try:
        yield Revived(second, first.ready, state_before, ended["id"], rendering["id"], task["video_result"][0]["url"])
    finally:
        second.end()


@pytest.mark.xdist_group("killed")
class TestAfterAKill:
    def test_every_address_and_the_key_are_as_before(self, revived: Revived) -> None:
        assert revived.up.ready == revived.before

    def test_the_infrastructure_is_adopted_and_the_control_plane_is_new(self, revived: Revived) -> None:
        before, after = revived.state_before.parts, revived.up.state.parts
        kept = {name for name, identity in after.items() if before[name] == identity}
        assert kept == {"database", "s3", "ray"}
        assert all(before[name].process() is None for name in before.keys() - kept)

    def test_every_job_is_still_there_and_the_render_goes_on_where_it_was(self, revived: Revived) -> None:
        with revived.up.client() as client:
            assert client.get(f"/v1/videos/{revived.ended_id}").json()["status"] == "completed"
            steps: list[int] = []
            wait_for(client, revived.rendering_id, seen=lambda video: steps.append(video["step"]))
        assert steps == sorted(steps)
        assert steps[-1] == STEPS

    def test_a_url_that_was_signed_before_still_opens(self, revived: Revived) -> None:
        assert httpx.get(revived.signed_url).raise_for_status().headers["content-type"] == "video/mp4"


@pytest.mark.xdist_group("killed")
def test_ctrl_c_stops_everything_and_nothing_else_was_printed(revived: Revived) -> None:
    family = revived.up.family()
    assert len(family) > 8
    assert revived.up.stop() == (0, "")
    assert [process for process in family if process.is_running() and process.status() != "zombie"] == []
    assert revived.up.state.parts == {}
    examined = cogmill("doctor", "--data-dir", revived.up.data_dir)
    assert examined.returncode == 1
    failed = [line.split()[1] for line in examined.stdout.splitlines() if line.startswith("FAIL ")]
    assert failed == ["database", "schema", "bucket", "ray"]


def test_a_taken_port_is_one_line_that_names_it_and_who_wanted_it(seeded_data_dir: Callable[[str], Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        refused = cogmill("up", "--data-dir", seeded_data_dir("refused"), "--port", str(port))
    assert refused.returncode == 2
    assert refused.stderr == f"cogmill: port {port} is taken by another program, and the stack's api needs it\n"


def test_the_demo_leaves_a_checked_video_and_nothing_running() -> None:
    with data_dirs() as directory:
        done = cogmill("demo", "--data-dir", directory / "data", "--out", directory / "out")
        assert done.returncode == 0, done.stderr
        (mp4,) = (directory / "out").glob("*.mp4")
        (cover,) = (directory / "out").glob("*.png")
        for path in (mp4, cover):
            assert str(path) in done.stdout
            assert f"sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}" in done.stdout
        assert f"{mp4.stat().st_size} bytes, 96x64, 33 frames, 8 fps" in done.stdout
        assert State.from_json((directory / "data" / "stack.json").read_text()).parts == {}


def _submit(client: httpx.Client, *, steps: int) -> dict[str, str]:
    request = {"prompt": "a watermill", "num_inference_steps": steps, "num_frames": 9}
    submitted: dict[str, str] = client.post("/v1/videos", json=request).raise_for_status().json()
    return submitted


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.TransportError:
        return False

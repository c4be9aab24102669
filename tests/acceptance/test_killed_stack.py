"""`kill -9` of `cogmill up` costs nothing: the next one finds every job, every address and every render."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from orchestrator.local.state import State
from tests.support.stack import Up, cogmill, wait_for

STEPS = 200  # a render that is still going on when the stack has come back


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


def test_ctrl_c_stops_everything_and_nothing_else_was_printed(revived: Revived) -> None:
    family = revived.up.family()
    assert len(family) > 8
    assert revived.up.stop() == (0, "")
    assert [process for process in family if process.is_running() and process.status() != "zombie"] == []
    assert revived.up.state.parts == {}
    examined = cogmill("doctor", "--data-dir", revived.up.data_dir)
    assert examined.returncode == 1
    failed = [line.split()[1] for line in examined.stdout.splitlines() if line.startswith("FAIL ")]
    assert failed == ["database", "schema", "bucket", "ray", "gpus"]


def _submit(client: httpx.Client, *, steps: int) -> dict[str, str]:
    request = {"prompt": "a watermill", "num_inference_steps": steps, "num_frames": 9}
    submitted: dict[str, str] = client.post("/v1/videos", json=request).raise_for_status().json()
    return submitted

"""Finishing is not free: next to no GPU time and a long time of a worker's CPU hold nobody else's job up.

The attack was two requests of one step, delivered at 1920x1080 and 60 frames a second: they were charged 1.2 GPU
seconds, and another tenant's job waited 47 s for a finisher.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.dispatch.settler import Settler
from orchestrator.domain.job import VideoResult
from orchestrator.domain.protocol import Assignment, Rendered, Stage
from tests.support.api import CLUSTER, POOL, WORKER, Api, api_settings, in_process, serving
from tests.support.builders import a_result
from tests.support.control import a_settler
from tests.support.engine import give, running, status, the_end, until
from tests.support.finishing import plain_finisher
from tests.support.workers import PATIENCE_S, ScriptedModel
from workers.engine.parts import Watch
from workers.engine.roster import Roster

VIDEOS = "/v1/videos"
HEAVY = {"prompt": "sea", "num_inference_steps": 1, "size": "1920x1080", "fps": 60}


# ---------------------------------------------------------------- what it is charged: the API on real PostgreSQL
@pytest.fixture
async def hog(database_url: str) -> AsyncIterator[Api]:
    settings = api_settings(database_url)
    async with serving(settings) as app:
        hog = Api(app, settings, "hog", in_process(app))
        hog.http = await hog.client("hog")
        yield hog


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def test_two_requests_of_one_step_are_charged_their_finishing_and_another_tenants_jobs_go_first(hog: Api) -> None:
    store = hog.services.store
    heavy = [(await hog.http.post(VIDEOS, json=HEAVY)).raise_for_status().json() for _ in range(2)]
    assert heavy[0]["predicted_charge"] > 5 * heavy[0]["predicted_gpu_seconds"]
    async with await hog.client("modest") as modest:
        plain = [(await modest.post(VIDEOS, json={"prompt": "sea"})).raise_for_status().json() for _ in range(4)]
    assert sum(each["predicted_charge"] for each in plain) < heavy[0]["predicted_charge"]
    await hog.dispatching.beat(CLUSTER, {WORKER: POOL})
    claims = [(await hog.dispatching.claim(POOL, CLUSTER, [WORKER]))[0] for _ in range(6)]
    assert [claim.tenant for claim in claims] == ["hog", *["modest"] * 4, "hog"]

    # Its end is charged what its finishing took, and the ledger counts GPU seconds as ever.
    settler = _settler(hog)
    taken = a_result(gpu_seconds=0.6, stages={"finishing": 47.0})
    await settler.end([(claims[0], Rendered(result=taken))])
    total = (await hog.http.get("/v1/usage")).json()["total"]
    assert (total["gpu_seconds"], total["charge"]) == (0.6, 23.5)
    shown = (await hog.http.get(f"{VIDEOS}/{heavy[0]['id']}")).json()
    assert (shown["gpu_seconds"], shown["charge"]) == (0.6, 23.5)

    # And so it is in the day's budget, though GPU seconds alone would leave room for ever.
    budget = total["charge"] + 2 * heavy[1]["predicted_charge"] - 1
    await store.set_limits("hog", {"gpu_seconds_per_day": budget})
    assert refusal(await hog.http.post(VIDEOS, json=HEAVY)) == (429, "insufficient_quota")
    await store.set_limits("hog", {"gpu_seconds_per_day": None})


async def test_a_request_whose_finishing_is_larger_than_what_is_allowed_is_refused(hog: Api) -> None:
    await hog.services.store.set_limits("hog", {"largest_request": 5.0})
    assert refusal(await hog.http.post(VIDEOS, json=HEAVY)) == (400, "request_limit_exceeded")
    assert (await hog.http.post(VIDEOS, json={**HEAVY, "fps": 8, "size": "720x480"})).status_code == 200


def _settler(api: Api) -> Settler:

    return a_settler(api.dispatching, random.Random(1))


# ---------------------------------------------------------------- who has a finisher: the engine, and the real finisher
@dataclass
class Finishers:
    """Finishing whose `hog` goes on, frame by frame, until it is told that it is over; others are really finished."""

    directory: Path
    over: threading.Event = field(default_factory=threading.Event)
    begun: list[Assignment] = field(default_factory=list)
    # Of every frame of another's: the seconds for which each of the hog's has had a finisher.
    seen: list[tuple[float, ...]] = field(default_factory=list)
    roster: Roster | None = None

    def __call__(self, assignment: Assignment, frames: NDArray[np.uint8], watch: Watch) -> VideoResult:
        if assignment.tenant == "hog":
            self.begun.append(assignment)
            deadline = time.monotonic() + PATIENCE_S
            while not self.over.is_set():
                assert time.monotonic() < deadline, "it was never over"
                watch.proceed()
                time.sleep(0.001)
            return a_result(stages=watch.stages)

        def proceed() -> None:
            watch.proceed()
            self.seen.append(self.had())

        directory = self.directory / assignment.token.hex
        directory.mkdir()
        plain_finisher().finish(assignment, frames, directory, on_progress=proceed)
        return a_result(stages=watch.stages)

    def had(self) -> tuple[float, ...]:
        assert self.roster is not None
        with self.roster.renders.lock:
            now = self.roster.renders.clock()
            held = [self.roster.renders.by_token[each.token] for each in self.begun]
            return tuple(each.had_finisher_s(now) for each in held)


@pytest.mark.parametrize("heavy", [2, 4])
def test_who_fills_the_finishers_holds_up_nobody_elses_render(tmp_path: Path, heavy: int) -> None:
    """With two, they have both finishers. With four, two more wait for one, and leave the GPU to others."""
    finishers = Finishers(tmp_path)
    with running(ScriptedModel(), finishers) as roster:
        finishers.roster = roster
        hogs = []
        for number in range(heavy):
            until(lambda: roster.schedule.room_for("hog") > 0)
            hogs.append(give(roster, tenant="hog", seed=number, num_inference_steps=1))
        until(lambda: len(finishers.begun) == 2)
        until(lambda: all(status(roster, token).step == 1 for token in hogs))
        assert roster.schedule.crowded == (("hog",) if heavy == 4 else ())
        other = give(roster, tenant="other", seed=9)
        assert isinstance(the_end(roster, other), Rendered)
        assert all(status(roster, token).end is None for token in hogs)
        assert [status(roster, token).stage for token in hogs[:2]] == [Stage.FINISHING] * 2
        # One of the hog's kept its finisher all the while; the other one waited, and is no hang.
        first, last = finishers.seen[0], finishers.seen[-1]
        assert first[1] == last[1]
        finishers.over.set()
        ends = [the_end(roster, token) for token in hogs]
    assert all(isinstance(end, Rendered) for end in ends)

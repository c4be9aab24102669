"""`/v1/jobs/{id}/trace`, the same of any tenant, and `cogmill trace`: the life of a job, from the database alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio
from typer.testing import CliRunner

from orchestrator import cli
from orchestrator.domain.job import Failure, parse_public_id
from orchestrator.domain.outcome import settle
from orchestrator.domain.protocol import Broke
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.rights import ROLES, Role
from orchestrator.notify.outbox import Announcer
from tests.support.api import Api, in_process, listening

pytestmark = pytest.mark.asyncio(loop_scope="module")

TIMELINE = (("claim", 0.0, 0.001), ("encoding", 0.002, 0.5))


@pytest_asyncio.fixture(loop_scope="module")
async def viewer(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """Of another tenant than the jobs are of."""
    async with in_process(api.app, await api.key("platform", scopes=ROLES[Role.VIEWER])) as http:
        yield http


async def a_failed_video(api: Api) -> str:
    """That went through two stages, and whose end is told to a URL."""
    asked = {"prompt": "a lighthouse", "webhook_url": "https://93.184.216.34/hook"}
    answer = await api.http.post("/v1/videos", json=asked, headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-00"})
    video = str(answer.raise_for_status().json()["id"])
    claim = await api.claim(video)
    failure = Failure(code="impossible_request", message="it cannot be rendered", retryable=False)
    settlement = settle(claim, Broke(failure=failure, gpu_seconds=0.5), RetryPolicy(), jitter=0)
    await api.dispatching.settle([replace(settlement, timeline=TIMELINE)])
    return video


def outline(told: dict[str, Any]) -> list[tuple[int | None, str, str]]:
    return [(span["parent"], span["name"], span["note"]) for span in told["spans"]]


async def test_a_viewer_sees_what_befell_a_job_of_any_tenant(api: Api, viewer: httpx.AsyncClient) -> None:
    video = await a_failed_video(api)
    told = (await viewer.get(f"/v1/admin/jobs/{video}/trace")).raise_for_status().json()
    assert (told["tenant"], told["state"], told["trace_id"]) == (api.tenant, "failed", "a" * 32)
    failed = "impossible_request, it cannot be rendered"
    assert outline(told) == [
        (None, "job", f"failed: {failed}"),
        (0, "wait", "its turn"),
        (0, "attempt 1", f"failed on small-0, 0.5 GPU seconds: {failed}"),
        (2, "claim", ""),
        (2, "encoding", ""),
        (0, "webhook", "to be announced"),
    ]
    await Announcer(api.maintaining, api.settings).run_once()
    told = (await viewer.get(f"/v1/admin/jobs/{video}/trace")).raise_for_status().json()
    assert outline(told)[-1] == (0, "webhook", "video.failed to 93.184.216.34, pending, 0 tries")


async def test_a_tenant_sees_the_life_of_its_own_job_alone(api: Api, viewer: httpx.AsyncClient) -> None:
    video = await a_failed_video(api)
    path = f"/v1/jobs/{video}/trace"
    own = (await api.http.get(path)).raise_for_status().json()
    seen = (await viewer.get(f"/v1/admin/jobs/{video}/trace")).raise_for_status().json()
    assert outline(own) == outline(seen)
    assert {**own, "spans": None} == {**seen, "spans": None}
    async with await api.client("stranger") as stranger:
        assert (await stranger.get(path)).status_code == 404
    # Whoever may not see webhooks is not told of them here either.
    async with in_process(api.app, await api.key(scopes=frozenset({"read"}))) as narrow:
        told = (await narrow.get(path)).raise_for_status().json()
    assert outline(told) == outline(own)[:-1]
    # The page of the job has the same stages.
    whole = (await api.http.get(f"/v1/jobs/{video}")).json()
    assert [span["stage"] for span in whole["spans"]] == ["waiting", "claim", "encoding"]


async def test_a_trace_of_the_caller_is_kept_down_to_the_delivery(api: Api) -> None:
    video = await a_failed_video(api)
    await Announcer(api.maintaining, api.settings).run_once()
    connection = await asyncpg.connect(api.settings.database_url)
    kept = await connection.fetchval("SELECT trace FROM jobs WHERE id = $1", parse_public_id(video))
    told = await connection.fetchval("SELECT trace FROM deliveries WHERE body LIKE $1", f"%{video}%")
    await connection.close()
    assert kept == told == f"00-{'a' * 32}-{'b' * 16}-00"


async def test_what_waits_says_why_and_what_is_no_job_is_not_found(api: Api, viewer: httpx.AsyncClient) -> None:
    video = (await api.http.post("/v1/videos", json={"prompt": "a lighthouse"})).json()["id"]
    told = (await viewer.get(f"/v1/admin/jobs/{video}/trace")).raise_for_status().json()
    (_, (parent, name, why)) = outline(told)
    assert (parent, name) == (0, "wait")
    assert why.startswith("its turn; now: ")
    assert told["spans"][1]["ended_at"] is None
    await api.http.delete(f"/v1/videos/{video}")
    for gone in (video, "video_1", f"video_{'0' * 32}"):
        assert (await viewer.get(f"/v1/admin/jobs/{gone}/trace")).status_code == 404


async def test_the_command_draws_it_from_the_database(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    video = await a_failed_video(api)
    for name, value in {
        "DATABASE_URL": api.settings.database_url,
        "MASTER_KEY": "sixteen characters",
        "DEFAULT_MODEL": "tiny",
        "MODELS": json.dumps({"tiny": {"family": "tiny-2b", "source": "/models/tiny"}}),
        "POOLS": json.dumps({"small": {"model": "tiny"}}),
    }.items():
        monkeypatch.setenv(f"COGMILL_{name}", value)
    monkeypatch.delenv("COGMILL_CONFIG", raising=False)

    def cogmill(*arguments: str) -> str:
        done = CliRunner().invoke(cli.app, ["trace", *arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    facts, job, *parts = (await asyncio.to_thread(cogmill, video.removeprefix("video_"))).splitlines()
    assert facts.startswith(f"tenant {api.tenant}  pool small  model tiny-2b  trace id {'a' * 32}")
    assert video in job
    assert [line.rpartition("── ")[2].split("  ")[1] for line in parts if "──" in line][:3] == [
        "wait",
        "attempt 1",
        "claim",
    ]
    told = json.loads(await asyncio.to_thread(cogmill, video, "--json"))
    assert [span["name"] for span in told["spans"]][:4] == ["job", "wait", "attempt 1", "claim"]
    # Over the API, by a key of its tenant's alone.
    monkeypatch.setenv("COGMILL_KEY", await api.key())
    async with listening(api.app) as port:
        url = f"http://127.0.0.1:{port}"
        asked = json.loads(await asyncio.to_thread(cogmill, video, "--json", "--api", url))
    assert outline(asked) == outline(told)

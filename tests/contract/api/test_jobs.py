"""`/v1/jobs`: a tenant's jobs found by any filters, counted, and each with all that befell it."""

from __future__ import annotations

from typing import Any

import asyncpg
import httpx
import pytest

from orchestrator.domain.job import Failure
from orchestrator.domain.protocol import Broke
from orchestrator.domain.rights import ROLES, USUAL, Role
from tests.support.api import Api, in_process

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def made(api: Api, prompt: str = "a lighthouse", **fields: Any) -> str:
    answer = await api.http.post("/v1/videos", json={"prompt": prompt, **fields})
    return str(answer.raise_for_status().json()["id"])


async def found(api: Api, **query: Any) -> list[str]:
    page = (await api.http.get("/v1/jobs", params=query)).raise_for_status().json()
    assert page["searched_until"] is None
    return [job["id"] for job in page["data"]]


async def admin_of(api: Api) -> httpx.AsyncClient:
    return in_process(api.app, await api.key("staff", scopes=ROLES[Role.ADMIN]))


async def test_jobs_are_found_by_each_filter_and_by_all_of_several(api: Api) -> None:
    failed = await made(api, "a Lighthouse at dusk", metadata={"team": "news", "lang": "en"}, priority=13)
    await api.fail(failed)
    done = await made(api, "a mill", metadata={"team": "news"})
    await api.succeed(done)
    waits = await made(api, "50% of a_lighthouse", priority=20)
    for query, wanted in (
        ({}, [waits, done, failed]),
        ({"order": "asc"}, [failed, done, waits]),
        ({"state": "queued"}, [waits]),
        ({"state": ["failed", "succeeded"]}, [done, failed]),
        ({"pool": "small"}, [waits, done, failed]),
        ({"pool": "large"}, []),
        ({"model": "tiny-2b"}, [waits, done, failed]),
        ({"priority": 13}, [failed]),
        ({"code": "out_of_memory"}, [failed]),
        ({"text": "LIGHTHOUSE"}, [waits, failed]),
        ({"text": "%"}, [waits]),
        ({"text": "_lighthouse"}, [waits]),
        ({"metadata": "team=news"}, [done, failed]),
        ({"metadata": ["team=news", "lang=en"]}, [failed]),
        ({"metadata": "team=sports"}, []),
        ({"created_from": "2020-01-01"}, [waits, done, failed]),
        ({"created_to": "2020-01-01"}, []),
        ({"ended_from": "2020-01-01"}, [done, failed]),
        ({"ended_from": "2020-01-01", "ended_to": "2020-01-02"}, []),
        ({"state": "failed", "text": "lighthouse", "metadata": "team=news", "priority": 13}, [failed]),
        ({"campaign": "campaign_0"}, []),
        ({"custom_id": "row-1"}, []),
    ):
        assert await found(api, **query) == wanted, query


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"state": "lost"}, "state"),
        ({"metadata": "news"}, "metadata"),
        ({"created_from": "yesterday"}, "created_from"),
        ({"ended_from": "2020-01-02", "ended_to": "2020-01-01"}, "ended_to"),
        ({"priority": "-1"}, "priority"),
        ({"text": "x" * 201}, "text"),
        ({"custom_id": "\x00"}, "custom_id"),
    ],
)
async def test_a_filter_that_says_nothing_is_refused_by_its_name(api: Api, query: dict[str, str], param: str) -> None:
    for path in ("/v1/jobs", "/v1/jobs/counts"):
        answer = await api.http.get(path, params=query)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_a_page_goes_on_behind_its_last_id_in_both_orders_and_over_a_deleted_job(api: Api) -> None:
    ids = [await made(api, f"scene {number}") for number in range(5)]
    for order, whole in (("desc", ids[::-1]), ("asc", ids)):
        first = (await api.http.get("/v1/jobs", params={"limit": 2, "order": order})).json()
        assert ([job["id"] for job in first["data"]], first["has_more"]) == (whole[:2], True)
        rest = (await api.http.get("/v1/jobs", params={"order": order, "after": first["last_id"]})).json()
        assert ([job["id"] for job in rest["data"]], rest["has_more"]) == (whole[2:], False)
    await api.http.delete(f"/v1/videos/{ids[2]}")
    rest = (await api.http.get("/v1/jobs", params={"after": ids[2]})).json()
    assert [job["id"] for job in rest["data"]] == [ids[1], ids[0]]


async def test_a_row_of_a_campaign_is_found_by_its_custom_id(api: Api) -> None:
    job = await made(api)
    campaign = (await api.http.post("/v1/campaigns", json={"prompt": "a {product}"})).json()["id"]
    await row_of(api, campaign, job)
    assert await found(api, custom_id="mug-7") == [job]
    assert await found(api, custom_id="mug") == []
    assert (await api.http.get(f"/v1/jobs/{job}")).json()["custom_id"] == "mug-7"
    async with await api.client("stranger") as stranger:
        assert (await stranger.get("/v1/jobs", params={"custom_id": "mug-7"})).json()["data"] == []


async def test_counts_are_by_state_under_the_other_filters(api: Api) -> None:
    await api.fail(await made(api, "scene 9"))
    for number in range(3):
        await made(api, f"scene {number}", metadata={"even": str(number % 2 == 0)})
    counts = (await api.http.get("/v1/jobs/counts", params={"text": "scene", "state": "failed"})).json()
    assert {state: told["count"] for state, told in counts["states"].items() if told["count"]} == {
        "queued": 3, "failed": 1,
    }  # fmt: skip
    assert counts["total"] == {"count": 4, "about": False}
    counts = (await api.http.get("/v1/jobs/counts", params={"metadata": "even=True"})).json()
    assert counts["total"] == {"count": 2, "about": False}


async def test_a_job_tells_its_life_in_spans_and_happenings(api: Api) -> None:
    job = await made(api, max_attempts=2)
    await api.end(await api.claim(job), Broke(failure=Failure(code="boom", message="it broke"), gpu_seconds=2.0))
    told = (await api.http.get(f"/v1/jobs/{job}")).json()
    assert [(span["attempt"], span["stage"], span["ends_at"] is None) for span in told["spans"]] == [
        (1, "waiting", False), (1, "rendering", False), (2, "waiting", True),
    ]  # fmt: skip
    assert told["waits"][0]["code"] == "backing_off"
    assert told["waits"][0]["message"].startswith("1 of 2 attempts failed; the next one comes later: it is due in ")
    assert [(used["claim"], used["gpu_seconds"]) for used in told["usage"]] == [(1, 2.0)]
    await make_due(api)
    stages = {"denoising": 0.002, "encoding": 0.001, "preempted": 0.001}
    await api.publish(await api.claim(job), stages=stages)
    told = (await api.http.get(f"/v1/jobs/{job}")).json()
    assert [span["stage"] for span in told["spans"] if span["attempt"] == 2] == [
        "waiting", "encoding", "denoising", "preempted",
    ]  # fmt: skip
    assert [each["what"] for each in told["happenings"]] == [
        "accepted", "claimed", "attempt_ended", "claimed", "attempt_ended", "succeeded",
    ]  # fmt: skip
    assert told["happenings"][2]["detail"] == "failed: boom"
    assert (told["state"], told["video"]["status"], told["waits"]) == ("succeeded", "completed", [])
    assert [attempt["outcome"] for attempt in told["attempts"]] == ["failed", "succeeded"]


async def test_a_job_that_waits_says_what_must_change_first(api: Api) -> None:
    first, second = await made(api, priority=12), await made(api, priority=12)
    told = (await api.http.get(f"/v1/jobs/{second}")).json()
    assert told["waits"][-1]["code"] == "turn"
    assert "1 of its own tenant's" in told["waits"][-1]["message"]
    assert told["spans"] == [
        {"attempt": 1, "stage": "waiting", "begins_at": told["happenings"][0]["at"], "ends_at": None}
    ]
    claim = await api.claim(first)
    await hold_up(api, claim.token)
    told = (await api.http.get(f"/v1/jobs/{first}")).json()
    assert [wait["code"] for wait in told["waits"]] == ["preempted"]
    assert told["spans"][-1]["stage"] == "preempted"


async def test_deliveries_of_a_job_are_its_own_and_for_who_may_see_them(api: Api) -> None:
    job = await made(api)
    await api.succeed(job)
    other = await made(api)
    await deliver(api, [job, other])
    found_ = (await api.http.get(f"/v1/jobs/{job}/deliveries")).json()
    assert [each["event"]["data"]["id"] for each in found_["data"]] == [job]
    assert found_["complete"]
    async with in_process(api.app, await api.key(scopes=USUAL - {"webhooks"})) as narrow:
        assert (await narrow.get(f"/v1/jobs/{job}/deliveries")).status_code == 403


async def test_an_administrator_finds_any_tenants_jobs_and_sees_no_prompt(api: Api) -> None:
    job = await made(api, "a secret lighthouse", priority=17)
    async with await admin_of(api) as admin:
        mine = {"tenant": api.tenant}
        page = (await admin.get("/v1/admin/jobs", params={**mine, "priority": 17})).json()
        assert [each["id"] for each in page["data"]] == [job]
        counts = (await admin.get("/v1/admin/jobs/counts", params=mine)).json()
        assert counts["states"]["queued"] == {"count": 1, "about": False}
        whole = await admin.get(f"/v1/admin/jobs/{job}")
        assert whole.json()["waits"]
        assert whole.json()["spans"]
        assert "secret" not in whole.text + (await admin.get("/v1/admin/jobs", params=mine)).text


async def row_of(api: Api, campaign: str, job: str) -> None:
    """Make a job that of a campaign's row."""
    await _run(
        api,
        """WITH c AS (SELECT number FROM campaigns WHERE id = $1), r AS (
               INSERT INTO campaign_rows (campaign, place, line, custom_id, body) SELECT number, 0, 1, 'mug-7', '{}'
               FROM c)
           INSERT INTO campaign_jobs (campaign, place, pass, ordinal, version, job_id, reserved, day)
           SELECT number, 0, 1, 0, 1, $2, 0, current_date FROM c""",
        campaign,
        job.removeprefix("video_"),
    )


async def make_due(api: Api) -> None:
    await _run(api, "UPDATE jobs SET run_at = now(), ready = true WHERE tenant = $1 AND state = 'queued'", api.tenant)


async def hold_up(api: Api, token: object) -> None:
    await _run(api, "UPDATE jobs SET stage = 'preempted' WHERE token = $1", token)


async def deliver(api: Api, jobs: list[str]) -> None:
    for number, job in enumerate(jobs):
        await _run(
            api,
            """INSERT INTO deliveries (id, event_id, tenant, url, host, event_type, body, give_up_at)
               SELECT (substr(j.id::text, 1, 9) || 'ffff-7000-8000-' || lpad($3::text, 12, '0'))::uuid, 'evt_' || $3,
                      j.tenant, 'http://r/', 'r:80', 'video.completed',
                      json_build_object('type', 'video.completed', 'data', json_build_object('id', $2::text)),
                      now() + interval '1 day'
               FROM jobs AS j WHERE j.id = $1""",
            job.removeprefix("video_"),
            job,
            str(number),
        )


async def _run(api: Api, sql: str, *values: object) -> None:
    connection = await asyncpg.connect(api.settings.database_url)
    try:
        await connection.execute(sql, *values)
    finally:
        await connection.close()

"""`/v1/notes` and `/v1/job-filters`: what a tenant's people write down and keep, within bounds, and for nobody else."""

from __future__ import annotations

import pytest

from orchestrator.config.logins import Login
from orchestrator.intake import notes
from orchestrator.intake.notes import NotePruner
from tests.contract.api.test_bulk_actions import run
from tests.contract.api.test_jobs import made
from tests.support.api import Api
from tests.support.logins import acting

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_note_says_who_wrote_it_and_goes_with_what_it_is_about(api: Api) -> None:
    job = await made(api)
    campaign = (await api.http.post("/v1/campaigns", json={"prompt": "a {product}"})).json()["id"]
    for about in (job, campaign):
        for body in ("first", "<b>second</b>\nline"):
            written = (await api.http.post("/v1/notes", json={"about": about, "body": body})).raise_for_status().json()
            assert written["author"].startswith("key:cgm_")
            assert written["written_by"].startswith(f"{api.tenant}/tests (key ")
        page = (await api.http.get("/v1/notes", params={"about": about})).json()
        assert [note["body"] for note in page["data"]] == ["<b>second</b>\nline", "first"]
    (last, *_) = page["data"]
    assert (await api.http.delete(f"/v1/notes/{last['id']}")).json()["deleted"]
    assert (await api.http.delete(f"/v1/notes/{last['id']}")).status_code == 404
    await run(api, "DELETE FROM jobs WHERE id = $1", job.removeprefix("video_"))
    pruner = NotePruner(acting(api.services.store, Login.MAINTAIN))
    assert await pruner.run_once() == 2
    assert await pruner.run_once() == 0
    assert len((await api.http.get("/v1/notes", params={"about": campaign})).json()["data"]) == 1


@pytest.mark.parametrize("body", ["", "  ", "x" * 4_001, "a\x00b"])
async def test_a_note_says_something(api: Api, body: str) -> None:
    answer = await api.http.post("/v1/notes", json={"about": await made(api), "body": body})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "body")


async def test_nobody_writes_about_what_is_not_theirs(api: Api) -> None:
    job = await made(api)
    async with await api.client("stranger") as stranger:
        theirs = await stranger.post("/v1/notes", json={"about": job, "body": "mine"})
        missing = await stranger.post("/v1/notes", json={"about": f"{job[:-8]}00000000", "body": "mine"})
        assert theirs.status_code == missing.status_code == 404
        assert theirs.json()["error"]["param"] == "about"
        assert (await stranger.get("/v1/notes", params={"about": job})).json()["data"] == []


async def test_there_are_only_so_many_notes_and_filters(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MOST_ABOUT", "MOST_FILTERS"):
        monkeypatch.setattr(notes, name, 2)
    job = await made(api)
    answers = [await api.http.post("/v1/notes", json={"about": job, "body": "again"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].json()["error"]["code"] == "limit_notes"
    answers = [await api.http.put(f"/v1/job-filters/{name}", json={"filter": {}}) for name in ("a", "b", "c", "a")]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 200]


async def test_a_filter_is_kept_by_its_name_and_found_again_as_it_was(api: Api) -> None:
    wanted = {
        "state": ["failed", "cancelled"], "pool": "small", "priority": 20, "text": "lighthouse", "code": "worker_lost",
        "metadata": {"team": "news"}, "created_from": "2026-01-31T18:00:00Z",
    }  # fmt: skip
    saved = (await api.http.put("/v1/job-filters/bad%20nights", json={"filter": wanted})).raise_for_status().json()
    assert saved["id"] == "bad nights"
    (kept,) = (await api.http.get("/v1/job-filters")).json()["data"]
    assert kept == saved
    shown = {name: value for name, value in kept["filter"].items() if value is not None}
    assert shown == {**wanted, "state": ["cancelled", "failed"], "created_from": 1769882400}
    async with await api.client("stranger") as stranger:
        assert (await stranger.get("/v1/job-filters")).json()["data"] == []
        assert (await stranger.delete("/v1/job-filters/bad%20nights")).status_code == 404
    assert (await api.http.delete("/v1/job-filters/bad%20nights")).json() == {
        "id": "bad nights", "object": "job_filter.deleted", "deleted": True,
    }  # fmt: skip


async def test_a_filter_that_says_what_there_is_not_is_refused_by_its_field(api: Api) -> None:
    for wanted, param in (({"state": ["lost"]}, "filter.state.0"), ({"colour": "red"}, "filter.colour")):
        answer = await api.http.put("/v1/job-filters/x", json={"filter": wanted})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)

"""Reviews over HTTP: several people look at a campaign's videos at once, and nothing that one says is lost."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import asyncpg
import httpx
import pytest
import pytest_asyncio

from orchestrator.campaigns import campaigns, reviewing
from orchestrator.domain.campaign import CampaignState
from orchestrator.domain.job import Job
from orchestrator.intake.jobs import Jobs
from orchestrator.store import review_sheets, reviews
from tests.support.api import Api
from tests.support.campaigns import FAILS, PROMPT, CampaignScene, a_campaign_scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEAD = "custom_id,product,scene\n"
ROWS = HEAD + "".join(f"clip-{n},mug {n},table\n" for n in range(6)) + f"bad-1,{FAILS},table\nbad-2,{FAILS},table\n"


@dataclass
class Desk:
    """A campaign that is done, and who works on it."""

    api: Api
    scene: CampaignScene
    id: str

    @property
    def path(self) -> str:
        return f"/v1/campaigns/{self.id}/reviews"

    async def sheet(self, **query: Any) -> list[dict[str, Any]]:
        """All videos that a filter leaves, two on a page."""
        found: list[dict[str, Any]] = []
        after: dict[str, str] = {}
        while True:
            page = (await self.api.http.get(self.path, params={"limit": 2, **query, **after})).raise_for_status().json()
            found += page["data"]
            if not page["has_more"]:
                return found
            after = {"after": page["last_id"]}

    async def counts(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.api.http.get(f"{self.path}/counts")).raise_for_status().json()
        return found

    async def decide(self, video: dict[str, Any], version: int = 0, **said: Any) -> httpx.Response:
        return await self.api.http.put(f"/v1/reviews/{video['id']}", json={"version": version, **said})

    async def undo(self, video: dict[str, Any], version: int) -> httpx.Response:
        return await self.api.http.post(f"/v1/reviews/{video['id']}/undo", json={"version": version})

    async def apply(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.api.http.post(f"{self.path}/apply")).raise_for_status().json()
        return found

    async def done(self) -> None:
        """The campaign has come to its end, again."""
        campaign = await self.scene.campaigns.get(self.api.tenant, self.id)
        await self.scene.until(campaign, CampaignState.COMPLETED)

    async def row(self, custom_id: str) -> dict[str, Any]:
        answer = await self.api.http.get(f"/v1/campaigns/{self.id}/rows", params={"custom_id": custom_id})
        found: dict[str, Any] = answer.raise_for_status().json()["data"][0]
        return found


@pytest_asyncio.fixture(loop_scope="module")
async def desk(api: Api) -> AsyncIterator[Desk]:
    scene = a_campaign_scene(cast(Any, api.services.store), cast(Any, api.services.objects), api.settings, api.tenant)
    wish = {"prompt": PROMPT, "approval": "none", "defaults": {"profile": "draft"}}
    campaign_id = (await api.http.post("/v1/campaigns", json=wish)).raise_for_status().json()["id"]
    rows = {"content": ROWS, "headers": {"content-type": "text/csv"}}
    (await api.http.put(f"/v1/campaigns/{campaign_id}/input", **cast(Any, rows))).raise_for_status()
    while await scene.engine.ingest():
        pass
    found = Desk(api, scene, campaign_id)
    await found.done()
    yield found


def blamed(answer: httpx.Response) -> tuple[int, str, str | None]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"]


# ---------------------------------------------------------------- said


async def test_a_video_is_rated_approved_and_that_is_undone_step_by_step(desk: Desk) -> None:
    video = (await desk.sheet())[0]
    assert video["review"] == {
        "id": video["id"], "object": "review", "campaign": desk.id, "version": 0, "rating": None, "decision": None,
        "reason": None, "action": None, "reviewer": None, "decided_at": None, "applied_at": None, "applied_as": None,
        "held_by": None,
    }  # fmt: skip
    rated = (await desk.decide(video, rating=4)).raise_for_status().json()
    assert (rated["version"], rated["rating"], rated["decision"]) == (1, 4, None)
    approved = (await desk.decide(video, 1, rating=4, decision="approve")).raise_for_status().json()
    assert approved["reviewer"].startswith("key:")
    assert (await desk.counts())["approved"] == 1
    once = (await desk.undo(video, 2)).raise_for_status().json()
    assert (once["version"], once["rating"], once["decision"]) == (3, 4, None)
    twice = (await desk.undo(video, 3)).raise_for_status().json()
    assert (twice["version"], twice["rating"], twice["decision"]) == (4, None, None)
    assert blamed(await desk.undo(video, 4)) == (400, "wrong_state", None)
    history = (await desk.api.http.get(f"/v1/reviews/{video['id']}")).json()["history"]
    assert [(entry["kind"], entry["back_to"]) for entry in history] == [
        ("decided", None), ("decided", None), ("undone", 1), ("undone", 0),
    ]  # fmt: skip
    assert (await desk.counts())["undecided"] == 6


async def test_of_two_who_decide_at_once_one_holds_and_both_are_in_the_history(desk: Desk) -> None:
    video = (await desk.sheet())[1]
    both = await asyncio.gather(
        desk.decide(video, decision="approve"),
        desk.decide(video, decision="reject", reason="the handle", action="drop"),
    )
    held, refused = sorted(both, key=lambda answer: answer.status_code)
    assert (held.status_code, refused.status_code) == (200, 409)
    told = refused.json()
    assert (told["error"]["code"], told["review"]["decision"]) == ("review_conflict", held.json()["decision"])
    history = (await desk.api.http.get(f"/v1/reviews/{video['id']}")).json()["history"]
    assert [entry["kind"] for entry in history] == ["decided", "refused"]
    assert {entry["decision"] for entry in history} == {"approve", "reject"}
    # Whose answer was lost says the same again, and is told that it holds.
    again = await desk.decide(video, 0, **{name: held.json()[name] for name in ("decision", "reason", "action")})
    assert (again.status_code, again.json()["version"]) == (200, 1)


async def test_only_so_many_words_are_kept_of_one_video(desk: Desk) -> None:
    video = (await desk.sheet())[0]
    for version in range(105):
        (await desk.decide(video, version, rating=1 + version % 5)).raise_for_status()
    history = (await desk.api.http.get(f"/v1/reviews/{video['id']}")).json()["history"]
    assert [entry["version"] for entry in history] == list(range(6, 106))


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"rating": 6}, "rating"),
        ({"rating": 0}, "rating"),
        ({"decision": "maybe"}, "decision"),
        ({"decision": "approve", "action": "drop"}, "action"),
        ({"decision": "reject", "action": "burn"}, "action"),
        ({"decision": "reject", "reason": "x" * 501}, "reason"),
        ({"decision": "reject", "reason": "a\x00b"}, "reason"),
        ({"stars": 5}, "stars"),
    ],
)
async def test_what_is_wrong_with_a_review_is_named(desk: Desk, said: dict[str, Any], field: str) -> None:
    video = (await desk.sheet())[0]
    answer = await desk.decide(video, **said)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)


# ---------------------------------------------------------------- shared out


async def test_two_reviewers_are_not_given_the_same_and_what_is_given_back_goes_round_again(desk: Desk) -> None:
    async def take(holder: str, limit: int) -> list[str]:
        answer = await desk.api.http.post(f"{desk.path}/hold", json={"holder": holder, "limit": limit})
        return [video["custom_id"] for video in answer.raise_for_status().json()["data"]]

    one, two = await asyncio.gather(take("a", 2), take("b", 2))
    more = await take("c", 10)
    assert sorted(one + two + more) == [f"clip-{n}" for n in range(6)]
    assert sorted(await take("a", 10)) == sorted(one)  # its own, again
    assert (await desk.counts())["held"] == 6
    given = await desk.api.http.post(f"{desk.path}/release", json={"holder": "b"})
    assert given.json()["released"] == len(two)
    assert sorted(await take("c", 10)) == sorted(two + more)
    decided = next(video for video in await desk.sheet() if video["custom_id"] in one)
    (await desk.decide(decided, decision="approve")).raise_for_status()
    assert decided["custom_id"] not in await take("a", 10)


async def test_who_comes_second_at_the_same_moment_is_given_others(desk: Desk) -> None:
    first = (await desk.sheet())[:2]
    faster = await asyncpg.connect(desk.api.settings.database_url)
    try:
        async with faster.transaction():
            for video in first:
                await faster.execute(
                    """INSERT INTO reviews (job_id, tenant, campaign, place, held_by, held_until)
                       SELECT $1, tenant, number, $3, 'faster', cogmill_now() + interval '5 minutes'
                       FROM campaigns WHERE id = $2""",
                    video["id"].removeprefix("video_"),
                    desk.id,
                    first.index(video),
                )
            # Who waits for one of those rows has chosen them already.
            second = asyncio.create_task(desk.api.http.post(f"{desk.path}/hold", json={"holder": "b", "limit": 2}))
            while not await faster.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                assert not second.done()
                await asyncio.sleep(0.01)
    finally:
        await faster.close()
    page = (await second).raise_for_status().json()
    assert [video["custom_id"] for video in page["data"]] == ["clip-2", "clip-3"]
    assert page["has_more"]


async def test_what_somebody_held_is_given_to_others_once_that_time_is_over(desk: Desk) -> None:
    (await desk.api.http.post(f"{desk.path}/hold", json={"holder": "gone", "limit": 100})).raise_for_status()
    connection = await asyncpg.connect(desk.api.settings.database_url)
    try:
        await connection.execute("UPDATE reviews SET held_until = cogmill_now() WHERE tenant = $1", desk.api.tenant)
    finally:
        await connection.close()
    taken = await desk.api.http.post(f"{desk.path}/hold", json={"holder": "next", "limit": 100})
    assert len(taken.json()["data"]) == 6


# ---------------------------------------------------------------- listed


async def test_a_video_that_was_deleted_is_nobodys_to_decide_on(desk: Desk) -> None:
    one, two, *rest = await desk.sheet()
    (await desk.decide(one, decision="approve")).raise_for_status()
    for video in (one, two):
        (await desk.api.http.delete(f"/v1/videos/{video['id']}")).raise_for_status()
    answer = await desk.api.http.post(f"{desk.path}/hold", json={"holder": "a", "limit": 10})
    assert [video["id"] for video in answer.raise_for_status().json()["data"]] == [video["id"] for video in rest]
    for video in rest:
        (await desk.decide(video, decision="approve")).raise_for_status()
    counts = await desk.counts()
    assert (counts["videos"], counts["approved"], counts["undecided"]) == (len(rest), len(rest), 0)


async def test_a_sheet_is_filtered_and_exported_and_no_cell_of_it_runs(desk: Desk) -> None:
    videos = await desk.sheet()
    assert [video["custom_id"] for video in videos] == [f"clip-{n}" for n in range(6)]
    (await desk.decide(videos[0], decision="approve", rating=5)).raise_for_status()
    (await desk.decide(videos[1], decision="reject", reason="=HYPERLINK(1)", action="drop")).raise_for_status()
    assert [video["custom_id"] for video in await desk.sheet(decision="undecided")] == [
        f"clip-{n}" for n in range(2, 6)
    ]
    assert [video["custom_id"] for video in await desk.sheet(rating=5)] == ["clip-0"]
    assert await desk.sheet(flagged=True) == []
    lines = (await desk.api.http.get(f"{desk.path}/export")).text.splitlines()
    assert [json.loads(line)["decision"] for line in lines] == ["approve", "reject", None, None, None, None]
    answer = await desk.api.http.get(f"{desk.path}/export", params={"format": "csv", "decision": "reject"})
    [cells] = list(csv.DictReader(io.StringIO(answer.text)))
    assert (cells["custom_id"], cells["reason"]) == ("clip-1", "'=HYPERLINK(1)")
    listed = (await desk.api.http.get("/v1/reviews", params={"decision": "approve"})).json()["data"]
    assert [review["id"] for review in listed] == [videos[0]["id"]]


# ---------------------------------------------------------------- carried out


async def test_what_fits_is_found_behind_stretches_of_which_nothing_does(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review_sheets, "_LOOK", 2)
    *decided, last = await desk.sheet()
    for video in decided:
        (await desk.decide(video, decision="approve", rating=3)).raise_for_status()
    assert [video["id"] for video in await desk.sheet(decision="undecided")] == [last["id"]]
    assert [video["id"] for video in await desk.sheet(rating=3)] == [video["id"] for video in decided]
    given: list[list[str]] = []
    after, more = None, True
    while more:
        asked = {"holder": "desk-1", "limit": 2, "after": after}
        page = (await desk.api.http.post(f"{desk.path}/hold", json=asked)).raise_for_status().json()
        given.append([video["custom_id"] for video in page["data"]])
        after, more = page["last_id"], page["has_more"]
    assert given[:3] == [[], [], [last["custom_id"]]]
    connection = await asyncpg.connect(desk.api.settings.database_url)
    flag = """UPDATE campaign_rows SET result = result || '{"flags": ["black"]}' WHERE custom_id = $1
              AND campaign = (SELECT number FROM campaigns WHERE id = $2)"""
    await connection.execute(flag, last["custom_id"], desk.id)
    await connection.close()
    assert [video["flags"] for video in await desk.sheet(flagged=True)] == [["black"]]


async def test_what_is_rejected_is_rendered_with_another_seed_or_left_out(desk: Desk) -> None:
    videos = await desk.sheet()
    (await desk.decide(videos[0], decision="reject")).raise_for_status()
    (await desk.decide(videos[1], decision="reject", action="drop")).raise_for_status()
    (await desk.decide(videos[2], decision="approve")).raise_for_status()
    assert {name: (await desk.counts())[name] for name in ("new_seed", "drop")} == {"new_seed": 1, "drop": 1}
    done = await desk.apply()
    assert (done["new_seed"], done["drop"], done["campaign"]["state"]) == (1, 1, "running")
    await desk.done()
    again = await desk.row("clip-0")
    assert again["state"] == "succeeded"
    assert (again["seed"] != videos[0]["seed"], again["video_id"] != videos[0]["id"]) == (True, True)
    assert (await desk.row("clip-1"))["state"] == "dropped"
    assert [video["review"]["decision"] for video in await desk.sheet()] == [None, "approve", None, None, None]
    counts = await desk.counts()
    assert (counts["videos"], counts["undecided"], counts["applied"]) == (5, 4, 2)
    # What was carried out stays so, for whoever comes late.
    assert blamed(await desk.undo(videos[0], 1)) == (400, "wrong_state", None)
    assert (await desk.apply())["new_seed"] == 0


async def test_a_campaign_that_runs_goes_on_when_a_row_is_dropped(api: Api) -> None:
    scene = a_campaign_scene(cast(Any, api.services.store), cast(Any, api.services.objects), api.settings, api.tenant)
    wish = {"prompt": PROMPT, "sample": 2}
    campaign_id = (await api.http.post("/v1/campaigns", json=wish)).raise_for_status().json()["id"]
    sent = {"content": HEAD + "a,mug,table\nb,cup,table\nc,jug,table\n", "headers": {"content-type": "text/csv"}}
    (await api.http.put(f"/v1/campaigns/{campaign_id}/input", **cast(Any, sent))).raise_for_status()
    campaign = await scene.until(await scene.campaigns.get(api.tenant, campaign_id), CampaignState.AWAITING_APPROVAL)
    desk = Desk(api, scene, campaign_id)
    approval = {"plan_token": campaign.plan_token}
    (await api.http.post(f"/v1/campaigns/{campaign_id}/approve", json=approval)).raise_for_status()
    await scene.step()
    (await desk.decide((await desk.sheet())[0], decision="reject", action="drop")).raise_for_status()
    told = (await desk.apply())["campaign"]
    assert (told["state"], told["plan_token"]) == ("running", told["approved_token"])
    await desk.done()
    assert (await api.http.get(f"/v1/campaigns/{campaign_id}")).json()["counts"]["dropped"] == 1


async def test_a_campaign_that_was_cancelled_renders_nothing_again(api: Api, desk: Desk) -> None:
    wish = {"prompt": PROMPT, "approval": "none", "clone_of": desk.id}
    other = (await api.http.post("/v1/campaigns", json=wish)).raise_for_status().json()["id"]
    await desk.scene.step()
    await desk.scene.step()
    await desk.scene.render(most=3)
    await desk.scene.step()
    second = Desk(api, desk.scene, other)
    (await second.decide((await second.sheet())[0], decision="reject")).raise_for_status()
    (await api.http.post(f"/v1/campaigns/{other}/cancel")).raise_for_status()
    assert blamed(await api.http.post(f"{second.path}/apply")) == (400, "wrong_state", None)


async def test_a_promoted_video_is_looked_at_anew_beside_its_draft(desk: Desk) -> None:
    draft = (await desk.sheet())[0]
    (await desk.decide(draft, decision="approve")).raise_for_status()
    body = {"rows": ["clip-0"], "profile": "exact"}
    (await desk.api.http.post(f"/v1/campaigns/{desk.id}/promote", json=body)).raise_for_status()
    await desk.done()
    [final] = await desk.sheet(promoted=True)
    assert (final["draft_id"], final["review"]["version"]) == (draft["id"], 0)
    assert blamed(await desk.decide(draft, 1, rating=1)) == (400, "wrong_state", None)


async def test_all_that_is_approved_is_rendered_in_full_at_once_however_many_and_only_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaigns, "MAX_NAMED", 1)  # nobody has to name them
    drafts = await desk.sheet()
    promote = f"{desk.path}/promote"
    assert (await desk.api.http.post(promote)).raise_for_status().json()["rows"] == 0
    for draft in drafts[:3]:
        (await desk.decide(draft, decision="approve")).raise_for_status()
    first = (await desk.api.http.post(promote)).raise_for_status().json()
    assert (first["rows"], first["campaign"]["state"]) == (3, "running")
    # Before any of them is begun, and with one more approved.
    (await desk.decide(drafts[4], decision="approve")).raise_for_status()
    assert [(await desk.api.http.post(promote)).json()["rows"] for _ in range(2)] == [1, 0]
    await desk.done()
    finals = await desk.sheet(promoted=True)
    assert [final["draft_id"] for final in finals] == [drafts[n]["id"] for n in (0, 1, 2, 4)]
    # A final is looked at anew, and is rendered in full already.
    (await desk.decide(finals[0], decision="approve")).raise_for_status()
    assert (await desk.api.http.post(promote, json={"profile": "exact"})).json()["rows"] == 0
    assert blamed(await desk.api.http.post(promote, json={"profile": "draft"}))[2] == "profile"


async def test_while_all_are_promoted_none_is_asked_for_twice(desk: Desk) -> None:
    (await desk.decide((await desk.sheet())[0], decision="approve")).raise_for_status()
    (await desk.api.http.post(f"/v1/campaigns/{desk.id}/promote")).raise_for_status()
    assert (await desk.api.http.post(f"{desk.path}/promote")).json()["rows"] == 0


async def test_rejections_beyond_what_is_carried_out_at_once_wait_for_the_next_time(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reviews, "_AT_ONCE", 2)
    for video in (await desk.sheet())[:5]:
        (await desk.decide(video, decision="reject", reason="too dark", action="drop")).raise_for_status()
    assert [(await desk.apply())["drop"] for _ in range(4)] == [2, 2, 1, 0]
    assert (await desk.counts())["rejected"] == 0
    assert len(await desk.sheet()) == 1


async def test_counts_of_many_are_some_seconds_old_at_most_and_new_after_what_is_carried_out(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(reviewing, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    videos = await desk.sheet()

    async def approved() -> int:
        return int((await desk.counts())["approved"])

    # Of few it is counted each time.
    assert await approved() == 0
    (await desk.decide(videos[0], decision="approve")).raise_for_status()
    assert await approved() == 1
    monkeypatch.setattr(reviewing, "MANY_VIDEOS", len(videos))
    assert await approved() == 1
    (await desk.decide(videos[1], decision="approve")).raise_for_status()
    clock[0] += reviewing.COUNT_S - 0.1
    assert await approved() == 1
    clock[0] += 0.2
    assert await approved() == 2
    (await desk.decide(videos[2], decision="reject", reason="dark", action="drop")).raise_for_status()
    assert (await desk.counts())["rejected"] == 0
    assert (await desk.apply())["drop"] == 1
    told = await desk.counts()
    assert (told["rejected"], told["applied"], told["videos"]) == (0, 1, len(videos) - 1)
    assert told["undecided"] == len(videos) - 3


async def test_a_video_of_no_campaign_is_rejected_and_rendered_again_once(api: Api) -> None:
    video_id = (await api.http.post("/v1/videos", json={"prompt": "a mill", "seed": 7})).json()["id"]
    for none in (video_id, f"video_{'f' * 32}"):
        assert (await api.http.put(f"/v1/reviews/{none}", json={"version": 0, "rating": 3})).status_code == 404
    await api.succeed(video_id)
    said = {"version": 0, "decision": "reject", "reason": "no wind"}
    (await api.http.put(f"/v1/reviews/{video_id}", json=said)).raise_for_status()
    path = f"/v1/reviews/{video_id}/render_again"
    first, second = [(await api.http.post(path, json={"version": 1})).raise_for_status().json() for _ in range(2)]
    assert first["applied_as"] == second["applied_as"] is not None
    made = (await api.http.get(f"/v1/videos/{first['applied_as']}")).json()
    assert (made["retry_of"], made["prompt"], made["seed"] != 7) == (video_id, "a mill", True)
    assert await api.rows() == 2


async def test_who_takes_a_rejection_back_while_it_is_carried_out_has_no_video_made(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    video_id = (await api.http.post("/v1/videos", json={"prompt": "a mill"})).json()["id"]
    await api.succeed(video_id)
    path = f"/v1/reviews/{video_id}"
    (await api.http.put(path, json={"version": 0, "decision": "reject"})).raise_for_status()
    reseed = Jobs.reseed

    async def slowly(self: Jobs, *args: Any, **kwargs: Any) -> Job:
        made = await reseed(self, *args, **kwargs)
        (await api.http.post(f"{path}/undo", json={"version": 1})).raise_for_status()
        return made

    monkeypatch.setattr(Jobs, "reseed", slowly)
    assert blamed(await api.http.post(f"{path}/render_again", json={"version": 1})) == (400, "wrong_state", None)
    states = [job["state"] for job in (await api.http.get("/v1/jobs")).json()["data"]]
    assert states == ["cancelled", "succeeded"]


# ---------------------------------------------------------------- how it got on


async def test_a_burn_up_ends_where_the_campaign_stands_and_failures_have_reasons(desk: Desk) -> None:
    path = f"/v1/campaigns/{desk.id}"
    budget = {"amount": 10_000, "unit": "gpu_seconds", "actions": [{"percent": 80, "do": "tell"}]}
    (await desk.api.http.post(f"{path}/retry")).raise_for_status()
    (await desk.api.http.patch(path, json={"budget": budget})).raise_for_status()
    told = (await desk.api.http.get(f"{path}/progress")).raise_for_status().json()
    assert told["rows"] == 8
    assert (told["points"][-1]["succeeded"], told["points"][-1]["failed"]) == (6, 2)
    assert len(told["points"]) >= 2  # what was written while rows ended, and now
    assert told["budget"]["thresholds"][0] == {"percent": 80, "do": "tell", "at": 8000.0, "taken": False}
    await desk.done()
    failures = (await desk.api.http.get(f"{path}/failures")).raise_for_status().json()
    [reason] = failures["data"]
    assert (reason["code"], reason["rows"], failures["looked_at"]) == ("out_of_memory", 2, 2)
    assert [row["custom_id"] for row in reason["examples"]] == ["bad-1", "bad-2"]


async def test_reviews_go_with_their_campaign_and_with_their_video(desk: Desk) -> None:
    (await desk.decide((await desk.sheet())[0], decision="approve")).raise_for_status()
    (await desk.api.http.delete(f"/v1/campaigns/{desk.id}")).raise_for_status()
    while await desk.scene.pruner.run_once():
        pass
    connection = await asyncpg.connect(desk.api.settings.database_url)
    try:
        for table in ("reviews", "review_entries"):
            assert await connection.fetchval(f"SELECT count(*) FROM {table} WHERE tenant = $1", desk.api.tenant) == 0
        count = "SELECT count(*) FROM campaign_progress WHERE campaign NOT IN (SELECT number FROM campaigns)"
        assert await connection.fetchval(count) == 0
    finally:
        await connection.close()


# ---------------------------------------------------------------- priced


async def test_a_video_is_priced_before_it_is_asked_for(api: Api) -> None:
    asked = {"size": "96x64", "num_frames": 33, "num_inference_steps": 10}
    told = (await api.http.post("/v1/videos/quote", json=asked)).raise_for_status().json()
    twice = (await api.http.post("/v1/videos/quote", json={**asked, "num_inference_steps": 20})).json()
    assert (told["steps"], told["size"], told["num_frames"], told["money"]) == (10, "96x64", 33, None)
    assert told["gpu_seconds"]["low"] <= told["gpu_seconds"]["likely"] < twice["gpu_seconds"]["likely"]
    assert await api.rows() == 0
    answer = await api.http.post("/v1/videos/quote", json={"num_frames": 8})
    assert blamed(answer)[::2] == (400, "num_frames")
    models = (await api.http.get("/v1/models")).json()["data"]
    assert models[0]["steps"]["exact"] == models[0]["default_steps"]


async def test_a_strangers_word_counts_for_nothing(desk: Desk) -> None:
    video = (await desk.sheet())[0]
    async with await desk.api.client(uuid4().hex) as stranger:
        said = await stranger.put(f"/v1/reviews/{video['id']}", json={"version": 0, "rating": 1})
        assert said.status_code == 404
        assert (await stranger.get("/v1/reviews")).json()["data"] == []
    assert (await desk.sheet())[0]["review"]["version"] == 0

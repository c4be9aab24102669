"""Nobody goes before all others by asking for it: the most urgent priority is the operator's word, in every dialect."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.support.api import CLUSTER, POOL, WORKER, Api, api_settings, in_process, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

VIDEOS, CAMPAIGNS, TASKS = "/v1/videos", "/v1/campaigns", "/api/paas/v4/videos/generations"


def refusal(answer: httpx.Response) -> tuple[int, str, str, bool]:
    """Its status, code and field, and whether it tells the limit's value."""
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"], "limit most_urgent allows: 10 " in error["message"]


REFUSED = (403, "limit_most_urgent", "priority", True)


async def allow(api: Api, most_urgent: int | None) -> None:
    """As `cogmill tenants limit --most-urgent` does."""
    await api.services.store.set_limits(api.tenant, {"most_urgent": most_urgent})


async def made(api: Api, path: str = VIDEOS, **fields: Any) -> dict[str, Any]:
    answer = await api.http.post(path, json={"prompt": "sea", **fields})
    assert answer.status_code == 200, answer.text
    created: dict[str, Any] = answer.json()
    return created


async def test_twelve_wishes_to_be_first_are_refused_and_twelve_usual_jobs_share_with_one_of_another(
    database_url: str,
) -> None:
    settings = api_settings(database_url)
    async with serving(settings) as app:
        api = Api(app, settings, "greedy", in_process(app))
        async with await api.client("greedy") as greedy, await api.client("modest") as modest:
            for _ in range(12):
                refused = await greedy.post(VIDEOS, json={"prompt": "sea", "priority": 0})
                assert refusal(refused) == REFUSED
                await greedy.post(VIDEOS, json={"prompt": "sea", "priority": 10})
            assert await api.rows() == 12
            await modest.post(VIDEOS, json={"prompt": "sea"})
        await api.dispatching.beat(CLUSTER, {WORKER: POOL})
        first = await api.dispatching.claim(POOL, CLUSTER, [WORKER, WORKER])
        assert {claim.tenant for claim in first} == {"greedy", "modest"}


@pytest.mark.parametrize(
    "body",
    [
        {"json": {"prompt": "sea", "priority": 9}},
        {"json": {"prompt": "sea", "extra_body": {"priority": 0}}},
        {"files": {"prompt": (None, "sea"), "priority": (None, "0")}},
    ],
    ids=["JSON", "an envelope", "a form"],
)
async def test_a_more_urgent_wish_is_refused_however_it_is_written(api: Api, body: dict[str, Any]) -> None:
    assert refusal(await api.http.post(VIDEOS, **body)) == REFUSED
    assert await api.rows() == 0


async def test_the_dialect_that_has_no_priority_has_the_usual_one_whatever_it_says(api: Api) -> None:
    task = await made(api, TASKS, model="cogvideox-3", priority=0)
    assert (await api.services.jobs.get(api.tenant, task["id"])).priority == 10
    await allow(api, 30)
    task = await made(api, TASKS, model="cogvideox-3")
    assert (await api.services.jobs.get(api.tenant, task["id"])).priority == 30


async def test_the_operator_decides_how_urgent_a_tenant_may_be(api: Api) -> None:
    await allow(api, 0)
    assert (await made(api, priority=0))["priority"] == 0
    await allow(api, 30)
    assert (await made(api))["priority"] == 30  # what wishes for nothing is as urgent as may be
    refused = await api.http.post(VIDEOS, json={"prompt": "sea", "priority": 10})
    assert (refused.status_code, refused.json()["error"]["param"]) == (403, "priority")
    await allow(api, None)
    assert (await made(api))["priority"] == 10


async def test_what_is_made_like_an_urgent_video_is_no_way_around_it(api: Api) -> None:
    await allow(api, 0)
    urgent, usual = await made(api, priority=0), await made(api)
    for video in (urgent, usual):
        await api.services.jobs.cancel(api.tenant, video["id"])
    await allow(api, None)
    assert refusal(await api.http.post(f"{VIDEOS}/{urgent['id']}/retry")) == REFUSED
    assert refusal(await api.http.post(f"{VIDEOS}/{urgent['id']}/remix", json={"prompt": "a mill"})) == REFUSED
    assert (await made(api, f"{VIDEOS}/{usual['id']}/retry"))["priority"] == 10
    await allow(api, 30)
    assert (await made(api, f"{VIDEOS}/{usual['id']}/retry"))["priority"] == 30


async def test_a_repetition_is_answered_whatever_is_allowed_since(api: Api) -> None:
    await allow(api, 0)
    wish = {"json": {"prompt": "sea", "priority": 0}, "headers": {"idempotency-key": "once"}}
    first = await api.http.post(VIDEOS, **wish)
    await allow(api, None)
    assert (await api.http.post(VIDEOS, **wish)).json()["id"] == first.json()["id"]


async def test_a_campaign_is_as_urgent_as_its_tenant_may_be(api: Api) -> None:
    assert refusal(await api.http.post(CAMPAIGNS, json={"prompt": "sea", "priority": 0})) == REFUSED
    campaign = await made(api, CAMPAIGNS, priority=10)
    path = f"{CAMPAIGNS}/{campaign['id']}"
    assert refusal(await api.http.patch(path, json={"priority": 9})) == REFUSED
    assert (await api.http.patch(path, json={"priority": None})).json()["priority"] == 20
    await allow(api, 30)
    assert (await api.http.patch(path, json={"priority": None})).json()["priority"] == 30
    assert (await made(api, CAMPAIGNS))["priority"] == 30


async def test_a_clone_of_an_urgent_campaign_is_no_way_around_it(api: Api) -> None:
    await allow(api, 0)
    urgent, usual = await made(api, CAMPAIGNS, priority=0), await made(api, CAMPAIGNS)
    await allow(api, None)
    assert refusal(await api.http.post(CAMPAIGNS, json={"clone_of": urgent["id"]})) == REFUSED
    less = await api.http.post(CAMPAIGNS, json={"clone_of": urgent["id"], "priority": 15})
    assert less.json()["priority"] == 15
    await allow(api, 30)
    assert (await api.http.post(CAMPAIGNS, json={"clone_of": usual["id"]})).json()["priority"] == 30

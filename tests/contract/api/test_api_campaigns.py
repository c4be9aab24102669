"""Campaigns over HTTP: created, changed, planned, approved, steered; each field read, and blamed where it is wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from orchestrator.capacity.forecasting import Forecasting
from orchestrator.config import Settings
from orchestrator.domain.campaign import CampaignState
from orchestrator.domain.catalog import Profile
from orchestrator.domain.rights import Scope
from tests.support.api import Api, api_settings, serving
from tests.support.campaigns import FAILS, PROMPT, CampaignScene, a_campaign_scene
from tests.support.postgres import Server
from tests.support.s3 import S3Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

CAMPAIGNS = "/v1/campaigns"
CSV = "custom_id,product,scene\n" + "".join(f"clip-{n},mug {n},table\n" for n in range(6))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api_app(
    postgres_server: Server, migrated_template: str, s3_server: S3Server
) -> AsyncIterator[tuple[FastAPI, Settings]]:
    """As every test's, with a price of one unit a second."""
    plain = api_settings(postgres_server.url(postgres_server.new_database(migrated_template)), s3_server.new_bucket())
    pools = {"small": {"model": "tiny-2b", "price_per_gpu_hour": 3600}}
    settings = Settings.model_validate(plain.model_dump() | {"pools": pools, "billing": {"currency": "EUR"}})
    async with serving(settings) as app:
        yield app, settings


@pytest.fixture
def scene(api: Api) -> CampaignScene:
    """What works on the tenant's campaigns."""
    return a_campaign_scene(cast(Any, api.services.store), cast(Any, api.services.objects), api.settings, api.tenant)


async def create(api: Api, **fields: Any) -> dict[str, Any]:
    answer = await api.http.post(CAMPAIGNS, json={"prompt": PROMPT, **fields})
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def planned(api: Api, scene: CampaignScene, rows: str = CSV, **fields: Any) -> dict[str, Any]:
    """A campaign whose rows are in."""
    made = await create(api, input=await scene.upload(rows), **fields)
    assert made["state"] == "ingesting"
    while await scene.engine.ingest():  # also what other tests have left
        pass
    return await read(api, made)


async def read(api: Api, campaign: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = (await api.http.get(f"{CAMPAIGNS}/{campaign['id']}")).raise_for_status().json()
    return found


async def told(api: Api, campaign: dict[str, Any], verb: str, **fields: Any) -> httpx.Response:
    return await api.http.post(f"{CAMPAIGNS}/{campaign['id']}/{verb}", json=fields)


async def until(api: Api, scene: CampaignScene, campaign: dict[str, Any], *states: CampaignState) -> dict[str, Any]:
    await scene.until(await scene.campaigns.get(api.tenant, campaign["id"]), *states)
    return await read(api, campaign)


def blamed(answer: httpx.Response) -> tuple[int, str, str | None]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"]


# ---------------------------------------------------------------- forecast


async def test_a_campaign_and_its_pool_are_told_with_their_forecast(api: Api, scene: CampaignScene) -> None:
    deadline = int(datetime.now(UTC).timestamp()) + 600
    made = await planned(api, scene, approval="none", deadline=deadline)
    await scene.engine.move()
    pool = api.settings.pool_of("tiny-2b", Profile.EXACT)
    forecasting = Forecasting(api.settings, api.maintaining, api.services.book)
    assert await forecasting.run_once()
    api.services.forecasts._known.expire()
    found = (await read(api, made))["forecast"]
    assert found is not None
    assert (found["at_risk"], found["rows_per_hour"]) == (True, None)
    assert found["reason"] in (None, f"pool {pool} has no worker")
    assert found["advice"]
    headers = {"authorization": f"Bearer {await api.key(scopes=frozenset(Scope))}"}
    listed = await api.http.get("/v1/pools", headers=headers)
    (shown,) = [each for each in listed.raise_for_status().json()["data"] if each["id"] == pool]
    assert set(shown["forecast"]) == {"low_at", "likely_at", "high_at", "made_at", "reason"}


async def test_what_is_refused_of_on_miss_names_it(api: Api) -> None:
    for fields in ({"on_miss": "perhaps"}, {"on_miss": "refuse", "approval": "none"}):
        answer = await api.http.post(CAMPAIGNS, json={"prompt": PROMPT, **fields})
        assert blamed(answer) == (400, "invalid_value", "on_miss")
    made = await create(api, approval="none")
    answer = await api.http.patch(f"{CAMPAIGNS}/{made['id']}", json={"on_miss": "refuse"})
    assert blamed(answer) == (400, "invalid_value", "on_miss")


# ---------------------------------------------------------------- created


async def test_every_field_of_a_wish_comes_back(api: Api) -> None:
    deadline = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=12)
    wish: dict[str, Any] = {
        "name": "mugs", "defaults": {"size": "96x64"}, "variants": 2, "seeds": [7, 8], "sample": 3, "order": "spread",
        "strict": True, "approval": "none", "priority": 5, "max_running": 4,
        "budget": {"amount": 9.5, "unit": "money", "actions": [{"percent": 80, "do": "tell"}]},
        "stop_on_failures": {"count": 5, "share": None, "of_first": None}, "progress_every": 20,
        "webhook_url": "https://93.184.216.34/hook", "row_webhooks": True,
        "output": f"s3://{api.settings.s3.bucket}/exports/{api.tenant}/{{custom_id}}.mp4", "metadata": {"a": "b"},
        "on_deadline": "stop", "on_miss": "warn", "schedule": {"cron": "0 18 * * 1-5", "time_zone": "Europe/Berlin"},
    }  # fmt: skip
    template = {"prompt": PROMPT, "negative_prompt": "{avoid}"}
    await api.services.store.set_limits(api.tenant, {"most_urgent": 5})
    made = await create(
        api, prompt=None, template=template, run_at=1_900_000_000, deadline=deadline.isoformat(), **wish
    )
    assert {name: made[name] for name in wish} == wish
    assert (made["template"], made["template_version"]) == (template, 1)
    assert (made["run_at"], made["deadline"]) == (1_900_000_000, int(deadline.timestamp()))
    assert (made["state"], made["version"], made["input"]) == ("draft", 1, None)
    assert made["waiting_for"] == "its rows: send them, or name an input"
    assert set(made["counts"].values()) == {0}
    assert await read(api, made) == made


async def test_a_wish_of_nothing_has_the_deployments_defaults(api: Api) -> None:
    made = await create(api)
    assert (made["approval"], made["priority"], made["sample"], made["budget"]) == ("required", 20, 0, None)
    assert (made["defaults"], made["metadata"], made["schedule"], made["forecast"]) == ({}, None, None, None)
    assert made["spent"] == {"gpu_seconds": 0, "reserved_gpu_seconds": 0, "money": None, "currency": None}
    assert made["stop_on_failures"] == {"count": None, "share": 0.5, "of_first": 20}


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"prompts": "a"}, "unknown_parameter", "prompts"),
        ({"template": {"prompt": "b"}}, "invalid_value", "prompt"),
        ({"prompt": "{a.b}"}, "invalid_template", "prompt"),
        ({"prompt": None, "template": {"prompt": "{a.b}"}}, "invalid_template", "template.prompt"),
        ({"prompt": None, "template": {"text": "b"}}, "unknown_parameter", "template.text"),
        ({"defaults": {"prompt": "b"}}, "invalid_value", "defaults.prompt"),
        ({"sample": -1}, "invalid_value", "sample"),
        ({"sample": "many"}, "invalid_value", "sample"),
        ({"order": "random"}, "invalid_value", "order"),
        ({"priority": 101}, "invalid_value", "priority"),
        ({"budget": {"amount": 0, "unit": "money"}}, "invalid_value", "budget.amount"),
        ({"budget": {"amount": 1, "unit": "dollars"}}, "invalid_value", "budget.unit"),
        ({"budget": {"amount": 1, "unit": "money", "actions": [{"percent": 1, "do": "x"}]}}, "invalid_value",
         "budget.actions.0.do"),
        ({"stop_on_failures": {"share": 0.5}}, "missing_required_parameter", "stop_on_failures.of_first"),
        ({"webhook_url": "ftp://example.org"}, "invalid_value", "webhook_url"),
        ({"run_at": "2026-12-01T18:00:00"}, "invalid_value", "run_at"),
        ({"deadline": "soon"}, "invalid_value", "deadline"),
        ({"schedule": {"cron": "0 18 * * *"}}, "missing_required_parameter", "schedule.time_zone"),
        ({"output": "s3://elsewhere/{custom_id}.mp4"}, "unsupported_value", "output"),
        ({"input": "file-00000000000000000000000000000000"}, "invalid_value", "input"),
        ({"input": "s3://elsewhere/x.csv"}, "unsupported_value", "input"),
        ({"prompt": None, "like": "file-00000000000000000000000000000000"}, "invalid_value", "like"),
        ({"like": "file-00000000000000000000000000000000"}, "invalid_value", "prompt"),
        ({"format": "csv"}, "invalid_value", "format"),
        ({"input": "file-0", "format": "xml"}, "invalid_value", "format"),
    ],
)  # fmt: skip
async def test_a_field_that_is_wrong_is_named(api: Api, fields: dict[str, Any], code: str, param: str) -> None:
    answer = await api.http.post(CAMPAIGNS, json={"prompt": PROMPT, **fields})
    assert blamed(answer) == (400, code, param)
    assert (await api.http.get(CAMPAIGNS)).json()["data"] == []


async def test_the_same_key_answers_the_first_campaign_and_another_wish_under_it_is_refused(api: Api) -> None:
    key = {"idempotency-key": "monday"}
    first, again = [await api.http.post(CAMPAIGNS, json={"prompt": PROMPT}, headers=key) for _ in range(2)]
    assert first.json()["id"] == again.json()["id"]
    other = await api.http.post(CAMPAIGNS, json={"prompt": "{a}"}, headers=key)
    assert blamed(other) == (400, "idempotency_key_reused", "Idempotency-Key")


async def test_campaigns_are_listed_newest_first_page_by_page_and_by_state(api: Api) -> None:
    ids = [(await create(api, name=str(number)))["id"] for number in range(3)]
    page = (await api.http.get(CAMPAIGNS, params={"limit": 2})).json()
    assert ([each["id"] for each in page["data"]], page["has_more"]) == (ids[:0:-1], True)
    rest = (await api.http.get(CAMPAIGNS, params={"after": page["last_id"]})).json()
    assert ([each["id"] for each in rest["data"]], rest["has_more"]) == (ids[:1], False)
    assert (await api.http.get(CAMPAIGNS, params={"state": "running"})).json()["data"] == []
    assert blamed(await api.http.get(CAMPAIGNS, params={"state": "odd"}))[::2] == (400, "state")


async def test_a_clone_has_what_its_model_has_and_what_is_said_besides(api: Api, scene: CampaignScene) -> None:
    model = await planned(api, scene, name="mugs", sample=2, defaults={"size": "96x64"})
    clone = (await api.http.post(CAMPAIGNS, json={"clone_of": model["id"], "name": "cups"})).raise_for_status().json()
    same = ("template", "defaults", "sample", "approval")
    assert {name: clone[name] for name in same} == {name: model[name] for name in same}
    assert (clone["name"], clone["state"], clone["input"]["source"]) == ("cups", "ingesting", model["input"]["source"])
    never = await api.http.post(CAMPAIGNS, json={"clone_of": "campaign_0"})
    assert blamed(never) == (404, "not_found", "clone_of")


# ---------------------------------------------------------------- changed


async def test_a_patch_changes_what_it_says_and_null_clears(api: Api) -> None:
    made = await create(api, name="mugs", max_running=4, deadline=1_900_000_000, sample=7, webhook_url=None)
    path = f"{CAMPAIGNS}/{made['id']}"
    changed = (await api.http.patch(path, json={"max_running": 5})).raise_for_status()
    assert changed.json() == {**made, "max_running": 5, "version": 2}
    assert changed.headers["etag"] == '"2"'
    cleared = (await api.http.patch(path, json={"max_running": None, "deadline": None, "sample": None})).json()
    assert (cleared["max_running"], cleared["deadline"], cleared["sample"], cleared["name"]) == (None, None, 0, "mugs")
    negative = (await api.http.patch(path, json={"template": {"negative_prompt": "people"}})).json()
    assert negative["template"] == {"prompt": PROMPT, "negative_prompt": "people"}
    assert negative["template_version"] == 2
    assert blamed(await api.http.patch(path, json={"variants": 2})) == (400, "unknown_parameter", "variants")
    assert blamed(await api.http.patch(path, json={"prompt": "{"})) == (400, "invalid_template", "prompt")


async def test_a_patch_of_what_was_changed_meanwhile_does_nothing(api: Api) -> None:
    made = await api.http.post(CAMPAIGNS, json={"prompt": PROMPT, "name": "one"})
    path, tag = f"{CAMPAIGNS}/{made.json()['id']}", made.headers["etag"]
    assert (await api.http.patch(path, json={"name": "two"}, headers={"if-match": tag})).status_code == 200
    late = await api.http.patch(path, json={"name": "three"}, headers={"if-match": tag})
    assert blamed(late) == (412, "version_conflict", None)
    weak = await api.http.patch(path, json={"name": "four"}, headers={"if-match": 'W/"2"'})
    assert weak.json()["name"] == "four"
    odd = await api.http.patch(path, json={"name": "five"}, headers={"if-match": '"abc"'})
    assert blamed(odd) == (400, "invalid_value", "If-Match")
    assert (await api.http.patch(path, json={"name": "six"}, headers={"if-match": "*"})).json()["name"] == "six"


# ---------------------------------------------------------------- planned and approved


async def test_a_plan_says_what_it_costs_and_only_its_own_token_is_approved(api: Api, scene: CampaignScene) -> None:
    campaign = await planned(api, scene, sample=1, deadline=4_000_000_000)
    plan = (await told(api, campaign, "plan")).raise_for_status().json()
    assert (plan["rows"], plan["bad_rows"], plan["plan_token"]) == (6, 0, campaign["plan_token"])
    assert plan["gpu_seconds"]["low"] < plan["gpu_seconds"]["likely"] < plan["gpu_seconds"]["high"]
    assert plan["money"]["likely"] == pytest.approx(plan["gpu_seconds"]["likely"], abs=0.001)
    assert plan["money"]["currency"] == "EUR"
    assert plan["pools"] == [
        {"pool": "small", "model": "tiny-2b", "rows": 6, "gpu_seconds": pytest.approx(plan["gpu_seconds"]["likely"])}
    ]
    waits = await until(api, scene, campaign, CampaignState.AWAITING_APPROVAL)
    assert waits["waiting_for"] == f"approval of its plan {plan['plan_token']}"
    other = await told(api, campaign, "approve", plan_token="plan_0")
    assert blamed(other) == (409, "plan_changed", "plan_token")
    assert plan["plan_token"] in other.json()["error"]["message"]
    tag = {"if-match": '"1"'}
    body = {"plan_token": plan["plan_token"]}
    late = await api.http.post(f"{CAMPAIGNS}/{campaign['id']}/approve", json=body, headers=tag)
    assert blamed(late)[:2] == (412, "version_conflict")
    approved = (await told(api, campaign, "approve", **body)).raise_for_status().json()
    assert (approved["state"], approved["approved_token"]) == ("running", plan["plan_token"])
    done = await until(api, scene, campaign, CampaignState.COMPLETED)
    assert (done["counts"]["succeeded"], done["counts"]["waiting"], done["forecast"]) == (6, 0, None)
    assert done["spent"]["money"] == pytest.approx(done["spent"]["gpu_seconds"])
    assert done["spent"]["currency"] == "EUR"
    assert (done["manifest"]["final"], done["manifest"]["rows"]) == (True, 6)


async def test_rows_of_the_sample_are_dropped_and_the_plan_is_another(api: Api, scene: CampaignScene) -> None:
    campaign = await planned(api, scene, sample=2)
    waits = await until(api, scene, campaign, CampaignState.AWAITING_APPROVAL)
    sampled = (await api.http.get(f"{CAMPAIGNS}/{campaign['id']}/rows", params={"state": "succeeded"})).json()["data"]
    dropped = await told(api, campaign, "reject", rows=[sampled[0]["custom_id"]], do="drop")
    assert dropped.json()["counts"]["dropped"] == 1
    assert dropped.json()["plan_token"] != waits["plan_token"]
    again = await told(api, campaign, "reject", rows=[sampled[1]["custom_id"]], do="new_seed")
    assert again.json()["state"] == "sampling"
    assert blamed(await told(api, campaign, "reject", rows=["none"], do="drop"))[::2] == (400, "rows")
    assert blamed(await told(api, campaign, "reject", rows=[], do="burn"))[::2] == (400, "do")


async def test_what_is_no_plan_yet_has_none(api: Api) -> None:
    draft = await create(api)
    assert blamed(await told(api, draft, "plan")) == (400, "wrong_state", None)
    assert blamed(await told(api, draft, "approve", plan_token="plan_0")) == (400, "wrong_state", None)
    assert blamed(await told(api, draft, "approve")) == (400, "missing_required_parameter", "plan_token")


# ---------------------------------------------------------------- steered


async def test_a_campaign_is_paused_resumed_and_cancelled(api: Api, scene: CampaignScene) -> None:
    campaign = await planned(api, scene, approval="none")
    await scene.step()
    paused = (await told(api, campaign, "pause", reason="the logo is wrong")).raise_for_status().json()
    assert (paused["state"], paused["pause_reasons"]) == ("paused", ["owner"])
    assert paused["waiting_for"] == "it was paused by its owner, and waits to be resumed"
    resumed = (await api.http.post(f"{CAMPAIGNS}/{campaign['id']}/resume")).raise_for_status().json()
    assert (resumed["state"], resumed["pause_reasons"]) == ("running", [])
    assert blamed(await told(api, campaign, "resume")) == (400, "wrong_state", None)
    assert blamed(await api.http.delete(f"{CAMPAIGNS}/{campaign['id']}")) == (400, "wrong_state", None)
    assert (await told(api, campaign, "cancel")).json()["state"] == "cancelled"
    ended = await until(api, scene, campaign, CampaignState.CANCELLED)
    assert ended["ended_at"] is not None
    gone = await api.http.delete(f"{CAMPAIGNS}/{campaign['id']}")
    assert gone.json() == {"id": campaign["id"], "object": "campaign.deleted", "deleted": True}
    assert (await api.http.get(f"{CAMPAIGNS}/{campaign['id']}")).status_code == 404


async def test_failed_rows_are_retried_by_their_code_waived_or_named(api: Api, scene: CampaignScene) -> None:
    rows = "custom_id,product,scene\n" + "".join(f"clip-{n},{FAILS},table\n" for n in range(3))
    campaign = await planned(api, scene, rows, approval="none", stop_on_failures={"count": 100})
    done = await until(api, scene, campaign, CampaignState.COMPLETED)
    assert done["counts"]["failed"] == 3
    assert blamed(await told(api, campaign, "retry", code="odd"))[::2] == (400, "code")
    assert blamed(await told(api, campaign, "retry", rows=["clip-0"], code="out_of_memory"))[::2] == (400, "code")
    assert (await told(api, campaign, "retry", code="out_of_memory")).json()["state"] == "running"
    again = await until(api, scene, campaign, CampaignState.COMPLETED)
    assert (again["counts"]["failed"], again["spent"]["gpu_seconds"]) == (3, 6.0)
    assert (await told(api, campaign, "waive", rows=["clip-1"])).json()["counts"]["waived"] == 1
    waived = (await api.http.post(f"{CAMPAIGNS}/{campaign['id']}/waive")).raise_for_status().json()
    assert (waived["counts"]["waived"], waived["counts"]["failed"]) == (3, 0)
    assert blamed(await told(api, campaign, "promote")) == (400, "wrong_state", None)


async def test_a_paused_pool_is_what_a_campaign_waits_for(api: Api, scene: CampaignScene) -> None:
    campaign = await planned(api, scene, approval="none")
    await scene.step()
    await api.services.store.pause("small", reason="the storage moves", by="tests")
    try:
        api.services.waiting._known.expire()
        assert (await read(api, campaign))["waiting_for"] == "pool small is paused: the storage moves"
    finally:
        await api.services.store.resume("small", by="tests")
        api.services.waiting._known.expire()


async def test_a_campaign_that_waits_for_its_turn_says_so_where_it_is_asked_for(api: Api, scene: CampaignScene) -> None:
    campaign = await planned(api, scene, approval="none")
    await scene.step()
    await scene.step()
    api.services.waiting._known.expire()
    assert (await read(api, campaign))["waiting_for"].startswith("its turn: ")
    listed = (await api.http.get(CAMPAIGNS, params={"state": "running"})).json()["data"]
    assert {each["waiting_for"] for each in listed if each["id"] == campaign["id"]} == {None}

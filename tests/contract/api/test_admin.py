"""`/v1/admin`: what each role may, what each change does, what it does the second time, and how it refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import fields
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio

from orchestrator.domain.failure import FailureCode
from orchestrator.domain.job import Failure, WorkerRef
from orchestrator.domain.protocol import Broke
from orchestrator.domain.rights import ROLES, USUAL, Role, Scope
from orchestrator.policy.limits import Limits
from tests.support.api import CLUSTER, POOL, Api, document, id_of, in_process

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADMIN = "/v1/admin"
OPERATIONS = [
    (method.upper(), path, Scope(operation["security"][0]["api_key"][0]))
    for path, item in document()["paths"].items()
    for method, operation in item.items()
    if path.startswith(f"{ADMIN}/")
]


@pytest_asyncio.fixture(loop_scope="module")
async def admin(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process(api.app, await api.key(scopes=ROLES[Role.ADMIN])) as http:
        yield http


@pytest_asyncio.fixture(loop_scope="module")
async def database(api: Api) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(api.settings.database_url)
    yield connection
    await connection.close()


async def made(api: Api) -> str:
    answer = await api.http.post("/v1/videos", json={"prompt": "a lighthouse"})
    return str(answer.raise_for_status().json()["id"])


async def failed(api: Api, code: FailureCode = FailureCode.OUT_OF_MEMORY) -> str:
    video_id = await made(api)
    failure = Failure(code=code, message="it did not fit", retryable=False)
    await api.end(await api.claim(video_id), Broke(failure=failure, gpu_seconds=1.5))
    return video_id


def error(answer: httpx.Response, status: int) -> tuple[str, str | None]:
    assert answer.status_code == status, answer.text
    told = answer.json()["error"]
    return told["code"], told["param"]


# ---------------------------------------------------------------- roles


@pytest.mark.parametrize("role", Role)
async def test_each_role_may_what_its_scopes_open_and_nothing_else(api: Api, role: Role) -> None:
    """Viewers look, operators act on the fleet and on jobs, administrators on tenants and keys."""
    opened = set()
    async with in_process(api.app, await api.key(scopes=ROLES[role])) as http:
        for method, path, scope in OPERATIONS:
            answer = await http.request(method, path.replace("{", "").replace("}", ""))
            assert (answer.status_code == 403) == (scope not in ROLES[role]), (method, path)
            opened |= {(method, path)} if answer.status_code != 403 else set()
        assert (await http.get("/v1/videos")).status_code == 403  # a tenant's things are for a tenant's keys
    assert {method for method, _ in opened} == {
        Role.VIEWER: {"GET"}, Role.OPERATOR: {"GET", "POST"}, Role.ADMIN: {"GET", "POST", "PUT", "PATCH", "DELETE"},
    }[role]  # fmt: skip


async def test_what_changes_only_needs_more_than_looking() -> None:
    looking = {path: scope for method, path, scope in OPERATIONS if method == "GET"}
    assert looking.pop(f"{ADMIN}/erasures/{{erasure_id}}/receipt") is Scope.ADMIN  # for whoever may ask for one
    assert set(looking.values()) == {Scope.VIEW}
    assert {scope for method, _, scope in OPERATIONS if method != "GET"} == {Scope.OPERATE, Scope.ADMIN}


async def test_an_operators_key_of_the_release_before_can_do_what_it_could(api: Api) -> None:
    async with in_process(api.app, await api.key(scopes=USUAL | {Scope.OPERATE})) as http:
        for path in ("/v1/pools", "/v1/fleet", "/v1/predictions", "/v1/usage?tenant=*", "/v1/usage/workers"):
            assert (await http.get(path)).status_code == 200
        assert (await http.post(f"/v1/pools/{POOL}/pause", json={"reason": "a test"})).status_code == 200
        assert (await http.post(f"{ADMIN}/pools/{POOL}/resume")).json()["paused"] is False


# ---------------------------------------------------------------- tenants


async def test_a_tenant_is_made_changed_and_listed(api: Api, admin: httpx.AsyncClient) -> None:
    name = f"t-{api.tenant[:12]}"
    assert error(await admin.get(f"{ADMIN}/tenants/{name}"), 404) == ("not_found", "tenant")
    assert error(await admin.patch(f"{ADMIN}/tenants/{name}", json={"weight": 2}), 404) == ("not_found", "tenant")
    first = (await admin.put(f"{ADMIN}/tenants/{name}")).raise_for_status().json()
    assert first == {"id": name, "object": "tenant", "weight": 1, "limits": {f.name: None for f in fields(Limits)}}
    wish = {"weight": 2.5, "limits": {"queued": 5, "running": "none", "most_urgent": 30}}
    changed: dict[str, Any] = {}
    for method in ("PUT", "PUT", "PATCH"):
        changed = (await admin.request(method, f"{ADMIN}/tenants/{name}", json=wish)).raise_for_status().json()
        assert changed["weight"] == 2.5
        assert {key: value for key, value in changed["limits"].items() if value is not None} == wish["limits"]
    assert (await admin.put(f"{ADMIN}/tenants/{name}")).json() == changed
    back = await admin.patch(f"{ADMIN}/tenants/{name}", json={"limits": {"queued": "default", "most_urgent": "none"}})
    assert (back.json()["limits"]["queued"], back.json()["limits"]["most_urgent"]) == (None, 0)
    seen: list[str] = []
    page: dict[str, Any] = {"has_more": True}
    while page["has_more"]:
        query: dict[str, Any] = {"limit": 2, **({"after": seen[-1]} if seen else {})}
        page = (await admin.get(f"{ADMIN}/tenants", params=query)).raise_for_status().json()
        seen += [each["id"] for each in page["data"]]
    assert seen == sorted(set(seen))
    assert {name, api.tenant} <= set(seen)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"weight": 0}, "weight"), ({"weight": "heavy"}, "weight"), ({"limits": {"queued": -1}}, "limits.queued"),
        ({"limits": {"queued": 0.5}}, "limits.queued"), ({"limits": {"queued": "many"}}, "limits.queued"),
        ({"limits": {"requests_per_s": 0}}, "limits.requests_per_s"), ({"limits": {"seats": 1}}, "limits.seats"),
        ({"limits": {"most_urgent": 101}}, "limits.most_urgent"), ({"limits": []}, "limits"), ({"size": 1}, "size"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_what_is_no_setting_of_a_tenant_is_refused_by_name_and_changes_nothing(
    api: Api, admin: httpx.AsyncClient, method: str, body: dict[str, Any], param: str
) -> None:
    before = (await admin.get(f"{ADMIN}/tenants/{api.tenant}")).json()
    answer = await admin.request(method, f"{ADMIN}/tenants/{api.tenant}", json=body)
    assert error(answer, 400)[1] == param
    assert (await admin.get(f"{ADMIN}/tenants/{api.tenant}")).json() == before


async def test_no_tenant_gets_a_name_that_none_can_have(admin: httpx.AsyncClient) -> None:
    for name in ("a%20b", "x" * 65, "caf%C3%A9"):
        assert error(await admin.put(f"{ADMIN}/tenants/{name}"), 400) == ("invalid_value", "tenant")


async def test_limits_are_told_with_what_holds_and_what_is_used(api: Api, admin: httpx.AsyncClient) -> None:
    await admin.put(f"{ADMIN}/tenants/{api.tenant}", json={"limits": {"queued": 9, "running": "none"}})
    await api.claim(await made(api))
    await made(api)
    told = (await admin.get(f"{ADMIN}/tenants/{api.tenant}/limits")).raise_for_status().json()
    by_name = {each["limit"]: each for each in told["data"]}
    assert set(by_name) == {field.name for field in fields(Limits)}
    assert [by_name["queued"][key] for key in ("own", "effective", "used")] == [9, 9, 1]
    assert [by_name["running"][key] for key in ("own", "effective", "used")] == ["none", None, 1]
    assert by_name["gpu_seconds_per_day"]["used"] > 0
    assert [by_name["most_urgent"][key] for key in ("own", "effective", "used")] == [None, 10, None]


async def test_shares_and_budgets_are_set_shown_and_taken_away(api: Api, admin: httpx.AsyncClient) -> None:
    share, budget = f"{ADMIN}/tenants/{api.tenant}/shares/{POOL}", f"{ADMIN}/tenants/{api.tenant}/budgets"
    given = {"object": "tenant.share", "tenant": api.tenant, "pool": POOL, "guaranteed": 1, "running": 3}
    for _ in range(2):
        assert (await admin.put(share, json={"guaranteed": 1, "running": 3})).json() == given
    assert given in (await admin.get(f"{ADMIN}/shares")).json()["data"]
    assert error(await admin.put(share, json={"running": 0}), 400) == ("invalid_value", "guaranteed")
    assert error(await admin.put(share, json={"guaranteed": 2}), 400) == ("invalid_value", "guaranteed")
    assert error(await admin.put(share.replace(POOL, "none"), json={}), 404) == ("not_found", "pool")
    assert (await admin.put(share, json={"guaranteed": 0, "running": None})).json()["running"] is None
    assert given not in (await admin.get(f"{ADMIN}/shares")).json()["data"]

    actions = [{"percent": 80, "do": "tell"}]
    for _ in range(2):
        set_ = await admin.put(f"{budget}/day/gpu_seconds", json={"amount": 60, "actions": actions})
        assert (set_.json()["amount"], set_.json()["actions"], set_.json()["used"]) == (60, actions, 0)
    assert len((await admin.get(budget)).json()["data"]) == 1
    for path, body, param in (
        ("week/gpu_seconds", {"amount": 1}, "period"), ("day/steps", {"amount": 1}, "unit"),
        ("day/money", {"amount": 0}, "amount"), ("day/money", {}, "amount"),
        ("day/money", {"amount": 1, "actions": [{"percent": 80, "do": "stop"}]}, "actions.do"),
    ):  # fmt: skip
        assert error(await admin.put(f"{budget}/{path}", json=body), 400)[1] == param
    assert [(await admin.delete(f"{budget}/day/gpu_seconds")).json()["deleted"] for _ in range(2)] == [True, False]


# ---------------------------------------------------------------- keys


async def test_keys_of_any_tenant_are_made_listed_replaced_and_revoked(api: Api, admin: httpx.AsyncClient) -> None:
    tenant = f"k-{api.tenant[:12]}"
    whole = (await admin.post(f"{ADMIN}/keys", json={"tenant": tenant, "name": "first"})).raise_for_status()
    assert whole.headers["cache-control"] == "no-store"
    first = whole.json()
    assert (first["tenant"], sorted(first["scopes"]), first["expires_at"]) == (tenant, sorted(USUAL), None)
    assert first["made_by"] == id_of(admin.headers["authorization"].removeprefix("Bearer "))
    assert (await admin.get(f"{ADMIN}/tenants/{tenant}")).status_code == 200
    async with in_process(api.app, first["key"]) as theirs:
        assert (await theirs.get("/v1/videos")).json()["data"] == []
    second = (await admin.post(f"{ADMIN}/keys/{first['id']}/rotate", json={"overlap_s": 60})).json()
    assert (second["tenant"], second["scopes"]) == (tenant, first["scopes"])
    assert error(await admin.post(f"{ADMIN}/keys/{first['id']}/rotate"), 400)[0] == "wrong_state"
    listed = (await admin.get(f"{ADMIN}/keys", params={"tenant": tenant, "limit": 1})).json()
    assert ([each["id"] for each in listed["data"]], listed["has_more"]) == ([second["id"]], True)
    behind = (await admin.get(f"{ADMIN}/keys", params={"tenant": tenant, "after": second["id"]})).json()
    assert [each["id"] for each in behind["data"]] == [first["id"]]
    revoked = [(await admin.post(f"{ADMIN}/keys/{second['id']}/revoke")).json() for _ in range(2)]
    assert revoked[0]["revoked_at"] is not None
    assert revoked[0] == revoked[1] == (await admin.get(f"{ADMIN}/keys/{second['id']}")).json()
    assert "key" not in revoked[0]
    assert error(await admin.get(f"{ADMIN}/keys/cgm_nobody"), 404)[0] == "not_found"
    assert error(await admin.get(f"{ADMIN}/keys?after=cgm_nobody"), 404) == ("not_found", "after")


@pytest.mark.parametrize("role", Role)
async def test_a_key_gets_a_role_by_its_name(admin: httpx.AsyncClient, role: Role) -> None:
    key = (await admin.post(f"{ADMIN}/keys", json={"tenant": "platform", "role": role})).raise_for_status().json()
    assert set(key["scopes"]) == ROLES[role]
    more = {"tenant": "platform", "role": role, "scopes": ["read"]}
    assert set((await admin.post(f"{ADMIN}/keys", json=more)).json()["scopes"]) == ROLES[role] | {"read"}


@pytest.mark.parametrize(
    ("body", "param"),
    [({}, "tenant"), ({"tenant": "a b"}, "tenant"), ({"tenant": "a", "role": "root"}, "role"),
     ({"tenant": "a", "scopes": ["root"]}, "scopes"), ({"tenant": "a", "allow": ["here"]}, "allow"),
     ({"tenant": "a", "expires_at": 1}, "expires_at"), ({"tenant": "a", "name": "two\nlines"}, "name")],
)  # fmt: skip
async def test_what_no_key_can_be_is_refused_by_name(admin: httpx.AsyncClient, body: Any, param: str) -> None:
    assert error(await admin.post(f"{ADMIN}/keys", json=body), 400)[1] == param


# ---------------------------------------------------------------- workers


async def test_a_worker_is_asked_to_leave_called_back_and_replaced(api: Api, admin: httpx.AsyncClient) -> None:
    name = f"small-{int(api.tenant[:6], 16)}"
    worker = f"{ADMIN}/workers/{CLUSTER}:{name}"
    store: Any = api.dispatching
    assert error(await admin.post(f"{worker}/drain"), 404)[0] == "not_found"
    assert error(await admin.get(f"{ADMIN}/workers/{name}"), 404)[0] == "not_found"
    await store.beat(CLUSTER, {WorkerRef(name=name, incarnation="first"): POOL})
    seen = (await admin.get(worker)).raise_for_status().json()
    assert (seen["id"], seen["pool"], seen["incarnation"], seen["order"]) == (f"{CLUSTER}:{name}", POOL, "first", None)
    drained: dict[str, Any] = {}
    for within_s in (600, 30):
        drained = (await admin.post(f"{worker}/drain", json={"within_s": within_s})).raise_for_status().json()
        order = drained["order"]
        assert (order["kind"], order["within_s"]) == ("drain", within_s)
        assert 0 < order["left_s"] <= within_s
        assert order["asked_by"].startswith(f"{api.tenant}/tests (key cgm_")
    (standing,) = [each for each in await store.worker_orders(CLUSTER) if each.worker == name]
    assert (standing.kind, standing.incarnation, standing.within_s) == ("drain", "first", 30)
    listed = (await admin.get(f"{ADMIN}/workers", params={"cluster": CLUSTER, "pool": POOL, "limit": 100})).json()
    assert drained["id"] in {each["id"] for each in listed["data"]}
    called = [(await admin.post(f"{worker}/resume")).json() for _ in range(2)]
    assert called[0]["order"] is called[1]["order"] is None
    asked = {"incarnation": "first"}
    order = (await admin.post(f"{worker}/replace", json=asked)).json()["order"]
    assert (order["kind"], order["within_s"], order["left_s"]) == ("replace", None, None)
    await store.declare_dead(CLUSTER, WorkerRef(name=name, incarnation="first"))
    assert error(await admin.post(f"{worker}/replace", json=asked), 400)[0] == "wrong_state"
    assert error(await admin.post(f"{worker}/replace"), 400)[0] == "wrong_state"
    assert (await admin.post(f"{worker}/drain")).json()["order"]["kind"] == "drain"  # it is not to come back
    await admin.post(f"{worker}/resume")


@pytest.mark.parametrize(("body", "param"), [({"within_s": -1}, "within_s"), ({"within_s": 1e9}, "within_s"),
                                             ({"now": True}, "now")])  # fmt: skip
async def test_what_no_worker_can_be_asked_is_refused_by_name(admin: httpx.AsyncClient, body: Any, param: str) -> None:
    for ask in ("drain", "replace"):
        assert error(await admin.post(f"{ADMIN}/workers/{CLUSTER}:small-0/{ask}", json=body), 400)[1] == param


# ---------------------------------------------------------------- jobs and dead letters


async def test_jobs_of_any_tenant_are_found_without_what_they_show(api: Api, admin: httpx.AsyncClient) -> None:
    ids = [await made(api) for _ in range(3)]
    mine = {"tenant": api.tenant}
    page = (await admin.get(f"{ADMIN}/jobs", params={**mine, "limit": 2})).raise_for_status().json()
    assert ([each["id"] for each in page["data"]], page["has_more"]) == (ids[:0:-1], True)
    rest = (await admin.get(f"{ADMIN}/jobs", params={**mine, "limit": 2, "after": page["last_id"]})).json()
    assert ([each["id"] for each in rest["data"]], rest["has_more"]) == (ids[:1], False)
    assert "lighthouse" not in (await admin.get(f"{ADMIN}/jobs/{ids[0]}")).text
    for query, found in (
        ({"state": "queued", "pool": POOL, "model": "tiny-2b"}, 3), ({"state": "running"}, 0), ({"pool": "none"}, 0),
        ({"model": "none"}, 0),
    ):  # fmt: skip
        assert len((await admin.get(f"{ADMIN}/jobs", params=mine | query)).json()["data"]) == found
    assert error(await admin.get(f"{ADMIN}/jobs?state=lost"), 400)[1] == "state"
    assert error(await admin.get(f"{ADMIN}/jobs?after=video_0"), 404) == ("not_found", "after")
    await api.http.delete(f"/v1/videos/{ids[0]}")
    assert error(await admin.get(f"{ADMIN}/jobs/{ids[0]}"), 404)[0] == "not_found"


async def test_jobs_of_any_tenant_are_cancelled_and_tried_again(api: Api, admin: httpx.AsyncClient) -> None:
    video_id = await made(api)
    for _ in range(2):
        assert (await admin.post(f"{ADMIN}/jobs/{video_id}/cancel")).json()["state"] == "cancelled"
    assert (await api.http.get(f"/v1/videos/{video_id}")).json()["error"]["code"] == "cancelled"
    keyed = {"idempotency-key": "once"}
    again = [(await admin.post(f"{ADMIN}/jobs/{video_id}/retry", headers=keyed)).json() for _ in range(2)]
    assert again[0]["id"] == again[1]["id"] != video_id
    assert (again[0]["tenant"], again[0]["state"], again[0]["attempts"]) == (api.tenant, "queued", [])
    assert (await api.http.get(f"/v1/videos/{again[0]['id']}")).json()["retry_of"] == video_id
    assert error(await admin.post(f"{ADMIN}/jobs/{again[0]['id']}/retry"), 400)[0] == "wrong_state"


async def test_a_dead_letter_is_listed_with_the_evidence_and_released_once(api: Api, admin: httpx.AsyncClient) -> None:
    video_id, theirs = await failed(api), await failed(api, FailureCode.PROMPT_TOO_LONG)
    mine = {"tenant": api.tenant}
    (letter,) = (await admin.get(f"{ADMIN}/dead_letters", params=mine)).raise_for_status().json()["data"]
    assert (letter["id"], letter["state"], letter["dead_letter"]) == (video_id, "failed", None)
    assert letter["failure"] == {"code": "out_of_memory", "message": "it did not fit", "retryable": False}
    (attempt,) = letter["attempts"]
    assert (attempt["number"], attempt["outcome"], attempt["worker"]) == (1, "failed", "small-0")
    assert (attempt["gpu_seconds"], attempt["failure"]) == (1.5, letter["failure"])
    released = [(await admin.post(f"{ADMIN}/dead_letters/{video_id}/release")).raise_for_status() for _ in range(2)]
    fresh = released[0].json()
    assert fresh == released[1].json()
    assert (fresh["state"], fresh["claims"], fresh["failures"], fresh["tenant"]) == ("queued", 0, 0, api.tenant)
    assert (await admin.get(f"{ADMIN}/dead_letters", params=mine)).json()["data"] == []
    kept = (await admin.get(f"{ADMIN}/jobs/{video_id}")).json()
    assert (kept["state"], kept["attempts"]) == ("failed", [attempt])
    assert (kept["dead_letter"]["fate"], kept["dead_letter"]["successor"]) == ("released", fresh["id"])
    assert (await admin.post(f"{ADMIN}/dead_letters/{video_id}/forget")).json()["dead_letter"] == kept["dead_letter"]
    for ask in ("release", "forget"):
        assert error(await admin.post(f"{ADMIN}/dead_letters/{theirs}/{ask}"), 400)[0] == "wrong_state"
        assert error(await admin.post(f"{ADMIN}/dead_letters/{fresh['id']}/{ask}"), 400)[0] == "wrong_state"
        assert error(await admin.post(f"{ADMIN}/dead_letters/video_0/{ask}"), 404)[0] == "not_found"


async def test_a_dead_letter_is_forgotten_but_by_its_owner_and_can_still_be_released(
    api: Api, admin: httpx.AsyncClient
) -> None:
    video_id, mine = await failed(api), {"tenant": api.tenant}
    forgotten = [(await admin.post(f"{ADMIN}/dead_letters/{video_id}/forget")).json() for _ in range(2)]
    assert forgotten[0] == forgotten[1]
    assert forgotten[0]["dead_letter"]["fate"] == "forgotten"
    assert (await admin.get(f"{ADMIN}/dead_letters", params=mine)).json()["data"] == []
    assert (await api.http.get(f"/v1/videos/{video_id}")).json()["status"] == "failed"
    assert (await admin.post(f"{ADMIN}/dead_letters/{video_id}/release")).json()["state"] == "queued"


async def test_a_dead_letter_whose_picture_or_campaign_stands_in_the_way_is_refused(
    api: Api, admin: httpx.AsyncClient, database: asyncpg.Connection
) -> None:
    row, pictured = await failed(api), await failed(api)
    await database.execute("UPDATE jobs SET campaign = 'campaign_0' WHERE id = $1", row.removeprefix("video_"))
    picture = '{"key": "inputs/0", "sha256": "0", "size": 1, "content_type": "image/png"}'
    await database.execute(
        "UPDATE jobs SET spec = spec || jsonb_build_object('image', $2::jsonb) WHERE id = $1",
        pictured.removeprefix("video_"), picture,
    )  # fmt: skip
    for video_id, word in ((row, "campaign_0"), (pictured, "picture")):
        answer = await admin.post(f"{ADMIN}/dead_letters/{video_id}/release")
        assert error(answer, 400)[0] == "wrong_state"
        assert word in answer.json()["error"]["message"]
    assert len((await admin.get(f"{ADMIN}/dead_letters", params={"tenant": api.tenant})).json()["data"]) == 2


async def test_a_dead_letters_fate_goes_with_its_job(
    api: Api, admin: httpx.AsyncClient, database: asyncpg.Connection
) -> None:
    video_id = await failed(api)
    await admin.post(f"{ADMIN}/dead_letters/{video_id}/forget")
    job_id = video_id.removeprefix("video_")
    await database.execute("UPDATE jobs SET finished_at = cogmill_now() - interval '999 days' WHERE id = $1", job_id)
    store: Any = api.maintaining
    due = await store.objects_to_sweep(keep_s=900 * 86400, losers_after_s=60, limit=1000)
    await store.swept([each for each in due if each.job_id.hex == job_id and each.keep is None])
    assert not await database.fetchval("SELECT count(*) FROM dead_letters WHERE job_id = $1", job_id)
    assert error(await admin.post(f"{ADMIN}/dead_letters/{video_id}/release"), 404)[0] == "not_found"


# ---------------------------------------------------------------- what was parked


async def test_what_was_parked_is_listed_and_met_again(
    api: Api, admin: httpx.AsyncClient, database: asyncpg.Connection
) -> None:
    subject = f"event-{api.tenant}"
    await database.execute(
        "INSERT INTO parked (kind, subject, tenant, error, detail) VALUES ('campaign', $1, $2, 'it broke', '{}')",
        subject, api.tenant,
    )  # fmt: skip
    (found,) = [each for each in (await admin.get(f"{ADMIN}/parked")).json()["data"] if each["id"] == subject]
    assert (found["kind"], found["tenant"], found["error"]) == ("campaign", api.tenant, "it broke")
    assert (await admin.post(f"{ADMIN}/parked/{subject}/resume")).json()["resumed"] is True
    assert error(await admin.post(f"{ADMIN}/parked/{subject}/resume"), 404) == ("not_found", "subject")


async def test_a_viewer_sees_what_everybody_used(api: Api, database: asyncpg.Connection) -> None:
    await failed(api)
    async with in_process(api.app, await api.key(scopes=ROLES[Role.VIEWER])) as viewer:
        all_of_it = (await viewer.get(f"{ADMIN}/usage", params={"by": "tenant"})).raise_for_status().json()
        assert api.tenant in {line["tenant"] for line in all_of_it["data"]}
        own = (await viewer.get(f"{ADMIN}/usage", params={"tenant": api.tenant})).json()
        assert (own["tenant"], own["total"]["gpu_seconds"]) == (api.tenant, 1.5)
        for path in ("usage/workers", "usage/waste", "fleet", "pools", "predictions"):
            assert (await viewer.get(f"{ADMIN}/{path}")).status_code == 200

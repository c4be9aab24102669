"""The webhook routes on a real database: OpenAI's endpoints, our deliveries, and what is one tenant's alone."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from standardwebhooks import Webhook

from api.native import webhook_schemas as schemas
from orchestrator.domain.errors import InvalidField
from orchestrator.domain.job import public_id
from orchestrator.domain.request import VideoRequest
from orchestrator.domain.webhooks import EventType
from tests.support.api import Api, in_process, serving
from tests.support.postgres import Server
from tests.support.receivers import RESET, Post, posting, receiving, webhook_settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

URL = "https://hooks.example.com/videos"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def database_url(postgres_server: Server, migrated_template: str) -> AsyncIterator[str]:
    name = postgres_server.new_database(migrated_template)
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def post(database_url: str) -> AsyncIterator[Post]:
    async with posting(database_url, base_s=0.01) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(database_url: str) -> AsyncIterator[FastAPI]:
    async with serving(webhook_settings(database_url)) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def api(app: FastAPI, database_url: str) -> AsyncIterator[Api]:
    """The API for a new tenant, whose receivers may be on loopback addresses."""
    opened = Api(app, webhook_settings(database_url), tenant=uuid4().hex, http=in_process(app))
    opened.http.headers["authorization"] = f"Bearer {await opened.key(opened.tenant)}"
    async with opened.http:
        yield opened


async def create(api: Api, url: str = URL, *events: str) -> schemas.EndpointWithSecret:
    body = {"name": "mine", "url": url, "event_types": list(events) or ["video.completed", "video.failed"]}
    answer = await api.http.post("/v1/webhook_endpoints", json=body)
    assert answer.status_code == 200, answer.text
    return schemas.EndpointWithSecret.model_validate_json(answer.content, extra="forbid")


async def cancel_a_video(api: Api, webhook_url: str | None = None) -> str:
    request = VideoRequest(prompt="a mill", webhook_url=webhook_url)
    video_id = public_id((await api.services.jobs.submit(api.tenant, request)).id)
    await api.services.jobs.delete(api.tenant, video_id)
    return video_id


def error(answer: httpx.Response) -> tuple[int, str | None, str]:
    shown = answer.json()["error"]
    return answer.status_code, shown["param"], shown["code"]


async def test_the_secret_is_shown_whole_when_it_is_new_and_never_again(api: Api) -> None:
    made = await create(api)
    assert 24 <= len(base64.b64decode(made.signing_secret.removeprefix("whsec_"))) <= 64
    answer = await api.http.get(f"/v1/webhook_endpoints/{made.id}")
    assert "signing_secret" not in answer.json()
    shown = schemas.Endpoint.model_validate_json(answer.content, extra="forbid")
    assert shown == schemas.Endpoint(**made.model_dump(exclude={"signing_secret"}))
    assert made.signing_secret.startswith(shown.signing_secret_hint.removesuffix("..."))
    rotated = await api.http.post(f"/v1/webhook_endpoints/{made.id}/rotate_secret")
    assert rotated.json()["signing_secret"] != made.signing_secret


async def test_an_update_changes_what_it_names(api: Api) -> None:
    made = await create(api)
    answer = await api.http.post(f"/v1/webhook_endpoints/{made.id}", json={"event_types": ["batch.failed"]})
    shown = schemas.Endpoint.model_validate_json(answer.content, extra="forbid")
    assert (shown.name, shown.url, shown.event_types) == ("mine", URL, [EventType.BATCH_FAILED])
    assert (await api.http.get(f"/v1/webhook_endpoints/{made.id}")).json() == answer.json()


async def test_endpoints_are_paged_newest_first(api: Api) -> None:
    made = [(await create(api)).id for _ in range(3)]
    first = (await api.http.get("/v1/webhook_endpoints", params={"limit": 2})).json()
    assert [each["id"] for each in first["data"]] == [made[2], made[1]]
    assert (first["first_id"], first["last_id"], first["has_more"]) == (made[2], made[1], True)
    rest = (await api.http.get("/v1/webhook_endpoints", params={"after": made[1]})).json()
    assert ([each["id"] for each in rest["data"]], rest["has_more"]) == ([made[0]], False)


async def test_a_deleted_endpoint_is_gone(api: Api) -> None:
    made = await create(api)
    disabled = (await api.http.post(f"/v1/webhook_endpoints/{made.id}/disable")).raise_for_status().json()
    again = await api.http.post(f"/v1/webhook_endpoints/{made.id}/disable")
    assert disabled["disabled_at"] == again.json()["disabled_at"] is not None
    assert (await api.http.post(f"/v1/webhook_endpoints/{made.id}", json={})).json()["disabled_at"] is None
    answer = await api.http.delete(f"/v1/webhook_endpoints/{made.id}")
    assert answer.json() == {"id": made.id, "object": "webhook_endpoint.deleted", "deleted": True}
    assert (await api.http.get(f"/v1/webhook_endpoints/{made.id}")).status_code == 404
    assert (await api.http.delete(f"/v1/webhook_endpoints/{made.id}")).status_code == 404


@pytest.mark.parametrize(
    ("method", "route"),
    [("GET", ""), ("POST", ""), ("DELETE", ""), ("POST", "/rotate_secret"), ("POST", "/test")],
)
@pytest.mark.parametrize("trick", ["whe_%00", "%ED%A0%80", "whe_" + "g" * 32, "x" * 3_000])
async def test_what_can_be_no_endpoints_id_is_not_found(api: Api, trick: str, method: str, route: str) -> None:
    body = {"event_type": "video.failed"} if route == "/test" else {}
    answer = await api.http.request(method, f"/v1/webhook_endpoints/{trick}{route}", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    listed = await api.http.get(f"/v1/webhook_endpoints?after={trick}")
    assert (listed.status_code, listed.json()["error"]["param"]) == (400 if "%00" in trick else 404, "after")


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"url": "ftp://example.com"}, "url"),
        ({"url": "http://10.0.0.1/"}, "url"),
        ({"url": "http://[::1]/"}, "url"),
        ({"url": "http://user:secret@example.com/"}, "url"),
        ({"url": f"https://example.com/{'a' * 3000}"}, "url"),
        ({"url": 7}, "url"),
        ({"url": None}, "url"),
        ({"event_types": []}, "event_types"),
        ({"event_types": ["response.completed"]}, "event_types"),
        ({"event_types": "video.completed"}, "event_types"),
        ({"name": " "}, "name"),
        ({"name": "\x00"}, "name"),
        ({"name": "a" * 201}, "name"),
        ({"secret": "mine"}, "secret"),
    ],
)
async def test_a_wrong_endpoint_is_refused_by_the_name_of_its_field(
    api: Api, changes: dict[str, object], param: str
) -> None:
    body: dict[str, object] = {"name": "mine", "url": URL, "event_types": ["video.completed"]}
    answer = await api.http.post("/v1/webhook_endpoints", json=body | changes)
    assert error(answer)[:2] == (400, param)
    assert (await api.http.get("/v1/webhook_endpoints")).json()["data"] == []


async def test_one_endpoint_too_many_is_refused(api: Api) -> None:
    for _ in range(20):
        await create(api)
    answer = await api.http.post(
        "/v1/webhook_endpoints", json={"name": "x", "url": URL, "event_types": ["video.failed"]}
    )
    assert (answer.status_code, answer.headers["x-should-retry"]) == (429, "false")
    assert "20 webhook endpoints" in answer.json()["error"]["message"]


async def test_the_event_types_are_listed(api: Api) -> None:
    listed = (await api.http.get("/v1/webhook_event_types")).json()
    assert listed == {"object": "list", "data": [str(each) for each in EventType]}


async def test_a_test_answers_with_the_receivers_status_and_is_sent_once(api: Api, post: Post) -> None:
    async with receiving(answer=lambda _: 418) as receiver, post.delivering():
        made = await create(api, receiver.url())
        path = f"/v1/webhook_endpoints/{made.id}/test"
        answer = await api.http.post(path, json={"event_type": "batch.completed"})
        assert answer.json() == {
            "object": "webhook_endpoint.test",
            "webhook_endpoint_id": made.id,
            "event_type": "batch.completed",
            "status_code": 418,
            "success": True,
        }
        (sent,) = receiver.received
        assert Webhook(made.signing_secret).verify(sent.body, sent.headers)["type"] == "batch.completed"
        (listed,) = (await api.http.get("/v1/webhook_deliveries", params={"endpoint": made.id})).json()["data"]
        assert (listed["state"], listed["last_status"]) == ("failed", 418)
        assert error(await api.http.post(path, json={"event_type": "video.started"}))[:2] == (400, "event_type")


async def test_a_test_of_a_receiver_that_is_not_there_says_so(api: Api, post: Post) -> None:
    async with receiving() as receiver:
        closed = receiver.url()
    async with post.delivering():
        made = await create(api, closed)
        answer = await api.http.post(f"/v1/webhook_endpoints/{made.id}/test", json={"event_type": "video.failed"})
    assert error(answer) == (400, "url", "webhook_unreachable")
    assert "cannot be connected to" in answer.json()["error"]["message"]


async def test_a_video_tells_its_end_to_the_url_of_its_request(api: Api, post: Post) -> None:
    async with receiving() as receiver:
        secret = (await api.http.get("/v1/webhook_secret")).json()["signing_secret"]
        new = (await api.http.post("/v1/webhook_secret/rotate", json={})).json()["signing_secret"]
        at_once = await api.http.post("/v1/webhook_secret/rotate", json={"keep_old_secret_active_for_24_hours": False})
        newest = at_once.json()["signing_secret"]
        assert len({secret, new, newest}) == 3
        assert (await api.http.get("/v1/webhook_secret")).json() == at_once.json()
        video_id = await cancel_a_video(api, webhook_url=receiver.url())
        await post.round()
        (told,) = receiver.received
        assert Webhook(newest).verify(told.body, told.headers)["data"] == {"id": video_id}
        assert len(told.headers["webhook-signature"].split(" ")) == 1, "the old secret ended at once"


@pytest.mark.parametrize("url", ["http://169.254.169.254/", "file:///etc/passwd", "nowhere"])
async def test_a_request_that_names_no_public_url_makes_no_video(api: Api, url: str) -> None:
    with pytest.raises(InvalidField) as refused:
        await cancel_a_video(api, url)
    assert refused.value.param == "webhook_url"
    assert await api.rows() == 0


async def test_deliveries_are_listed_filtered_and_sent_again(api: Api, post: Post) -> None:
    async with receiving(answer=lambda n: 500 if n == 1 else 204) as receiver:
        video_id = await cancel_a_video(api, webhook_url=receiver.url())
        await post.round()
        (pending,) = (await api.http.get("/v1/webhook_deliveries", params={"state": "pending"})).json()["data"]
        shown = schemas.DeliveryObject.model_validate(pending, extra="forbid")
        assert (shown.attempts, shown.last_status, shown.endpoint) == (1, 500, None)
        assert shown.event["data"] == {"id": video_id}
        sent = await api.http.post(f"/v1/webhook_deliveries/{shown.id}/resend")
        assert sent.json()["attempts"] == 0
        await post.round()
        delivered = (await api.http.get(f"/v1/webhook_deliveries/{shown.id}")).json()
        assert (delivered["state"], delivered["next_attempt_at"]) == ("delivered", None)
        assert delivered["ended_at"] is not None
        assert {each.headers["webhook-id"] for each in receiver.received} == {shown.event["id"]}
        for params in ({"state": "failed"}, {"endpoint": "whe_0"}, {"after": shown.id}):
            assert (await api.http.get("/v1/webhook_deliveries", params=params)).json()["data"] == []
        assert error(await api.http.get("/v1/webhook_deliveries", params={"after": "whd_0"}))[:2] == (404, "after")


async def test_a_delivery_tells_of_each_of_its_attempts(api: Api, post: Post) -> None:
    async with receiving(answer=lambda n: {1: 503, 2: RESET}.get(n, 204)) as receiver:
        await cancel_a_video(api, webhook_url=receiver.url())
        while len(receiver.received) < 3:
            await post.round()
        (listed,) = (await api.http.get("/v1/webhook_deliveries")).json()["data"]
        shown = (await api.http.get(f"/v1/webhook_deliveries/{listed['id']}")).json()
        assert listed == shown
        delivery = schemas.DeliveryObject.model_validate(shown, extra="forbid")
        assert [(each.number, each.status, each.error) for each in delivery.attempts_made] == [
            (1, 503, "the receiver answered 503"),
            (2, None, "the receiver broke off, or does not speak HTTP"),
            (3, 204, None),
        ]
        times = [each.at for each in delivery.attempts_made]
        assert times == sorted(times)
        assert delivery.created_at - 1 <= times[0]
        assert all(each.seconds >= 0 for each in delivery.attempts_made)


async def test_what_was_for_an_endpoint_that_is_gone_is_not_sent_again(api: Api, post: Post) -> None:
    async with receiving() as receiver:
        made = await create(api, receiver.url())
        await cancel_a_video(api)
        await post.round()
        (delivery,) = (await api.http.get("/v1/webhook_deliveries")).json()["data"]
        await api.http.delete(f"/v1/webhook_endpoints/{made.id}")
        answer = await api.http.post(f"/v1/webhook_deliveries/{delivery['id']}/resend")
        assert error(answer)[::2] == (400, "wrong_state")


async def test_another_tenants_endpoints_and_deliveries_are_not_found(api: Api, post: Post) -> None:
    async with receiving() as receiver:
        made = await create(api, receiver.url())
        await cancel_a_video(api)
        await post.round()
        (delivery,) = (await api.http.get("/v1/webhook_deliveries")).json()["data"]
        async with await api.client(uuid4().hex) as other:
            endpoint, sent = f"/v1/webhook_endpoints/{made.id}", f"/v1/webhook_deliveries/{delivery['id']}"
            answers = [
                await other.get(endpoint),
                await other.post(endpoint, json={"name": "theirs"}),
                await other.delete(endpoint),
                await other.post(f"{endpoint}/rotate_secret"),
                await other.post(f"{endpoint}/test", json={"event_type": "video.failed"}),
                await other.get(sent),
                await other.post(f"{sent}/resend"),
            ]
            assert {answer.status_code for answer in answers} == {404}
            for path in ("/v1/webhook_endpoints", "/v1/webhook_deliveries"):
                assert (await other.get(path)).json()["data"] == []
            params = {"endpoint": made.id}
            assert (await other.get("/v1/webhook_deliveries", params=params)).json()["data"] == []
            mine = (await api.http.get("/v1/webhook_secret")).json()
            assert (await other.get("/v1/webhook_secret")).json() != mine
        assert (await api.http.get(endpoint)).json()["signing_secret_hint"] == made.signing_secret_hint
        assert len(receiver.received) == 1


async def test_nothing_secret_is_stored(api: Api) -> None:
    made = await create(api)
    connection = await asyncpg.connect(api.settings.database_url)
    try:
        rows = await connection.fetch("SELECT to_jsonb(e)::text FROM webhook_endpoints AS e WHERE id = $1", made.id)
    finally:
        await connection.close()
    assert len(rows) == 1
    assert made.signing_secret.removeprefix("whsec_") not in rows[0][0]

"""Webhooks from the outbox to real receivers, on a real database: who hears what, when, and how many at once."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from orchestrator.domain.errors import InvalidField, LimitExceeded
from orchestrator.domain.job import public_id
from orchestrator.domain.webhooks import EventType, Fate, Judgement
from orchestrator.store import Store
from orchestrator.store.delivery_attempts import MOST_ATTEMPTS, MOST_CHARS
from tests.support.jobs import CLUSTER, POOL, new_job, success, worker
from tests.support.postgres import Clock
from tests.support.receivers import happen, posting, receiving, states, tenant_secret

HOUR_S = 3600.0


async def test_endpoints_and_the_requests_own_url_hear_of_a_finished_video(store: Store, database_url: str) -> None:
    async with receiving() as receiver, posting(database_url) as post:
        made = await post.subscribe(receiver.url(path="/endpoint"), events=(EventType.VIDEO_COMPLETED,))
        await post.subscribe(receiver.url(path="/deaf"))
        await post.subscribe(receiver.url(path="/other"), "other", events=(EventType.VIDEO_COMPLETED,))
        job = await store.submit(new_job(request={"webhook_url": receiver.url(path="/named")}))
        await store.beat(CLUSTER, {worker(): POOL})
        (claim,) = await store.claim(POOL, CLUSTER, [worker()])
        await store.settle([success(claim)])
        assert await post.round() == 2
        first, second = receiver.received
        assert first.headers["webhook-id"] == second.headers["webhook-id"] == first.event["id"]
        assert (first.event["type"], first.event["data"]) == ("video.completed", {"id": public_id(job.id)})
        verified = set()
        for name, secret in (("endpoint", made.secret), ("named", tenant_secret())):
            for each in receiver.received:
                try:
                    Webhook(secret).verify(each.body, each.headers)
                    verified.add(name)
                except WebhookVerificationError:
                    continue
        assert verified == {"endpoint", "named"}
        assert await post.round() == 0


async def test_what_happens_to_several_tenants_at_once_is_told_to_each_of_its_own_alone(
    database_url: str, database: asyncpg.Connection
) -> None:
    tenants = ("acme", "birch", "cedar")
    async with receiving() as receiver, posting(database_url) as post:
        for tenant in tenants:
            await post.subscribe(receiver.url(path=f"/{tenant}"), tenant, events=(EventType.BATCH_EXPIRED,))
            await database.execute(
                "INSERT INTO outbox (batch_id, tenant, event) VALUES ($1, $2, 'batch.expired')", f"of-{tenant}", tenant
            )
        assert await post.round() == len(tenants)
        told = await database.fetch("SELECT tenant, url, body FROM deliveries")
        assert {
            (row["tenant"], row["url"].rpartition("/")[2], json.loads(row["body"])["data"]["id"]) for row in told
        } == {(tenant, tenant, f"of-{tenant}") for tenant in tenants}
        assert len(receiver.received) == len(tenants)


async def test_a_video_that_was_deleted_and_swept_still_tells_its_end(
    store: Store, database_url: str, database: asyncpg.Connection
) -> None:
    async with receiving() as receiver, posting(database_url) as post:
        job = await store.submit(new_job(request={"webhook_url": receiver.url()}))
        await store.delete(job.id, "acme")
        await database.execute("DELETE FROM jobs")
        await post.round()
        (told,) = receiver.received
        assert (told.event["type"], told.event["data"]["id"]) == ("video.failed", public_id(job.id))


async def test_a_batch_tells_its_end(database_url: str, database: asyncpg.Connection) -> None:
    await database.execute("INSERT INTO outbox (batch_id, tenant, event) VALUES ('batch_1', 'acme', 'batch.expired')")
    async with receiving() as receiver, posting(database_url) as post:
        await post.subscribe(receiver.url(), events=(EventType.BATCH_EXPIRED,))
        await post.round()
        assert receiver.received[0].event["data"] == {"id": "batch_1"}


async def test_a_failing_receiver_is_tried_again_after_a_pause_under_the_same_id(
    database_url: str, database: asyncpg.Connection, clock: Clock
) -> None:
    async with receiving(answer=lambda n: 200 if n == 3 else 500) as receiver, posting(database_url, base_s=8) as post:
        await happen(database, url=receiver.url())
        assert await post.round() == 1
        await clock.advance(5.9)
        assert await post.round() == 0
        await clock.advance(4.2)
        assert await post.round() == 1
        await clock.advance(20)
        assert await post.round() == 1
        assert len({each.headers["webhook-id"] for each in receiver.received}) == 1
        row = await database.fetchrow("SELECT state, attempts, last_status, last_error FROM deliveries")
        assert tuple(row) == ("delivered", 3, 200, None)


async def test_what_became_of_each_try_is_kept_of_the_last_ones_and_over_sending_again(
    database_url: str, database: asyncpg.Connection, clock: Clock
) -> None:
    async with posting(database_url) as post:
        await happen(database, url="http://127.0.0.1:9/")
        await post.announcer.run_once()
        for made in range(1, MOST_ATTEMPTS + 4):
            (attempt,) = await post.store.lease_deliveries(limit=1, per_host=1, per_tenant=1, lease_s=60)
            stale = replace(attempt, lease=uuid4())
            for each in (stale, attempt):
                judged = Judgement(fate=Fate.RETRY, error=f"{made} " + "x" * 1000)
                await post.store.record_try(each, judged, took_s=0.25, ago_s=2.0)
            if made == 3:
                await post.store.resend(attempt.id, "acme", give_up_s=HOUR_S)
        (told,) = (await post.store.list_deliveries("acme", limit=5)).deliveries
        assert [each.number for each in told.attempts_made] == list(range(4, MOST_ATTEMPTS + 4))
        assert told.attempts == MOST_ATTEMPTS
        last = told.attempts_made[-1]
        assert (last.status, last.seconds, last.at) == (None, 0.25, await clock.now() - timedelta(seconds=2))
        assert last.error is not None
        assert last.error.startswith(f"{MOST_ATTEMPTS + 3} x")
        assert len(last.error) == MOST_CHARS
        # As the release before does, which knows nothing of attempts.
        await database.execute("DELETE FROM deliveries")
        assert await database.fetchval("SELECT count(*) FROM delivery_attempts") == 0


async def test_a_receiver_may_ask_for_a_longer_pause(
    database_url: str, database: asyncpg.Connection, clock: Clock
) -> None:
    async with (
        receiving(answer=lambda _: 429, headers={"retry-after": "600"}) as receiver,
        posting(database_url) as post,
    ):
        await happen(database, url=receiver.url())
        await post.round()
        await clock.advance(599)
        assert await post.round() == 0
        await clock.advance(2)
        assert await post.round() == 1


async def test_after_three_days_it_is_given_up(database_url: str, database: asyncpg.Connection, clock: Clock) -> None:
    async with receiving(answer=lambda _: 503) as receiver, posting(database_url) as post:
        await happen(database, url=receiver.url())
        begun = await clock.now()
        while await states(database) != {"failed": 1}:
            await post.round()
            assert (await clock.now() - begun).total_seconds() < 73 * HOUR_S
            await clock.advance(HOUR_S / 4)
        assert (await clock.now() - begun).total_seconds() >= 72 * HOUR_S
        assert 20 <= len(receiver.received) <= 40
        assert len({each.headers["webhook-id"] for each in receiver.received}) == 1


async def test_redirects_are_not_followed(database_url: str, database: asyncpg.Connection) -> None:
    async with receiving() as target, receiving(answer=lambda _: 302) as receiver, posting(database_url) as post:
        receiver.headers["location"] = target.url()
        await happen(database, url=receiver.url())
        await post.round()
        assert not target.received
        assert await database.fetchval("SELECT last_error FROM deliveries") == (
            "the receiver answered 302; redirects are not followed"
        )


async def test_an_address_that_is_not_public_is_never_called(database_url: str, database: asyncpg.Connection) -> None:
    async with receiving() as receiver, posting(database_url) as post:
        guarded = post.settings.model_copy(update={"fetch": type(post.settings.fetch)()})
        post.subscriptions._settings = guarded
        with pytest.raises(InvalidField, match="not public"):
            await post.subscribe(receiver.url())
        post.announcer._settings = guarded
        await happen(database, url=receiver.url())
        await post.round()
        assert not receiver.received
        assert await states(database) == {}


async def test_410_disables_the_endpoint_until_it_is_updated(database_url: str, database: asyncpg.Connection) -> None:
    async with (
        receiving(answer=lambda n: 410 if n == 1 else 200) as receiver,
        posting(database_url, per_host=1) as post,
    ):
        endpoint = (await post.subscribe(receiver.url())).endpoint
        await happen(database, 3)
        await post.round()
        assert await states(database) == {"failed": 3}
        await happen(database)
        assert await post.round() == 0, "a disabled endpoint hears nothing"
        await post.subscriptions.update("acme", endpoint.id, name="again")
        await happen(database)
        assert await post.round() == 1
        assert len(receiver.received) == 2


@pytest.mark.parametrize("late", ["from its old address", "under a lease that ran out"])
async def test_a_410_switches_off_only_the_receiver_that_gave_it(
    store: Store, database_url: str, database: asyncpg.Connection, clock: Clock, late: str
) -> None:
    async with receiving() as receiver, posting(database_url) as post:
        endpoint = (await post.subscribe(receiver.url(path="/old"))).endpoint
        await happen(database)
        await post.announcer.run_once()
        (attempt,) = await store.lease_deliveries(limit=1, per_host=1, per_tenant=1, lease_s=60)
        if late == "from its old address":
            await post.subscriptions.update("acme", endpoint.id, url=receiver.url(path="/new"))
        else:
            await clock.advance(61)
            assert await post.round() == 1
        await store.record_try(attempt, Judgement(fate=Fate.GONE, status=410))
        assert await database.fetchval("SELECT disabled_at FROM webhook_endpoints") is None
        await happen(database)
        assert await post.round() == 1


async def test_after_a_rotation_both_secrets_sign_for_a_while(
    database_url: str, database: asyncpg.Connection, clock: Clock
) -> None:
    async with receiving() as receiver, posting(database_url, overlap_s=60) as post:
        before = await post.subscribe(receiver.url())
        named_before = await post.subscriptions.tenant_secret("acme")
        after = await post.subscriptions.rotate("acme", before.endpoint.id, overlap=True)
        named_after = await post.subscriptions.rotate_tenant("acme", overlap=True)
        assert before.secret != after.secret
        assert named_before == tenant_secret() != named_after
        await happen(database, url=receiver.url())
        await post.round()
        signatures = sorted(len(each.headers["webhook-signature"].split(" ")) for each in receiver.received)
        assert signatures == [2, 2]
        for old, new in ((before.secret, after.secret), (named_before, named_after)):
            mine = [each for each in receiver.received if verifies(new, each.body, each.headers)]
            assert [verifies(old, each.body, each.headers) for each in mine] == [True]
        await clock.advance(61)
        await happen(database)
        await post.round()
        last = receiver.received[-1]
        assert verifies(after.secret, last.body, last.headers)
        assert not verifies(before.secret, last.body, last.headers)


def verifies(secret: str, body: bytes, headers: dict[str, str]) -> bool:
    try:
        Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


async def test_what_is_pending_follows_its_endpoint_to_a_new_url(
    database_url: str, database: asyncpg.Connection, clock: Clock
) -> None:
    async with receiving(answer=lambda _: 500) as old, receiving() as new, posting(database_url) as post:
        endpoint = (await post.subscribe(old.url())).endpoint
        await happen(database)
        await post.round()
        await post.subscriptions.update("acme", endpoint.id, url=new.url("127.0.0.9"))
        await clock.advance(10)
        await post.round()
        assert len(new.received) == 1
        assert new.received[0].headers["webhook-id"] == old.received[0].headers["webhook-id"]


async def test_sending_again_keeps_the_id_and_begins_anew(
    database_url: str, database: asyncpg.Connection, clock: Clock
) -> None:
    async with receiving() as receiver, posting(database_url) as post:
        await happen(database, url=receiver.url())
        await post.round()
        (delivery,) = (await post.store.list_deliveries("acme", limit=5)).deliveries
        assert await post.store.resend(delivery.id, "other", give_up_s=60) is None
        await clock.advance(100 * HOUR_S)
        sent = await post.store.resend(delivery.id, "acme", give_up_s=60)
        assert sent is not None
        assert (sent.state, sent.attempts) == ("pending", 0)
        await post.round()
        first, second = receiver.received
        assert first.headers["webhook-id"] == second.headers["webhook-id"]
        assert await states(database) == {"delivered": 1}


async def test_a_tenant_has_so_many_endpoints_and_no_more_however_many_come_at_once(database_url: str) -> None:
    async with posting(database_url) as post:
        most = int(post.settings.limits.defaults.webhook_endpoints or 0)
        made = await asyncio.gather(
            *(post.subscribe(f"https://example.com/{n}") for n in range(most + 10)), return_exceptions=True
        )
        refused = [each for each in made if isinstance(each, BaseException)]
        assert [type(each) for each in refused] == [LimitExceeded] * 10
        await post.subscribe("https://example.com/", "other")

"""Webhooks from the outbox to real receivers, on a real database: who hears what, when, and how many at once."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from standardwebhooks import Webhook, WebhookVerificationError

from orchestrator.domain.errors import InvalidField, LimitExceeded
from orchestrator.domain.job import public_id
from orchestrator.domain.webhooks import EventType
from orchestrator.store import Store, deliveries, delivery_log
from orchestrator.store.engine import SESSION, async_url
from orchestrator.subscriptions import MAX_ENDPOINTS
from tests.support.jobs import CLUSTER, POOL, new_job, success, worker
from tests.support.postgres import Clock
from tests.support.receivers import happen, posting, receiving, tenant_secret

HOUR_S = 3600.0


async def states(database: asyncpg.Connection) -> dict[str, int]:
    return {row[0]: row[1] for row in await database.fetch("SELECT state, count(*) FROM deliveries GROUP BY state")}


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


async def test_several_announcers_take_each_event_once(database_url: str, database: asyncpg.Connection) -> None:
    await happen(database, 1000, url="http://127.0.0.1:9/")
    async with AsyncExitStack() as stack:
        posts = [await stack.enter_async_context(posting(database_url)) for _ in range(3)]
        taken = await asyncio.gather(*(post.announcer.run_once() for post in posts))
    assert sum(taken) == 1000
    assert await database.fetchval("SELECT count(DISTINCT event_id) FROM deliveries") == 1000
    assert await database.fetchval("SELECT count(*) FROM outbox") == 0


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


async def test_no_more_than_per_host_are_in_flight_over_all_processes(
    database_url: str, database: asyncpg.Connection
) -> None:
    async with receiving(pause_s=0.02) as receiver, AsyncExitStack() as stack:
        posts = [await stack.enter_async_context(posting(database_url, per_host=3)) for _ in range(3)]
        await happen(database, 60, url=receiver.url())
        await posts[0].announcer.run_once()
        for post in posts:
            await stack.enter_async_context(post.delivering())
        await receiver.until(60)
        assert receiver.most == 3
        assert len({each.headers["webhook-id"] for each in receiver.received}) == 60


async def test_a_receiver_that_hangs_delays_no_other_tenant(database_url: str, database: asyncpg.Connection) -> None:
    async with receiving() as dead, receiving() as well, posting(database_url, per_host=4) as post:
        dead.open.clear()
        await happen(database, 1000, tenant="slow", url=dead.url("127.0.0.2"))
        await post.announcer.run_once()
        async with post.delivering():
            await dead.until(4)
            started = time.monotonic()
            await happen(database, 50, tenant="quick", url=well.url("127.0.0.3"))
            await post.announcer.run_once()
            await well.until(50)
            assert time.monotonic() - started < 5
            assert len(dead.received) == 4
            held = "SELECT count(*) FROM deliveries WHERE lease IS NOT NULL AND tenant = 'slow'"
            assert await database.fetchval(held) == 4


async def test_a_tenant_whose_many_hosts_all_hang_holds_its_share_of_the_slots_and_no_more(
    database_url: str, database: asyncpg.Connection
) -> None:
    async with receiving() as dead, receiving() as well, posting(database_url, per_host=2, concurrency=32) as post:
        dead.open.clear()
        for host in range(2, 102):
            await happen(database, 2, tenant="slow", url=dead.url(f"127.0.1.{host}"))
        await post.announcer.run_once()
        async with post.delivering():
            await dead.until(4)
            await happen(database, 20, tenant="quick", url=well.url("127.0.0.3"))
            await post.announcer.run_once()
            await well.until(20, timeout_s=5)
            assert len(dead.received) == 4


async def test_tenants_take_turns_at_a_host_that_they_share(database_url: str, database: asyncpg.Connection) -> None:
    async with receiving(pause_s=0.01) as receiver, posting(database_url, per_host=2) as post:
        await happen(database, 300, tenant="many", url=receiver.url(path="/many"))
        await happen(database, 3, tenant="few", url=receiver.url(path="/few"))
        await post.announcer.run_once()
        few = {row[0] for row in await database.fetch("SELECT event_id FROM deliveries WHERE tenant = 'few'")}
        async with post.delivering(), asyncio.timeout(20), receiver.arrived:
            await receiver.arrived.wait_for(lambda: few <= {each.headers["webhook-id"] for each in receiver.received})
        assert len(receiver.received) <= 12


async def test_deleting_an_endpoint_fails_what_is_pending_and_counts_what_is_in_flight(
    database_url: str, database: asyncpg.Connection
) -> None:
    async with receiving() as receiver, posting(database_url, per_host=2) as post:
        receiver.open.clear()
        endpoint = (await post.subscribe(receiver.url())).endpoint
        await happen(database, 5)
        await post.announcer.run_once()
        await post.deliverer.run_once()
        await receiver.until(2)
        await post.subscriptions.delete("acme", endpoint.id)
        assert await states(database) == {"failed": 5}
        await happen(database, url=receiver.url())
        await post.announcer.run_once()
        assert await post.deliverer.run_once() == 0, "the host is as busy as it may be"
        receiver.open.set()
        await post.deliverer.close(10)
        assert await states(database) == {"failed": 3, "delivered": 2, "pending": 1}
        assert await post.round() == 1


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


async def test_old_deliveries_are_pruned_and_pending_ones_never(
    database_url: str, database: asyncpg.Connection, clock: Clock
) -> None:
    async with (
        receiving(answer=lambda n: 200 if n == 1 else 500) as receiver,
        posting(database_url, per_host=1) as post,
    ):
        await happen(database, 2, url=receiver.url())
        await post.round()
        await post.round()
        await clock.advance(60)
        assert await post.store.prune_deliveries(keep_s=61) == 0
        assert await post.store.prune_deliveries(keep_s=59) == 1
        assert await states(database) == {"pending": 1}


async def test_the_backlog_is_counted(database_url: str, database: asyncpg.Connection, clock: Clock) -> None:
    async with posting(database_url) as post:
        await happen(database, 3, url="http://127.0.0.1:9/")
        await clock.advance(7)
        assert (await post.store.webhook_backlog()).oldest_event_age_s == 7
        await post.announcer.run_once()
        await clock.advance(5)
        backlog = await post.store.webhook_backlog()
        assert (backlog.pending, backlog.oldest_age_s, backlog.oldest_event_age_s) == (3, 5, 0)


async def test_a_tenant_has_so_many_endpoints_and_no_more_however_many_come_at_once(database_url: str) -> None:
    async with posting(database_url) as post:
        made = await asyncio.gather(
            *(post.subscribe(f"https://example.com/{n}") for n in range(MAX_ENDPOINTS + 10)), return_exceptions=True
        )
        refused = [each for each in made if isinstance(each, BaseException)]
        assert [type(each) for each in refused] == [LimitExceeded] * 10
        await post.subscribe("https://example.com/", "other")


async def test_no_statement_reads_more_deliveries_or_events_than_it_must(
    database_url: str, database: asyncpg.Connection
) -> None:
    arguments = {"n": 64, "per_host": 4, "per_tenant": 8, "lease_s": 30.0, "keep_s": 60.0}
    engine = create_async_engine(async_url(database_url), connect_args={"server_settings": SESSION})
    async with engine.connect() as connection:
        for statement in (deliveries._TAKE, deliveries._LEASE, deliveries._BACKLOG, delivery_log._PRUNE):
            given = {name: value for name, value in arguments.items() if f":{name}" in statement.text}
            plan = "\n".join(row[0] for row in await connection.execute(text(f"EXPLAIN {statement.text}"), given))
            assert "Seq Scan" not in plan, plan
    await engine.dispose()

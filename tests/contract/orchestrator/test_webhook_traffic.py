"""Webhooks by the thousand, on a real database: how many fly at once, whose turn it is, and what house-keeping sees."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from contextlib import AsyncExitStack
from uuid import uuid4

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from api.dialects import wording_of
from orchestrator.config import MetricsSettings
from orchestrator.processes.maintaining import run_maintainer
from orchestrator.store import deliveries, delivery_attempts, delivery_log
from orchestrator.store.connecting import SESSION
from tests.support.postgres import Clock, sqlalchemy_url
from tests.support.receivers import happen, posting, receiving, states, webhook_settings
from tests.support.s3 import S3Server


async def test_several_announcers_take_each_event_once(database_url: str, database: asyncpg.Connection) -> None:
    await happen(database, 1000, url="http://127.0.0.1:9/")
    async with AsyncExitStack() as stack:
        posts = [await stack.enter_async_context(posting(database_url)) for _ in range(3)]
        taken = await asyncio.gather(*(post.announcer.run_once() for post in posts))
    assert sum(taken) == 1000
    assert await database.fetchval("SELECT count(DISTINCT event_id) FROM deliveries") == 1000
    assert await database.fetchval("SELECT count(*) FROM outbox") == 0


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
        tried = "SELECT DISTINCT d.state FROM delivery_attempts AS a LEFT JOIN deliveries AS d ON d.id = a.delivery"
        assert [row["state"] for row in await database.fetch(tried)] == ["pending"], "attempts go with their delivery"


async def test_the_backlog_is_counted(database_url: str, database: asyncpg.Connection, clock: Clock) -> None:
    async with posting(database_url) as post:
        await happen(database, 3, url="http://127.0.0.1:9/")
        await clock.advance(7)
        assert (await post.store.webhook_backlog()).oldest_event_age_s == 7
        await post.announcer.run_once()
        await clock.advance(5)
        backlog = await post.store.webhook_backlog()
        assert (backlog.pending, backlog.oldest_age_s, backlog.oldest_event_age_s) == (3, 5, 0)


async def test_the_maintainer_delivers_until_it_is_told_to_stop(
    database_url: str, database: asyncpg.Connection, s3_server: S3Server
) -> None:
    settings = webhook_settings(database_url).model_copy(
        update={"s3": s3_server.new_bucket(), "metrics": MetricsSettings(maintain_port=0)}
    )
    async with receiving() as receiver:
        maintainer = asyncio.create_task(run_maintainer(settings, {}, wording_of(settings)))
        await happen(database, 5, url=receiver.url())
        await receiver.until(5)
        receiver.open.clear()
        await happen(database, url=receiver.url())
        await receiver.until(6)
        os.kill(os.getpid(), signal.SIGTERM)
        receiver.open.set()
        await asyncio.wait_for(maintainer, 20)
        assert await states(database) == {"delivered": 6}, "what was in flight has landed"


async def test_no_statement_reads_more_deliveries_or_events_than_it_must(
    database_url: str, database: asyncpg.Connection
) -> None:
    arguments = {
        **{"n": 64, "per_host": 4, "per_tenant": 8, "lease_s": 30.0, "keep_s": 60.0},
        **{"id": uuid4(), "lease": uuid4(), "fate": "retry", "status": 500, "error": "it broke", "delay_s": 5.0},
        **{"took_s": 1.0, "ago_s": 1.0, "tenants": ["acme"], "ids": [uuid4()]},
    }
    engine = create_async_engine(sqlalchemy_url(database_url), connect_args={"server_settings": SESSION})
    async with engine.connect() as connection:
        for statement in (
            *(deliveries._TAKE, deliveries._LEASE, deliveries._BACKLOG, delivery_log._PRUNE),
            *(deliveries._RECORD, delivery_attempts._ATTEMPTS),
        ):
            given = {name: value for name, value in arguments.items() if re.search(rf"(?<!:):{name}\b", statement.text)}
            plan = "\n".join(row[0] for row in await connection.execute(text(f"EXPLAIN {statement.text}"), given))
            assert "Seq Scan" not in plan, plan
    await engine.dispose()

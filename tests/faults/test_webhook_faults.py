"""Webhooks when things break between a receiver and us: every event still arrives, under the same id."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import asyncpg
import pytest

from orchestrator.ports import Happening, NewDelivery
from orchestrator.store import migrate
from tests.support.postgres import Clock, Server
from tests.support.receivers import RESET, happen, posting, receiving

ROOT = Path(__file__).parents[2]

# A process that delivers one round, and says nothing.
DELIVER = """
import asyncio, sys
from tests.support.receivers import posting

async def main():
    async with posting(sys.argv[1], timeout_s=60) as post:
        await post.round()

asyncio.run(main())
"""


async def state(database: asyncpg.Connection) -> tuple[str, int]:
    return tuple(await database.fetchrow("SELECT state, attempts FROM deliveries"))


async def test_a_receiver_that_hangs_up_is_tried_again(
    database_url: str, database: asyncpg.Connection, clock: Clock
) -> None:
    async with receiving(answer=lambda n: RESET if n < 3 else 200) as receiver, posting(database_url) as post:
        await happen(database, url=receiver.url())
        for _ in range(3):
            await post.round()
            await clock.advance(60)
        assert await state(database) == ("delivered", 3)
        assert len({each.headers["webhook-id"] for each in receiver.received}) == 1


async def test_a_receiver_that_never_answers_costs_the_timeout_and_no_more(
    database_url: str, database: asyncpg.Connection
) -> None:
    async with receiving() as receiver, posting(database_url, timeout_s=0.3) as post:
        receiver.open.clear()
        await happen(database, url=receiver.url())
        async with asyncio.timeout(10):
            await post.round()
        assert await state(database) == ("pending", 1)
        assert await database.fetchval("SELECT last_error FROM deliveries") == "no answer within 0.3 s"


async def test_an_answer_without_end_is_delivered_by_its_head(database_url: str, database: asyncpg.Connection) -> None:
    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
        except ConnectionError:
            hung_up.set()
        finally:
            writer.close()

    hung_up = asyncio.Event()
    server = await asyncio.start_server(pour, "127.0.0.1", 0)
    async with posting(database_url, timeout_s=30) as post:
        await happen(database, url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        async with asyncio.timeout(10):
            await post.round()
            await hung_up.wait()
        assert await state(database) == ("delivered", 1)
    server.close()


async def test_a_process_killed_in_mid_delivery_leaves_it_to_another(
    database_url: str, database: asyncpg.Connection, clock: Clock
) -> None:
    async with receiving() as receiver, posting(database_url, timeout_s=60) as post:
        receiver.open.clear()
        await happen(database, url=receiver.url())
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", DELIVER, database_url, cwd=ROOT)
        await receiver.until(1, timeout_s=60)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        receiver.open.set()
        assert await post.round() == 0, "the lease of the dead still holds"
        await clock.advance(91)
        assert await post.round() == 1
        assert await state(database) == ("delivered", 2)
        assert len({each.headers["webhook-id"] for each in receiver.received}) == 1


async def test_a_lease_that_ran_out_meanwhile_records_nothing(
    database_url: str, database: asyncpg.Connection, clock: Clock
) -> None:
    async with (
        receiving(answer=lambda n: 200 if n == 1 else 500) as receiver,
        posting(database_url) as late,
        posting(database_url) as post,
    ):
        receiver.open.clear()
        await happen(database, url=receiver.url())
        await late.announcer.run_once()
        await late.deliverer.run_once()
        await receiver.until(1)
        await clock.advance(46)
        await post.deliverer.run_once()
        await receiver.until(2)
        receiver.open.set()
        await asyncio.gather(late.deliverer.close(10), post.deliverer.close(10))
        row = await database.fetchrow("SELECT state, attempts, last_status, lease FROM deliveries")
        assert tuple(row) == ("pending", 2, 500, None)


async def test_a_database_that_is_away_in_mid_delivery_hears_of_it_later() -> None:
    server = await asyncio.to_thread(Server.create)
    try:
        await asyncio.to_thread(migrate, server.url())
        async with receiving() as receiver, posting(server.url()) as post:
            receiver.open.clear()
            database = await asyncpg.connect(server.url())
            await happen(database, url=receiver.url())
            await database.close()
            await post.announcer.run_once()
            await post.deliverer.run_once()
            await receiver.until(1)
            await asyncio.to_thread(server.stop)
            receiver.open.set()
            landing = asyncio.create_task(post.deliverer.close(30))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(landing), 1.5)
            await asyncio.to_thread(server.start)
            await landing
            (delivery,) = (await post.store.list_deliveries(None, limit=2)).deliveries
            assert (delivery.state, delivery.attempts, len(receiver.received)) == ("delivered", 1, 1)
    finally:
        await asyncio.to_thread(server.remove)


class Killed(BaseException):
    """The process is gone: no error of the event's, which would be put aside."""


async def test_an_outbox_whose_reader_dies_before_its_commit_is_read_again(
    database_url: str, database: asyncpg.Connection
) -> None:
    async with posting(database_url) as post:
        await happen(database, 3, url="http://127.0.0.1:9/")

        def die(_: Happening) -> list[NewDelivery]:
            raise Killed

        with pytest.raises(Killed):
            await post.store.fan_out(die, limit=10, give_up_s=1)
        assert await database.fetchval("SELECT count(*) FROM outbox") == 3
        assert await post.announcer.run_once() == 3
        assert await database.fetchval("SELECT count(*) FROM deliveries") == 3

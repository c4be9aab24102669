"""The database fails over, freezes, or sits behind a pooler: callers are told the truth, and soon."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import AbstractAsyncContextManager
from urllib.parse import urlsplit

import pytest
from sqlalchemy import TextClause, text

from orchestrator.config.database import Access
from orchestrator.config.logins import Login
from orchestrator.domain.errors import InvalidField, StoreReadOnly, StoreRefused, StoreUnavailable
from orchestrator.kit.loops import Life, Loop, running
from orchestrator.store import Store
from orchestrator.store.connecting import CALLERS, Patience, connect, settings_of
from orchestrator.telemetry.health import Pulse
from orchestrator.tenants import keys
from tests.support.api import MASTER_KEY, api_settings, in_process, serving
from tests.support.builders import a_spec
from tests.support.jobs import CLUSTER, POOL, new_job, success, workers
from tests.support.logins import url_of
from tests.support.moving import pgbouncer, road_to, standby
from tests.support.postgres import Server

# As a caller of the API has it, in a fifth of the time.
SHORT = Patience(queue_s=1, connect_s=2, statement_s=0.8, silence_s=1)
VIDEO = {"model": "tiny-2b", "prompt": "sea"}


async def test_no_connection_stays_with_a_server_that_does_not_write(
    postgres_server: Server, database_url: str
) -> None:
    """A road leads to a standby, which is promoted, turns read-only under open sessions, and gives way to another."""
    with standby(postgres_server) as other:
        async with road_to(database_url) as (road, url):
            road.target = other.port
            settings = api_settings(url)
            async with serving(settings) as app:
                key_id = keys.new_id()
                async with Store.open(database_url) as direct:
                    await direct.add_key(key_id, "acme", "tests", master=1)
                http = in_process(app, keys.issue(MASTER_KEY, key_id))
                assert (await http.get("/readyz")).status_code == 503
                refused = await http.post("/v1/videos", json=VIDEO)
                assert (refused.status_code, refused.headers["x-should-retry"]) == (503, "true")
                await asyncio.to_thread(other.execute, "SELECT pg_promote()")
                assert (await http.get("/readyz")).status_code == 200
                done = await asyncio.gather(*(http.post("/v1/videos", json=VIDEO) for _ in range(20)))
                assert {answer.status_code for answer in done} == {200}
                await asyncio.to_thread(other.execute, "ALTER SYSTEM SET default_transaction_read_only = on")
                await asyncio.to_thread(other.execute, "SELECT pg_reload_conf()")
                await _turned(app.state.services.store)
                assert (await http.get("/readyz")).status_code == 503
                refused = await http.post("/v1/videos", json=VIDEO)
                assert (refused.status_code, refused.headers["x-should-retry"]) == (503, "true")
                road.target = postgres_server.port
                assert (await http.get("/readyz")).status_code == 200
                done = await asyncio.gather(*(http.post("/v1/videos", json=VIDEO) for _ in range(20)))
                assert {answer.status_code for answer in done} == {200}


async def _turned(store: Store) -> None:
    """Wait until the server has read its settings again."""
    async with asyncio.timeout(10):
        while True:
            try:
                await store.check_writes()
            except StoreReadOnly:
                return
            await asyncio.sleep(0.02)


async def test_loops_that_only_meet_a_read_only_database_are_silent() -> None:
    async def refused() -> None:
        raise StoreReadOnly("a standby")

    pulse = Pulse(0.05)
    async with asyncio.timeout(10), running(pulse) as loops:
        loops.start(Loop("writes", 0, refused, Life.GOES_ROUND))
        while "writes" not in pulse.silent():  # noqa: ASYNC110 - a page asks, nothing tells
            await asyncio.sleep(0.01)


async def test_connections_that_freeze_hold_up_callers_for_one_silence_only(database_url: str) -> None:
    async with road_to(database_url) as (road, url), Store.open(url, patience=SHORT) as store:
        await asyncio.gather(*(store.submit(new_job()) for _ in range(20)), *(store.deployment_id() for _ in range(20)))
        road.freeze()
        started = time.monotonic()
        answers = await asyncio.gather(*(store.deployment_id() for _ in range(20)), return_exceptions=True)
        assert all(isinstance(answer, str | StoreUnavailable) for answer in answers), answers
        # After the first silence every old connection is left: nobody waits for one of them a second time.
        assert all(
            isinstance(answer, str) for answer in await asyncio.gather(*(store.deployment_id() for _ in range(20)))
        )
        assert time.monotonic() - started < 10 * (SHORT.silence_s or 0), "one after the other they take twenty silences"


def test_callers_of_the_api_wait_for_seconds() -> None:
    assert CALLERS.silence_s is not None
    assert CALLERS.queue_s + CALLERS.connect_s + CALLERS.silence_s <= 15


async def test_the_kernel_watches_every_connection(database_url: str) -> None:
    connection = await connect(Access.to(database_url).address)
    sock = connection._transport.get_extra_info("socket")
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
    await connection.close()


async def test_a_job_s_whole_life_goes_through_a_transaction_pooler(database_url: str) -> None:
    with pgbouncer(database_url) as url:
        access = Access(url=url, transaction_pooling=True, listen_url=database_url)
        async with Store.open(access) as store, Store.open(access) as other:
            async with other.wakeups() as wakeups:
                assert await wakeups.wait(5)  # at the start something may have come before
                jobs = await asyncio.gather(*(store.submit(new_job(f"t{i % 4}")) for i in range(40)))
                assert await wakeups.wait(5)
            claims = [
                claim
                for found in await asyncio.gather(*(each.claim(POOL, CLUSTER, workers(20)) for each in (store, other)))
                for claim in found
            ]
            claims += await store.claim(POOL, CLUSTER, workers(40 - len(claims))) if len(claims) < 40 else []
            assert {claim.job_id for claim in claims} == {job.id for job in jobs}
            await asyncio.gather(*(each.settle([success(claim)]) for claim in claims for each in (store, other)))
            assert await store.running(CLUSTER) == []
            assert await store.hears(within_s=5)
            await store.check_writes()
            with pytest.raises(InvalidField):
                await store.submit(new_job(spec=a_spec(prompt="a\x00b")))
            plan = (await store._database.fetch(_setting("plan_cache_mode")))[0]
            assert plan[0] == "force_generic_plan"


async def test_through_one_pooler_each_process_has_the_rights_of_its_role_and_no_other_s(database_url: str) -> None:
    """A session of the server serves one transaction after the other: of one role, since nobody says SET ROLE."""
    with pgbouncer(database_url) as pooled:
        ours, theirs = urlsplit(database_url).netloc.rpartition("@")[2], urlsplit(pooled).netloc.rpartition("@")[2]

        def opened(login: Login) -> AbstractAsyncContextManager[Store]:
            direct = url_of(login, database_url)
            return Store.open(Access(url=direct.replace(ours, theirs), transaction_pooling=True, listen_url=direct))

        async with (
            opened(Login.API) as api, opened(Login.DISPATCH) as dispatch, opened(Login.MAINTAIN) as maintain,
            dispatch.wakeups() as wakeups,
        ):  # fmt: skip
            assert await wakeups.wait(5)
            for round_ in range(4):
                await api.add_key(f"k{round_}", "acme", "a test", master=1)
                await api.submit(new_job("acme"))
                assert await wakeups.wait(5)
                (claim,) = await dispatch.claim(POOL, CLUSTER, workers(1))
                await dispatch.settle([success(claim)])
                assert await maintain.orphaned() == []
                for store in (dispatch, maintain):
                    with pytest.raises(StoreUnavailable, match="permission denied for table keys"):
                        await store.find_key(f"k{round_}")
            assert len(await api.list_keys("acme")) == 4


def _setting(name: str) -> TextClause:
    return text(f"SELECT current_setting('{name}')")


@pytest.mark.parametrize("more", ["", f"ignore_startup_parameters = {', '.join(settings_of(CALLERS))}"])
async def test_a_pooler_that_nobody_told_of_is_refused_and_no_fault_of_the_caller(database_url: str, more: str) -> None:
    with pgbouncer(database_url, more) as url:
        async with Store.open(url) as store:
            answers = await asyncio.gather(*(store.submit(new_job()) for _ in range(50)), return_exceptions=True)
            assert {type(answer) for answer in answers} == {StoreRefused}
            assert "pool" in str(answers[0]) or "unsupported startup parameter" in str(answers[0])

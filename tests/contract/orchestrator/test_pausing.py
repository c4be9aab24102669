"""Pausing a pool or the whole queue: nothing new begins, what runs goes on, whoever waits is told why."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from typer.testing import CliRunner

from orchestrator import cli
from orchestrator.capacity.pools import PauseWatch, Pools
from orchestrator.config import PoolSettings, Settings
from orchestrator.dispatch.claims import Claims
from orchestrator.dispatch.cluster import Cluster
from orchestrator.dispatch.dispatcher import Dispatcher
from orchestrator.dispatch.fleet import Fleet
from orchestrator.domain.errors import InvalidField, NotFound
from orchestrator.domain.job import WorkerRef
from orchestrator.domain.pausing import EVERY
from orchestrator.domain.protocol import Stage
from orchestrator.domain.rights import USUAL, Rights, Scope
from orchestrator.domain.states import JobState
from orchestrator.kit.clock import SystemClock
from orchestrator.policy.limits import Limits
from orchestrator.store import Store
from orchestrator.telemetry import metrics
from orchestrator.tenants import keys
from tests.support.api import MASTER_KEY, Api, api_settings, in_process, listening
from tests.support.api import POOL as API_POOL
from tests.support.builders import a_render, a_status
from tests.support.control import hears
from tests.support.jobs import CLUSTER, POOL, new_job, success, workers
from tests.support.logins import as_api

WHY = "the storage moves"


async def claimed(store: Store, pool: str = POOL) -> int:
    return len(await store.claim(pool, CLUSTER, workers(1)))


@pytest.mark.parametrize("which", [POOL, EVERY])
@pytest.mark.parametrize("limits", [Limits(), Limits(running=5)], ids=["uncapped", "capped"])
async def test_no_claim_of_a_paused_pool_is_made_by_any_dispatcher_until_it_is_resumed(
    database_url: str, which: str, limits: Limits
) -> None:
    async with Store.open(database_url, limits=limits) as store:
        await store.submit(new_job())
        await store.submit(new_job(pool="other"))
        await store.pause(which, reason=WHY, by="ada")
        await store.submit(new_job())  # what is accepted still queues
        assert await claimed(store) == 0
    async with Store.open(database_url, limits=limits) as restarted:
        assert await claimed(restarted) == 0
        assert await claimed(restarted, "other") == (which == POOL)
        assert await restarted.resume(which, by="eve")
        assert not await restarted.resume(which, by="eve")
        assert len(await restarted.claim(POOL, CLUSTER, workers(3))) == 2
        (last,) = await restarted.pauses()
        assert (last.pool, last.reason, last.paused_by, last.resumed_by) == (which, WHY, "ada", "eve")


async def test_what_runs_in_a_paused_pool_goes_on_to_its_end(store: Store) -> None:
    running = await store.submit(new_job())
    [claim] = await store.claim(POOL, CLUSTER, workers(1))
    await store.pause(POOL, reason=WHY, by="ada")
    await store.settle([success(claim)])
    job = await store.get(running.id, "acme")
    assert job is not None
    assert job.state is JobState.SUCCEEDED


async def test_a_pause_changes_nothing_of_whose_turn_it_is(store: Store) -> None:

    async def order(pool: str, *, paused: bool) -> list[str]:
        for tenant in ("a", "b"):
            for _ in range(4):
                await store.submit(new_job(tenant, pool=pool))
        turns = [claim.tenant for claim in await store.claim(pool, CLUSTER, workers(3))]
        if paused:
            await store.pause(pool, reason=WHY, by="ada")
            assert [await claimed(store, pool) for _ in range(5)] == [0] * 5
            await store.resume(pool, by="ada")
        for _ in range(5):
            turns += [claim.tenant for claim in await store.claim(pool, CLUSTER, workers(1))]
        return turns

    assert await order(POOL, paused=True) == await order("other", paused=False)


async def test_a_resumed_pool_is_looked_at_at_once(store: Store) -> None:
    await store.pause(POOL, reason=WHY, by="ada")
    async with store.wakeups() as wakeups:
        await wakeups.wait(5)  # it has just begun to listen
        await store.resume(POOL, by="ada")
        assert await wakeups.wait(5)


async def test_a_render_that_waits_in_memory_is_not_handed_back_to_a_queue_that_is_paused(store: Store) -> None:
    """Its pool looks empty, for nothing is claimed there, and another worker stands idle."""
    await store.submit(new_job())
    [claim] = await store.claim(POOL, CLUSTER, workers(1))
    evicted: list[object] = []

    async def evict(name: str, caller: object, token: object) -> None:
        evicted.append(token)

    fleet, claims, clock = Fleet(), Claims(), SystemClock()
    claims.hold([claim], clock.monotonic())
    preempted = a_render(claim, stage=Stage.PREEMPTED)
    hears(fleet, a_status(preempted, worker=claim.worker, pool=POOL, room=0))
    hears(fleet, a_status(worker=WorkerRef(name="idle", incarnation="first"), pool=POOL))
    parts = {"fleet": fleet, "claims": claims, "store": store, "workers": SimpleNamespace(evict=evict), "caller": None}
    dispatcher = Dispatcher(cast(Cluster, SimpleNamespace(**parts, clock=clock)), (POOL,))
    dispatcher._exhausted[POOL] = float("inf")
    await store.pause(POOL, reason=WHY, by="ada")
    assert await dispatcher.rebalance() == 0
    await store.resume(POOL, by="ada")
    assert await dispatcher.rebalance() == 1
    assert evicted == [claim.token]


def two_pools(database_url: str) -> Settings:
    settings = api_settings(database_url)
    return settings.model_copy(update={"pools": settings.pools | {"other": PoolSettings(model="tiny-2b")}})


async def test_only_a_pool_that_there_is_is_paused_and_only_with_a_reason(store: Store, database_url: str) -> None:
    pools = Pools(two_pools(database_url), store)
    with pytest.raises(NotFound, match="no pool 'large'; this deployment has: small, other"):
        await pools.pause("large", reason=WHY, by="ada")
    with pytest.raises(NotFound):
        await pools.resume("large", by="ada")
    for reason in (" ", "\u200b", "\u2800", "two\nlines", "x" * 201, "a\x00"):
        with pytest.raises(InvalidField) as refused:
            await pools.pause("small", reason=reason, by="ada")
        assert refused.value.param == "reason"
    assert await store.pauses() == []


async def test_every_pool_shows_whether_it_is_paused_and_each_change_is_logged_once(
    store: Store, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[str, object]] = []
    log = SimpleNamespace(info=lambda event, **fields: said.append((event, fields["by"])))
    monkeypatch.setattr("orchestrator.capacity.pools._log", log)
    watch = PauseWatch(two_pools(database_url).pools, store)

    def shown() -> list[float]:
        return [metrics.pool_paused.labels(pool)._value.get() for pool in ("small", "other")]

    await watch.run_once()
    assert shown() == [0, 0]
    await store.pause("small", reason=WHY, by="ada")
    for _ in range(2):
        await watch.run_once()
    assert shown() == [1, 0]
    await store.pause(EVERY, reason=WHY, by="ada")
    await watch.run_once()
    assert shown() == [1, 1]
    await store.resume("small", by="eve")
    await store.resume(EVERY, by="eve")
    await watch.run_once()
    assert shown() == [0, 0]
    assert sorted(said) == [("pause_seen", "ada")] * 2 + [("resume_seen", "eve")] * 2


class TestCommands:
    @pytest.fixture
    def run(self, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
        monkeypatch.setattr("orchestrator.commands.pools.settings_of", lambda _: as_api(two_pools(database_url)))

        def run(*arguments: str, code: int = 0) -> str:
            done = CliRunner().invoke(cli.app, ["pools", *arguments])
            assert done.exit_code == code, done.output
            return done.output + str(done.exception or "")

        return run

    def test_pools_are_paused_listed_and_resumed_each_by_itself(self, run: Any) -> None:
        assert run("list").splitlines()[0] == "small  tiny-2b  queued 0  running 0  open"
        run("pause", "small", "--reason", WHY)
        run("pause", "--all", "--reason", "a move")
        small, other = run("list").splitlines()
        assert WHY in small
        assert "the whole queue is paused since" in small
        assert WHY not in other
        assert "(command line): a move" in other
        assert "small begins nothing yet: paused since" in run("resume", "--all")
        assert run("resume", "small") == ""
        assert [line.split()[-1] for line in run("list").splitlines()] == ["open", "open"]
        assert "pool small is not paused" in run("resume", "small", code=1)

    @pytest.mark.parametrize("arguments", [[], ["small", "--all"], ["*"]])
    def test_one_pool_is_named_or_all_of_them(self, run: Any, arguments: list[str]) -> None:
        for command in (["pause", "--reason", WHY], ["resume"]):
            assert "NAME" in run(*command, *arguments, code=2)

    def test_a_pool_that_there_is_not_is_refused_by_name(self, run: Any) -> None:
        assert "no pool 'large'" in run("pause", "large", "--reason", WHY, code=1)


@pytest.mark.asyncio(loop_scope="module")
class TestApi:
    async def operator(self, api: Api) -> Any:
        key_id = keys.new_id()
        await api.services.store.add_key(
            key_id, "platform", "on call", rights=Rights(scopes=USUAL | {Scope.OPERATE}), master=1
        )
        return in_process(api.app, keys.issue(MASTER_KEY, key_id))

    async def test_only_an_operators_key_may_look_at_pools_and_pause_them(self, api: Api) -> None:
        calls = [
            ("GET", "/v1/pools"), ("GET", "/v1/fleet"),
            ("POST", f"/v1/pools/{API_POOL}/pause"), ("POST", f"/v1/pools/{API_POOL}/resume"),
            ("POST", "/v1/queue/pause"), ("POST", "/v1/queue/resume"),
        ]  # fmt: skip
        for method, path in calls:
            answer = await api.http.request(method, path, json={"reason": WHY} if method == "POST" else None)
            assert answer.status_code == 403, path
            assert answer.json()["error"]["code"] == "operators_only"
        assert await api.services.store.pauses() == []

    @pytest.mark.parametrize("what", [f"pools/{API_POOL}", "queue"])
    async def test_whoever_waits_is_told_the_reason_until_the_pool_is_resumed(
        self, api: Api, monkeypatch: pytest.MonkeyPatch, what: str
    ) -> None:
        monkeypatch.setattr(api.services.waiting._known, "_fresh_s", 0.0)
        monkeypatch.setattr("api.native.events.HEARTBEAT_S", 0.05)
        words = f"{'the whole queue' if what == 'queue' else f'pool {API_POOL}'} is paused: {WHY}"
        async with await self.operator(api) as operator:
            paused = await operator.post(f"/v1/{what}/pause", json={"reason": WHY})
            assert paused.status_code == 200
            try:
                (pool,) = (await operator.get("/v1/pools")).json()["data"]
                assert pool["paused"] is True
                assert pool["pauses"][0]["paused_by"].startswith("platform/on call (key ")
                video = (await api.http.post("/v1/videos", json={"prompt": "a mill"})).json()
                assert video["queue_reason"] == words
                model = (await api.http.get("/v1/models/tiny-2b")).json()
                assert (model["available"], model["unavailable_reason"]) == (False, words)
                said = await self.reasons(api, video["id"], operator.post(f"/v1/{what}/resume"))
                assert said == [words, None]
            finally:
                await operator.post(f"/v1/{what}/resume")
        assert (await api.http.get(f"/v1/videos/{video['id']}")).json()["queue_reason"].startswith("its turn: ")

    async def reasons(self, api: Api, video_id: str, resume: Any) -> list[str | None]:
        """What a watcher of the video hears of why it waits, the pool being resumed once it has heard something."""
        said: list[str | None] = []
        async with asyncio.timeout(20), listening(api.app) as port:
            url = f"http://127.0.0.1:{port}/v1/videos/{video_id}/events"
            headers = {"authorization": api.http.headers["authorization"]}
            async with httpx.AsyncClient() as client, client.stream("GET", url, headers=headers) as stream:
                event = ""
                async for line in stream.aiter_lines():
                    if line.startswith("event: "):
                        event = line.removeprefix("event: ")
                    elif line.startswith("data: ") and event == "queue":
                        said.append(json.loads(line.removeprefix("data: "))["queue_reason"])
                        if len(said) == 1:
                            await resume
                        else:
                            return said
        return said

    @pytest.mark.parametrize("name", ["large", "*", "%00"])
    async def test_a_pool_that_there_is_not_is_not_found(self, api: Api, name: str) -> None:
        async with await self.operator(api) as operator:
            for verb in ("pause", "resume"):
                answer = await operator.post(f"/v1/pools/{name}/{verb}", json={"reason": WHY})
                assert answer.status_code == 404
            refused = await operator.post(f"/v1/pools/{API_POOL}/pause", json={})
            assert refused.json()["error"]["param"] == "reason"

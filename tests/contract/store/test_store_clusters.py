"""Rows of clusters: what a controller may change, what a dispatcher is asked, and that no claim is lost to an end."""

from __future__ import annotations

import pytest

from orchestrator.config.logins import Login
from orchestrator.domain.clusters import ClusterState, Wish
from orchestrator.domain.loading import LoadState, WorkerLoad
from orchestrator.policy.rolling import FENCE_S
from orchestrator.ports.clusters import ClusterRow
from orchestrator.ports.fleet import KindState
from orchestrator.store import Store
from tests.support.jobs import CLUSTER, POOL, new_job, success, worker
from tests.support.logins import acting, url_of
from tests.support.postgres import Clock

RELEASE = "video/cogmill"
COMING, SERVING, YIELDING, RETIRING, KEPT, ENDING = ClusterState


async def begun(store: Store, name: str = CLUSTER, state: ClusterState = SERVING) -> ClusterRow:
    assert await store.add_cluster(name, RELEASE, state, "a test")
    return await row(store, name)


async def row(store: Store, name: str = CLUSTER) -> ClusterRow:
    return next(each for each in await store.clusters() if each.name == name)


async def move(store: Store, to: ClusterState, name: str = CLUSTER, *, gone: bool = False) -> bool:
    version = (await row(store, name)).version
    return await store.move_cluster(name, version, to, why="a test", successor="next", grace_s=60, gone=gone)


async def claim(store: Store) -> int:
    await store.submit(new_job())
    return len(await store.claim(POOL, CLUSTER, [worker()]))


async def test_a_cluster_is_noted_once_and_its_row_says_what_its_dispatcher_tells(store: Store) -> None:
    await begun(store)
    assert not await store.add_cluster(CLUSTER, "elsewhere/other", SERVING, "a test")
    loads = [
        WorkerLoad(worker=f"w{i}", pool=POOL, model="m", state=state)
        for i, state in enumerate((LoadState.LOADED, LoadState.LOADED, LoadState.LOADING))
    ]
    await store.record_loads(CLUSTER, loads)
    await store.beat(CLUSTER, {worker(): POOL})
    assert await claim(store) == 1
    found = await row(store)
    assert (found.ready, found.told, found.running) == ({POOL: 2}, {POOL: 3}, 1)
    assert [each.name for each in await store.clusters(RELEASE)] == [CLUSTER]
    assert await store.clusters("elsewhere/other") == []


async def test_what_was_told_long_ago_says_nothing_of_now(store: Store, clock: Clock) -> None:
    await begun(store)
    await store.record_loads(CLUSTER, [WorkerLoad(worker="w", pool=POOL, model="m", state=LoadState.LOADED)])
    assert (await row(store)).ready == {POOL: 1}
    await clock.advance(91)
    assert (await row(store)).ready == {}


async def test_what_an_earlier_cluster_of_the_name_told_is_not_about_this_one(store: Store, clock: Clock) -> None:
    await store.record_loads(CLUSTER, [WorkerLoad(worker="w", pool=POOL, model="m", state=LoadState.LOADED)])
    await clock.advance(1)
    assert (await begun(store)).ready == {}


async def test_of_two_who_change_a_cluster_the_second_changes_nothing(store: Store) -> None:
    version = (await begun(store)).version
    assert await store.move_cluster(CLUSTER, version, RETIRING, why="one")
    assert not await store.move_cluster(CLUSTER, version, SERVING, why="other")
    assert (await row(store)).why == "one"


@pytest.mark.parametrize("state", [COMING, SERVING, YIELDING, KEPT])
async def test_claims_are_made_until_a_cluster_retires_and_again_when_it_is_kept(
    store: Store, state: ClusterState
) -> None:
    await begun(store, state=COMING)
    await move(store, state)
    assert await claim(store) == 1
    await move(store, RETIRING)
    assert await claim(store) == 0
    await move(store, KEPT)
    assert await claim(store) == 1


async def test_another_cluster_claims_what_one_that_retires_may_not(store: Store) -> None:
    await begun(store)
    await move(store, RETIRING)
    assert await claim(store) == 0
    assert len(await store.claim(POOL, "another", [worker()])) == 1


async def test_a_cluster_ends_only_when_it_is_empty_and_no_claim_can_come(store: Store, clock: Clock) -> None:
    await begun(store)
    await store.beat(CLUSTER, {worker(): POOL})
    await store.submit(new_job())
    (held,) = await store.claim(POOL, CLUSTER, [worker()])
    assert not await move(store, ENDING)
    await move(store, RETIRING)
    wish = await store.cluster_wish(CLUSTER)
    assert await store.cluster_obeys(CLUSTER, wish.version)
    assert not await move(store, ENDING)  # it renders
    await store.settle([success(held)])
    assert await move(store, ENDING)
    assert not await move(store, SERVING)  # no way back


async def test_without_its_dispatchers_word_it_ends_once_no_claim_can_be_under_way(store: Store, clock: Clock) -> None:
    await begun(store)
    await move(store, RETIRING)
    assert not await move(store, ENDING)
    await clock.advance(FENCE_S + 1)
    assert await move(store, ENDING)


async def test_one_without_objects_ends_when_nothing_runs_there_by_its_rows(store: Store) -> None:
    await begun(store)
    await store.beat(CLUSTER, {worker(): POOL})
    await store.submit(new_job())
    (held,) = await store.claim(POOL, CLUSTER, [worker()])
    assert not await move(store, ENDING, gone=True)
    await store.settle([success(held)])
    assert await move(store, ENDING, gone=True)


async def test_only_a_row_that_ends_is_forgotten(store: Store) -> None:
    version = (await begun(store)).version
    assert not await store.forget_cluster(CLUSTER, version)
    await move(store, ENDING, gone=True)
    assert not await store.forget_cluster(CLUSTER, version)
    assert await store.forget_cluster(CLUSTER, version + 1)
    assert await store.clusters() == []


async def test_a_wish_says_how_long_renders_have_and_an_old_one_is_not_obeyed(store: Store, clock: Clock) -> None:
    assert await store.cluster_wish(CLUSTER) == Wish(retires=False, left_s=0, version=0)
    await begun(store)
    assert not (await store.cluster_wish(CLUSTER)).retires
    await move(store, RETIRING)
    first = await store.cluster_wish(CLUSTER)
    assert (first.retires, first.left_s) == (True, 60)
    await clock.advance(70)
    assert (await store.cluster_wish(CLUSTER)).left_s == 0
    await move(store, KEPT)
    await move(store, RETIRING)
    assert not await store.cluster_obeys(CLUSTER, first.version)
    assert not (await row(store)).obeyed
    assert await store.cluster_obeys(CLUSTER, (await store.cluster_wish(CLUSTER)).version)
    assert (await row(store)).obeyed


async def test_one_that_yields_gives_up_hosts_and_says_what_is_on_each(store: Store) -> None:
    await begun(store)
    version = (await row(store)).version
    assert not await store.give_up(CLUSTER, version, {"pod-1": {POOL: 1}})
    assert not await store.tell_hosts(CLUSTER, {"pod-1": {POOL: 1}})
    await move(store, YIELDING)
    assert await store.tell_hosts(CLUSTER, {"pod-1": {POOL: 1}, "pod-2": {}})
    version = (await row(store)).version
    assert await store.give_up(CLUSTER, version, {"pod-1": {POOL: 1}})
    assert not await store.give_up(CLUSTER, version, {"pod-2": {}})  # somebody was first
    assert await store.give_up(CLUSTER, version + 1, {"pod-2": {}})
    found = await row(store)
    assert found.hosts == {"pod-1": {POOL: 1}, "pod-2": {}}
    assert found.gives == {"pod-1": {POOL: 1}, "pod-2": {}}
    wish = await store.cluster_wish(CLUSTER)
    assert (wish.retires, wish.yields, wish.gives) == (False, True, {"pod-1", "pod-2"})
    await move(store, KEPT)
    found = await row(store)
    assert (found.hosts, found.gives) == ({}, {})
    assert not (await store.cluster_wish(CLUSTER)).yields


async def test_a_fleet_without_workers_is_told_of_as_well(store: Store, clock: Clock) -> None:
    await begun(store)
    assert not (await row(store)).heard
    kind = KindState(
        cluster=CLUSTER, pool=POOL, kind="spot", wanted=0, requested=0, starting=0, ready=0, draining=0, why="no work"
    )
    await store.record_fleet(CLUSTER, [kind], [])
    found = await row(store)
    assert (found.heard, found.told) == (True, {})
    await clock.advance(91)
    assert not (await row(store)).heard
    await store.record_loads(CLUSTER, [WorkerLoad(worker="w", pool=POOL, model="m", state=LoadState.STARTING)])
    assert (await row(store)).heard


async def test_a_new_try_lets_those_that_were_kept_serve(store: Store) -> None:
    for name, state in (("a", KEPT), ("b", RETIRING)):
        await begun(store, name)
        await move(store, state, name)
    assert await store.retry_roll("elsewhere/other") == []
    assert await store.retry_roll(RELEASE) == ["a"]
    assert {each.name: each.state for each in await store.clusters()} == {"a": SERVING, "b": RETIRING}


async def test_the_controller_s_role_does_all_that_it_asks_of_the_store(store: Store, database_url: str) -> None:
    await begun(store)
    await store.submit(new_job())
    async with Store.open(url_of(Login.CLUSTERS, database_url), connections=1) as narrow:
        await begun(narrow, "new", COMING)
        assert await move(narrow, SERVING, "new")
        assert await move(narrow, YIELDING)
        assert await narrow.give_up(CLUSTER, (await row(narrow)).version, {"pod": {}})
        assert await move(narrow, RETIRING)
        dispatcher = acting(store, Login.DISPATCH)
        await dispatcher.cluster_obeys(CLUSTER, (await dispatcher.cluster_wish(CLUSTER)).version)
        assert await move(narrow, ENDING)
        assert await narrow.forget_cluster(CLUSTER, (await row(narrow)).version)
        assert await narrow.retry_roll() == []

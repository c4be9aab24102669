"""From one cluster to the next: who claims when, what makes way for what, and what becomes of a roll that fails."""

from __future__ import annotations

import asyncio
import copy

import pytest

from orchestrator.domain.errors import CogmillError
from orchestrator.domain.loading import LoadState, WorkerLoad
from orchestrator.ports.kubernetes import Kind
from orchestrator.rolling.template import CLUSTER_LABEL
from tests.support.jobs import POOL, new_job, success, worker
from tests.support.kuberay import KubeRay
from tests.support.kubernetes import faulty
from tests.support.postgres import Clock
from tests.support.rolling import (
    COMING,
    ENDING,
    KEPT,
    NEW,
    OLD,
    RETIRING,
    SERVING,
    YIELDING,
    Namespace,
    name_of,
    template,
)


async def test_a_roll_makes_the_new_one_drains_the_old_one_and_ends_it_when_it_is_empty(namespace: Namespace) -> None:
    namespace.install(OLD)
    await namespace.looks()
    await namespace.ready(OLD)
    await namespace.store.beat(name_of(OLD), {worker(): POOL})
    await namespace.store.submit(new_job())
    (held,) = await namespace.store.claim(POOL, name_of(OLD), [worker()])
    namespace.install(NEW)
    await namespace.looks()
    assert namespace.clusters() == sorted([name_of(OLD), name_of(NEW)])
    assert await namespace.rows() == {name_of(OLD): SERVING, name_of(NEW): COMING}
    # A retiring cluster keeps the image and the configuration of its dispatcher.
    assert namespace.dispatcher(OLD)["spec"]["template"]["spec"]["containers"][0]["image"] == "registry/cogmill:1"
    await namespace.ready(NEW, 1)
    await namespace.looks()
    assert (await namespace.row(OLD)).state is RETIRING  # of its own one worker all are ready
    await namespace.obeys(OLD)
    await namespace.looks()
    assert name_of(OLD) in namespace.clusters()  # it holds a render
    await namespace.store.settle([success(held)])
    await namespace.looks()
    assert namespace.clusters() == [name_of(NEW)]
    assert await namespace.rows() == {name_of(NEW): SERVING}
    owned = [it for it in namespace.server.objects.values() if CLUSTER_LABEL in it["metadata"].get("labels", {})]
    assert {it["metadata"]["labels"][CLUSTER_LABEL] for it in owned} == {name_of(NEW)}


async def test_a_release_whose_pools_have_no_workers_rolls_too(namespace: Namespace) -> None:
    none = '[pools.small]\nmodel = "tiny-2b"\nworkers = 0\n'
    namespace.install(OLD)
    await namespace.looks()
    await namespace.ready(OLD)
    await namespace.looks()
    namespace.install(template(config=none))
    await namespace.ready(OLD, 0)
    await namespace.looks()
    assert not (await namespace.row(OLD)).heard
    namespace.install(NEW | {"cogmill.toml": none})
    await namespace.looks()
    assert await namespace.rows() == {name_of(OLD): RETIRING, name_of(NEW): COMING}
    await namespace.obeys(OLD)
    await namespace.looks()
    assert await namespace.rows() == {name_of(NEW): COMING}
    namespace.install(NEW)
    await namespace.ready(NEW)
    await namespace.looks()
    assert await namespace.rows() == {name_of(NEW): SERVING}


async def test_a_cluster_that_makes_way_keeps_its_dispatcher_and_its_configuration_whatever_is_installed(
    namespace: Namespace,
) -> None:
    namespace.install(OLD)
    await namespace.looks()
    await namespace.ready(OLD)
    await namespace.looks()
    before = copy.deepcopy(namespace.dispatcher(OLD))
    namespace.install(NEW)
    await namespace.looks()
    later = template(worker="registry/cogmill-worker:2", control="registry/cogmill:3", config="[pools.other]\n")
    namespace.install(later)
    await namespace.looks()
    assert name_of(later) == name_of(NEW)
    image = namespace.dispatcher(NEW)["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == "registry/cogmill:3"
    assert namespace.dispatcher(OLD) == before
    mounted = before["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"]
    snapshot = namespace.server.one(Kind.CONFIG_MAP, mounted)
    assert (snapshot["immutable"], snapshot["data"]["cogmill.toml"]) == (True, OLD["cogmill.toml"])


async def test_a_failed_upgrade_that_is_rolled_back_leaves_one_cluster_and_no_other(
    namespace: Namespace, clock: Clock
) -> None:
    namespace.install(OLD)
    await namespace.looks()
    await namespace.ready(OLD)
    await namespace.looks()
    uid = namespace.server.one(Kind.RAY_CLUSTER, name_of(OLD))["metadata"]["uid"]
    namespace.install(NEW)
    await namespace.looks()
    namespace.install(OLD)
    await namespace.looks()
    assert await namespace.rows() == {name_of(OLD): SERVING, name_of(NEW): RETIRING}
    await clock.advance(120)  # its dispatcher never came up
    await namespace.ready(OLD)
    await namespace.looks()
    assert namespace.clusters() == [name_of(OLD)]
    assert namespace.server.one(Kind.RAY_CLUSTER, name_of(OLD))["metadata"]["uid"] == uid


async def test_a_cluster_that_is_wanted_again_while_it_ends_is_made_anew_once_it_is_gone(namespace: Namespace) -> None:
    """As with GCS fault tolerance in Redis, whose finalizer keeps the object for a while."""
    namespace.install(OLD)
    await namespace.looks()
    namespace.server.one(Kind.RAY_CLUSTER, name_of(OLD))["metadata"]["finalizers"] = [
        "ray.io/gcs-ft-redis-cleanup-finalizer"
    ]
    await namespace.ready(OLD)
    await namespace.looks()
    namespace.install(NEW)
    await namespace.looks()
    await namespace.ready(NEW)
    await namespace.looks()
    await namespace.obeys(OLD)
    await namespace.looks()
    assert (await namespace.row(OLD)).state is ENDING
    namespace.install(OLD)
    await namespace.looks()
    assert (await namespace.row(OLD)).state is ENDING
    namespace.server.remove(Kind.RAY_CLUSTER, name_of(OLD))
    await namespace.looks()
    assert (await namespace.row(OLD)).state is COMING
    assert not namespace.server.one(Kind.RAY_CLUSTER, name_of(OLD))["metadata"].get("deletionTimestamp")


async def test_past_its_deadline_the_old_one_claims_again_and_a_new_try_lets_it_make_way(
    namespace: Namespace, clock: Clock
) -> None:
    namespace.install(OLD)
    await namespace.looks()
    await namespace.ready(OLD)
    await namespace.store.beat(name_of(OLD), {worker(): POOL})
    await namespace.store.submit(new_job())
    assert await namespace.store.claim(POOL, name_of(OLD), [worker()])
    namespace.install(NEW)
    await namespace.looks()
    await namespace.ready(NEW)
    await namespace.looks()
    await clock.advance(601)
    await namespace.looks(1)
    kept = await namespace.row(OLD)
    assert (kept.state, kept.why) == (KEPT, "1 renders are left after 600 s")
    assert not (await namespace.store.cluster_wish(name_of(OLD))).retires
    await namespace.looks()
    assert (await namespace.row(OLD)).state is KEPT
    assert await namespace.store.retry_roll() == [name_of(OLD)]
    await namespace.ready(NEW)
    await namespace.looks()
    assert (await namespace.row(OLD)).state is RETIRING


# ---------------------------------------------------------------- in place
GPUS = 3


def in_place(image: int, *, autoscaled: bool = False) -> dict[str, str]:
    """A release of three workers."""
    return template(
        worker=f"registry/cogmill-worker:{image}", autoscaled=autoscaled, groups=("gpu",), bounds=(GPUS, GPUS),
        roll={"strategy": "in_place"},
    )  # fmt: skip


async def pods_and_workers(namespace: Namespace, kuberay: KubeRay, data: dict[str, str], gone: set[str]) -> None:
    """Each pod has a ready worker, but for those that have left; the dispatcher tells it."""
    pods = kuberay.pods(name_of(data))
    workers = [pod for pod in pods if pod not in gone]
    loads = [WorkerLoad(worker=pod, pool="small", model="m", state=LoadState.LOADED) for pod in workers]
    waiting = [WorkerLoad(worker=f"w{i}", pool="small", model="m", state=LoadState.STARTING) for i in range(GPUS)]
    await namespace.store.record_loads(name_of(data), loads + waiting[len(pods) :])
    held = {pod: {"small": 1} if pod in workers else {} for pod in pods}
    await namespace.store.tell_hosts(name_of(data), held)


@pytest.mark.parametrize(("autoscaled", "faults"), [(False, False), (True, False), (False, True)])
async def test_in_place_one_pod_after_the_other_goes_by_name_or_by_rays_autoscaler(
    namespace: Namespace, autoscaled: bool, faults: bool
) -> None:
    """With faults a third of the requests go wrong, and two controllers act side by side."""
    old, new = in_place(1, autoscaled=autoscaled), in_place(2, autoscaled=autoscaled)
    kuberay, gone = KubeRay(namespace.server, gpus=GPUS), set[str]()
    seen: list[tuple[int, int]] = []

    async def turn() -> None:
        looks = (namespace.controller.run_once() for _ in range(1 + faults))
        for end in await asyncio.gather(*looks, return_exceptions=True):
            assert isinstance(end, int) or (faults and isinstance(end, CogmillError)), end
        left = GPUS - len(gone)
        kuberay.reconcile(lambda name: GPUS if name == name_of(new) else left, gone.__contains__)
        for data in (old, new):
            if name_of(data) in namespace.clusters():
                await pods_and_workers(namespace, kuberay, data, gone)
        gone.update((await namespace.store.cluster_wish(name_of(old))).gives)
        seen.append((len(kuberay.pods(name_of(old))), len(kuberay.pods(name_of(new)))))

    namespace.install(old)
    for _ in range(3):
        await turn()
    if faults:
        namespace.server.fault = faulty(1, 0.3)
    namespace.install(new)
    for _ in range(60):
        await turn()
        if (await namespace.rows()).get(name_of(old)) is RETIRING:
            break
    assert (await namespace.row(old)).state is RETIRING  # it holds its last pod
    assert set(seen) >= {(3, 0), (2, 1), (1, 2)}
    assert all(GPUS - 1 <= sum(each) <= GPUS for each in seen[2:])
    assert kuberay.unnamed == []
    namespace.server.fault = lambda method, plural: None
    await namespace.obeys(old)
    for _ in range(3):
        await turn()
    assert namespace.clusters() == [name_of(new)]
    assert len(kuberay.pods(name_of(new))) == GPUS


async def test_in_place_groups_that_somebody_else_has_changed_meanwhile_are_left_alone(namespace: Namespace) -> None:
    old, new = in_place(1), in_place(2)
    kuberay = KubeRay(namespace.server, gpus=GPUS)
    namespace.install(old)
    await namespace.looks()
    kuberay.reconcile()
    await pods_and_workers(namespace, kuberay, old, set())
    await namespace.looks()
    namespace.install(new)
    await namespace.looks()
    await pods_and_workers(namespace, kuberay, new, set())
    await namespace.looks()
    await pods_and_workers(namespace, kuberay, old, set())
    await namespace.looks(1)
    row = await namespace.row(old)
    assert row.state is YIELDING
    (host,) = row.gives
    await pods_and_workers(namespace, kuberay, old, {host})
    live = namespace.server.one(Kind.RAY_CLUSTER, name_of(old))

    def sneaks(method: str, plural: str) -> None:
        """Between the controller's look and its patch the groups change their places."""
        if method == "PATCH":
            live["spec"]["workerGroupSpecs"].insert(0, {**live["spec"]["workerGroupSpecs"][0], "groupName": "other"})

    namespace.server.fault = sneaks
    await namespace.looks(1)
    assert [entry[3] for entry in namespace.server.log if entry[0] == "PATCH"] == [422]
    namespace.server.fault = lambda method, plural: None
    await namespace.looks(1)
    other, gpu = namespace.server.one(Kind.RAY_CLUSTER, name_of(old))["spec"]["workerGroupSpecs"]
    assert (other["minReplicas"], gpu["minReplicas"]) == (GPUS, GPUS - 1)
    assert gpu["scaleStrategy"] == {"workersToDelete": [host]}
    # It is said once.
    await namespace.looks()
    assert [entry[3] for entry in namespace.server.log if entry[0] == "PATCH"] == [422, 200]

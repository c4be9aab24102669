"""The controller while requests fail, replies are lost, another one acts beside it, and its process is killed.

It watches nothing: it lists anew at each look, so that no watch can expire. A page that comes too late is answered 410.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

import pytest

from orchestrator.domain.errors import KubernetesRefused, KubernetesUnavailable
from orchestrator.ports.kubernetes import Kind
from tests.support.kubernetes import faulty
from tests.support.rolling import NAMESPACE, NEW, OLD, OWNER, SERVING, TEMPLATE, Namespace, name_of


async def test_what_an_account_may_not_do_is_said_by_its_verb_and_its_path(namespace: Namespace) -> None:
    namespace.install(OLD)
    namespace.server.fault = lambda method, plural: 403 if (method, plural) == ("GET", "configmaps") else None
    with pytest.raises(KubernetesRefused, match="GET /api/v1/namespaces/video/configmaps/cogmill-release: 403 a fault"):
        await namespace.looks(1)


@pytest.mark.parametrize("fault", [500, 429, 410, "lost"])
async def test_an_api_that_does_not_answer_is_unavailable(namespace: Namespace, fault: int | str) -> None:
    namespace.server.fault = lambda method, plural: fault
    with pytest.raises(KubernetesUnavailable):
        await namespace.api.list(Kind.DEPLOYMENT, "a", "b")


async def test_a_listing_whose_next_page_comes_too_late_is_begun_anew_at_the_next_look(namespace: Namespace) -> None:
    for i in range(5):
        made = namespace.server.put(Kind.CONFIG_MAP, f"map-{i}", {})
        made["metadata"]["labels"] = {"a": "b"}
    pages = iter([None, None, 410])
    namespace.server.fault = lambda method, plural: next(pages, None)
    with pytest.raises(KubernetesUnavailable, match="410"):
        await namespace.api.list(Kind.CONFIG_MAP, "a", "b")
    found = await namespace.api.list(Kind.CONFIG_MAP, "a", "b")
    assert [it["metadata"]["name"] for it in found] == [f"map-{i}" for i in range(5)]


async def test_another_object_of_the_name_is_not_deleted(namespace: Namespace) -> None:
    namespace.install(OLD)
    await namespace.api.delete(Kind.CONFIG_MAP, OWNER, uid="that of one before it")
    assert OWNER in namespace.server.names(Kind.CONFIG_MAP)


@pytest.mark.seeds(3)
async def test_with_faults_and_two_controllers_at_once_a_roll_ends_the_same(namespace: Namespace, seed: int) -> None:
    """Requests are refused, fail, or are done without an answer; nothing is made twice, and nothing is left."""

    async def looks(until: Any) -> None:
        for _ in range(200):
            await asyncio.gather(*(namespace.controller.run_once() for _ in range(2)), return_exceptions=True)
            await namespace.ready(OLD)
            await namespace.ready(NEW)
            await namespace.obeys(OLD)
            if await until():
                return
        pytest.fail(f"it does not end: {await namespace.rows()}")

    async def serves(data: dict[str, str]) -> bool:
        return await namespace.rows() == {name_of(data): SERVING} and namespace.clusters() == [name_of(data)]

    namespace.server.fault = faulty(seed, 0.3)
    namespace.install(OLD)
    await looks(lambda: serves(OLD))
    namespace.install(NEW)
    await looks(lambda: serves(NEW))
    made = [entry for entry in namespace.server.log if entry[0] == "POST" and entry[3] == 200]
    assert len(made) == len(set(made)), "an object was made twice"
    namespace.server.fault = lambda method, plural: None
    await looks(lambda: asyncio.sleep(0, len(namespace.server.names(Kind.DEPLOYMENT)) == 1))


async def test_a_controller_that_dies_at_any_request_leaves_what_the_next_one_ends(namespace: Namespace) -> None:
    """Each life ends at its first request that writes, which is done, and nobody hears of it."""
    life: asyncio.Task[int] | None = None

    def dies(method: str, plural: str) -> int | str | None:
        if method == "GET" or life is None:
            return None
        life.cancel()
        return "lost"

    async def lives(data: dict[str, str]) -> int:
        nonlocal life
        deaths = 0
        for _ in range(40):
            await namespace.ready(OLD)
            await namespace.ready(NEW)
            await namespace.obeys(OLD)
            life = asyncio.create_task(namespace.controller.run_once())
            (end,) = await asyncio.gather(life, return_exceptions=True)
            deaths += isinstance(end, asyncio.CancelledError)
            if await namespace.rows() == {name_of(data): SERVING} and end == 0:
                return deaths
        pytest.fail(f"it does not end: {await namespace.rows()}")

    namespace.server.fault = dies
    namespace.install(OLD)
    assert await lives(OLD) == 3
    namespace.install(NEW)
    assert await lives(NEW) == 6
    assert namespace.clusters() == [name_of(NEW)]
    assert len(namespace.server.names(Kind.CONFIG_MAP)) == 3


async def test_the_process_is_killed_while_it_makes_a_cluster_and_started_again(
    namespace: Namespace, database_url: str
) -> None:
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("COGMILL_")},
        "COGMILL_DATABASE_URL": database_url,
        "COGMILL_CLUSTERS__OWNER": OWNER,
        "COGMILL_CLUSTERS__TEMPLATE": TEMPLATE,
        "COGMILL_CLUSTERS__EVERY_S": "0.05",
        "COGMILL_CLUSTERS__PORT": "0",
    }

    async def started() -> asyncio.subprocess.Process:
        url = f"http://127.0.0.1:{namespace.server.port}"
        return await asyncio.create_subprocess_exec(sys.executable, "-c", _PROCESS, url, NAMESPACE, env=environment)

    def killing(method: str, plural: str) -> int | str | None:
        if (method, plural) != ("POST", Kind.RAY_CLUSTER.plural):
            return None
        process.kill()
        return "lost"

    namespace.install(OLD)
    namespace.server.fault = killing
    process = await started()
    async with asyncio.timeout(120):
        assert await process.wait() == -signal.SIGKILL
    assert namespace.clusters() == [name_of(OLD)]
    process = await started()
    async with asyncio.timeout(120):
        while not namespace.server.names(Kind.DEPLOYMENT):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        process.terminate()
        assert await process.wait() == 0
    assert namespace.clusters() == [name_of(OLD)]


_PROCESS = """
import asyncio, sys
from orchestrator.adapters.kubernetes import KubernetesApi
from orchestrator.config.clusters import load_clusters
from orchestrator.processes.rolling import run_clusters
from orchestrator.telemetry import logs

settings = load_clusters()
logs.configure(settings.log)

async def main():
    await run_clusters(settings, KubernetesApi(sys.argv[1], sys.argv[2]))

asyncio.run(main())
"""

"""OPERATIONS.md's commands run as they stand there: the real kubectl, the controller, `cogmill`, a real PostgreSQL.

What needs a whole API server is played by the test: `helm` puts what the controller reads, and test_upgrades.py has
what it owns. The server is the stand-in of tests/support/kubectl.py.
"""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import yaml

from orchestrator.domain.clusters import ClusterState
from orchestrator.ports.kubernetes import Kind
from orchestrator.store import Store
from tests.support.documented import Player, blocks
from tests.support.helm import Helm, Rendered, chart_before, least
from tests.support.installed import NAMESPACE
from tests.support.jobs import POOL, new_job, worker
from tests.support.kubectl import Shell
from tests.support.operated import Place, played

OPERATIONS = (Path(__file__).parents[2] / "OPERATIONS.md").read_text()
COMING, SERVING, KEPT = ClusterState.COMING, ClusterState.SERVING, ClusterState.KEPT
BEFORE = "cogmill-72c4c3fd"
HPA = {"config": {"limits": {"storage": "redis://redis"}}, "api": {"autoscaling": {"enabled": True}}}
NEWER = least({"workerImage": {"tag": "2"}})

# Sections whose commands the tests below run, all of them; and commands elsewhere, with why none does.
PLAYED = ["Upgrading", "Rolling workers", "Draining a node", "Restoring", "Moving to another cluster"]
ELSEWHERE = {
    "kubectl create secret generic": "run below",
    "kubectl describe pod": "run below",
    "kubectl logs deploy/NAME-clusters --previous": "run below, without `--previous`",
    "kubectl drain": "the program's name; run below with a node's",
    "kubectl logs NAME-test": "the pod of a test that Helm has run",
    "kubectl scale deployment NAME-clusters --replicas 0 &&": "before the next, and that is the operator's finalizer's",
    "kubectl delete rayclusters -l cogmill.io/release=": "waits for the operator, which no stand-in plays",
    "kubectl describe externalsecret": "an object of another operator, which no stand-in has",
    "kubectl describe raycluster": "shows the operator's own events, which no stand-in writes",
    "kubectl describe": "the program's name",
    "kubectl -n default get endpointslice kubernetes": "an object that only a real server has",
    "kubectl delete pvc NAME-models": "a claim that Helm makes; the controller makes none",
}


# Programs that a sentence names, and one warning.
NAMES = {"kubectl apply", "kubectl exec", "kubectl replace --force", "kubectl scale", "cogmill migrate"} | {
    f"cogmill clusters{more}" for more in ("", " retry", " run")
}
WORDS = {"RELEASE": "cogmill", "NAME": "cogmill", "NODE": "gpu-1", "OTHER": "fresh", "FRESH": "fresh-cogmill"} | {
    "NAMESPACE": NAMESPACE
}


@pytest.fixture
async def here(
    store: Store, database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[tuple[Shell, Place]]:
    async with played(store, database_url, monkeypatch, tmp_path, "HERE") as (at, [place]):
        yield at, place


async def serving(place: Place, rendered: Rendered) -> str:
    """The name of the cluster, which has taken over."""
    place.install(rendered)
    await place.looks()
    await place.ready(rendered)
    await place.looks()
    assert (await place.rows())[rendered.wanted.name] is SERVING
    return rendered.wanted.name


def test_every_command_of_kubectl_is_run_or_has_a_reason() -> None:
    headings = re.findall(r"^##+ (.+)$", OPERATIONS, re.MULTILINE)
    elsewhere = [
        line.strip()
        for heading in headings
        if heading not in PLAYED
        for block in blocks(OPERATIONS, heading)
        for line in block
        if line.strip().startswith("kubectl") and line.strip() not in NAMES
    ]

    assert set(PLAYED) <= set(headings)
    for line in elsewhere:
        assert any(line.startswith(known) for known in ELSEWHERE), line


async def test_the_secrets_that_an_install_is_told_to_make_are_those_that_its_pods_read(
    helm: Helm, here: tuple[Shell, Place]
) -> None:
    at, place = here
    player = Player(at, WORDS)
    commands, *_ = blocks(OPERATIONS, "On Kubernetes")
    await player.run(*(line for line in commands if line.startswith("kubectl")))
    [values, *_] = re.findall(r"```yaml\n(# my-values.yaml.*?)```", OPERATIONS, re.DOTALL)
    rendered = helm.render(yaml.safe_load(values))
    await serving(place, rendered)
    place.pods()

    [container] = rendered.find("Deployment", "-api")["spec"]["template"]["spec"]["containers"]
    read = [each["valueFrom"]["secretKeyRef"] for each in container["env"] if "valueFrom" in each]
    made = {(name, key) for (of, name), it in place.server.objects.items() if of == "secrets" for key in it["data"]}
    assert made == {("cogmill-database", "url"), ("cogmill-master-key", "master-key")}
    assert made <= {(each["name"], each["key"]) for each in read}
    [describe] = [block[0] for block in blocks(OPERATIONS, "On Kubernetes") if "describe pod" in block[0]]
    assert f"Name:{' ' * 13}{rendered.wanted.name}-worker" in await player.run(describe)


def told(heading: str) -> list[list[str]]:
    """The commands of a section, without names of programs."""
    return [lines for lines in blocks(OPERATIONS, heading) if not NAMES.issuperset(lines)]


async def test_an_upgrade_and_the_way_from_the_chart_before(helm: Helm, here: tuple[Shell, Place]) -> None:
    at, place = here
    old, new = helm.render(), helm.render(NEWER)
    theirs = {
        each["kind"]: each for each in chart_before() if each["metadata"]["name"] in (BEFORE, "cogmill-dispatcher")
    }
    place.server.make(Kind.RAY_CLUSTER, theirs["RayCluster"])
    place.server.make(Kind.DEPLOYMENT, theirs["Deployment"])
    upgrades = iter([old, new])

    async def install(_: list[str]) -> None:
        place.install(next(upgrades))
        await place.looks()

    usual, from_before = told("Upgrading")
    await Player(at, WORDS, {"helm": install}).run(*from_before)

    assert await place.rows() == {BEFORE: SERVING, old.wanted.name: COMING}
    dispatcher = place.server.one(Kind.DEPLOYMENT, "cogmill-dispatcher")
    assert dispatcher["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    env = dispatcher["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "COGMILL_RAY__CLUSTER", "value": BEFORE} in env
    assert len(env) == len(theirs["Deployment"]["spec"]["template"]["spec"]["containers"][0]["env"]) + 1
    said = await Player(at, WORDS, {"helm": install}).run(*usual)
    assert all(name in said for name in (BEFORE, new.wanted.name))


async def test_what_is_looked_at_and_done_when_a_roll_hangs(helm: Helm, here: tuple[Shell, Place]) -> None:
    at, place = here
    old, new = helm.render(), helm.render(NEWER)
    first, second = await serving(place, old), new.wanted.name
    place.helm(new)
    await place.looks()
    [row] = [row for row in await place.store.clusters() if row.name == first]
    await place.store.move_cluster(first, row.version, KEPT, why="2 renders are left", successor=second)
    place.pods()
    place.server.logs["controller-0"] = '{"event": "put_aside"}'
    changed: list[list[str]] = []

    async def install(words: list[str]) -> None:
        changed.append(words)

    looked, role, coming, yielding, retiring, retry, end, logs = told("Rolling workers")
    player = Player(at, WORDS | {"CLUSTER": first}, {"helm": install})
    assert re.search(rf"{first} +kept .* 2 renders are left", await player.run(looked[0]))
    everything = await player.run(*looked[1:])
    assert all(name in everything for name in (first, second, f"{first}-dispatcher"))
    await player.run(*role)
    [said] = changed
    [given] = [word for word in said if word.startswith("clusters.database")]
    values = dict(each.split("=") for each in given.split(","))
    secret = place.server.objects["secrets", values["clusters.database.existingSecret"]]
    assert values["clusters.database.urlKey"] in secret["data"]
    for pods in (coming, yielding):
        assert {f"{first}-head", f"{first}-worker"} == set(re.findall(rf"{first}-\w+", await player.run(*pods)))
    assert f"{first}-dispatcher" in await player.run(*retiring)
    assert (await player.run(*retry)).endswith(f"{first}\n")
    assert (await place.rows())[first] is SERVING
    assert "put_aside" in await player.run(*logs)
    await player.run(*end)
    assert place.clusters() == [second]
    assert place.server.names(Kind.POD) == [f"{second}-head", f"{second}-worker", "controller-0"]


async def test_a_node_is_drained(helm: Helm, here: tuple[Shell, Place]) -> None:
    at, place = here
    rendered = helm.render()
    name = await serving(place, rendered)
    place.pods()
    place.server.make_node("gpu-1")
    moved = helm.render(least({"ray": {"head": {"pod": {"annotations": {"moved": "2026-12-01"}}}}}))

    async def install(words: list[str]) -> None:
        assert "ray.head.pod.annotations.moved=2026-12-01" in words
        place.install(moved)
        await place.looks()

    drain, careful = told("Draining a node")
    player = Player(at, WORDS, {"helm": install})
    said = await player.run(*careful)
    assert all(each in said for each in (name, moved.wanted.name))  # a changed annotation is another cluster
    assert name != moved.wanted.name
    assert place.server.objects["nodes", "gpu-1"]["spec"]["unschedulable"] is True
    assert f"{name}-head" in await player.run(drain[0])
    await player.run(*drain[1:])
    assert place.server.names(Kind.POD) == []


async def test_a_database_is_restored(helm: Helm, here: tuple[Shell, Place], database: asyncpg.Connection) -> None:
    at, place = here
    rendered = helm.render(least(HPA))
    name = await serving(place, rendered)
    await place.store.add_cluster("cogmill-older", f"{NAMESPACE}/cogmill-clusters-owner", SERVING, "of that time")
    await place.store.add_cluster("cogmill-elsewhere", "video/cogmill-clusters-owner", SERVING, "of another release")
    await place.store.beat(name, {worker(): POOL})
    job = new_job()
    await place.store.submit(job)
    await place.store.claim(POOL, name, [worker()])
    stopped: list[list[int]] = []

    async def install(words: list[str]) -> None:
        assert "--force-conflicts" in words
        stopped.append(place.replicas())
        assert (place.clusters(), len(place.server.names(Kind.DEPLOYMENT))) == ([], 3)
        place.install(rendered)
        await place.looks()

    [commands] = told("Restoring")
    said = await Player(at, WORDS, {"helm": install}).run(*commands)

    assert stopped == [[0, 0, 0]]
    assert place.replicas() == [1, 1, 1]
    assert place.clusters() == [name]
    assert set(await place.rows()) == {name}  # that of the older one, whose objects are gone, is forgotten
    assert "cogmill-elsewhere" in said
    assert await database.fetchval("SELECT state FROM jobs") == "running"  # until its worker's lease is over


async def test_a_release_moves_to_another_cluster(
    helm: Helm,
    store: Store,
    database_url: str,
    database: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    old, new = helm.render(), helm.render(release="fresh")
    async with played(store, database_url, monkeypatch, tmp_path, "OLD", "NEW") as (at, [here, there]):
        first = await serving(here, old)
        before = dict(here.server.objects)
        key = base64.b64encode(b"0123456789abcdef").decode()
        here.server.make_secret("cogmill-master-key", {"master-key": key})

        async def helms(words: list[str]) -> None:
            if "uninstall" in words:
                here.server.remove(Kind.CONFIG_MAP, "cogmill-clusters-owner")
                return
            assert words[-4:] == ["fresh", "helm/cogmill", "--values", "my-values.yaml"]
            await serving(there, new)

        async def psql(words: list[str]) -> None:
            await database.execute(words[-1])

        beside, leave = told("Moving to another cluster")
        player = Player(at, WORDS, {"helm": helms, "psql": psql})
        said = await player.run(*beside)
        await here.looks()
        assert await here.rows() == {first: SERVING}
        assert before.items() <= here.server.objects.items()
        assert there.clusters() == [new.wanted.name]
        assert all(name in said for name in (first, new.wanted.name))
        assert there.server.objects["secrets", "cogmill-master-key"]["data"] == {"master-key": key}

        await player.run(leave[0])
        assert await database.fetchval("SELECT count(*) FROM pauses WHERE resumed_at IS NULL") == 1
        await player.run(*leave[1:])
        assert here.clusters() == []
        assert [row.name for row in await store.clusters()] == [new.wanted.name]
        assert await database.fetchval("SELECT count(*) FROM pauses WHERE resumed_at IS NULL") == 0


async def test_one_name_in_two_clusters_would_lose_the_first_ones_row(
    helm: Helm, store: Store, database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Why OPERATIONS.md asks for another name: a release is told by its namespace and NAME alone."""
    async with played(store, database_url, monkeypatch, tmp_path, "OLD", "NEW") as (_, [here, there]):
        first = await serving(here, helm.render())
        there.install(helm.render(NEWER))
        await there.looks()

        assert first not in await here.rows()
        assert here.clusters() == [first]

"""The chart's template under the real controller: install, upgrade, roll, rollback, uninstall; and its account."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from orchestrator.adapters.kubernetes import KubernetesApi
from orchestrator.config.clusters import ACCOUNT
from orchestrator.domain.clusters import ClusterState
from orchestrator.domain.errors import KubernetesRefused
from orchestrator.ports.kubernetes import Kind
from orchestrator.rolling.template import CLUSTER_LABEL, RELEASE_LABEL
from orchestrator.store import Store
from tests.support.chart_values import EVERYTHING, PLAIN_JOB
from tests.support.helm import LEAST, TEMPLATE, Helm, Rendered, least
from tests.support.installed import NAMESPACE, Site, told
from tests.support.kubernetes import VERBS, KubeServer

COMING, SERVING, RETIRING = ClusterState.COMING, ClusterState.SERVING, ClusterState.RETIRING


@pytest_asyncio.fixture
async def site(store: Store, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    server = KubeServer()
    async with server.serving() as url:
        api = KubernetesApi(url, NAMESPACE)
        yield Site(server, api, store, monkeypatch)
        await api.close()


def may(rendered: Rendered) -> set[tuple[str, str]]:
    """Resources and verbs of the controller's Role."""
    rules = rendered.find("Role", TEMPLATE)["rules"]
    return {(kind, verb) for rule in rules for kind in rule["resources"] for verb in rule["verbs"]}


async def test_a_release_lives_from_its_install_to_its_end_with_what_its_account_may_do(helm: Helm, site: Site) -> None:
    old, new = helm.render(), helm.render(least({"workerImage": {"tag": "2"}}))
    first, second = old.wanted.name, new.wanted.name
    allowed = may(old)
    site.server.allows = lambda verb, plural: (plural, verb) in allowed
    site.helm(old)
    await site.looks()
    await site.ready(old)
    await site.looks()
    assert await site.rows() == {first: SERVING}

    more = helm.render(least({"config": {"pools": {"main": {"workers": 3}}}, "image": {"tag": "2"}}))
    uid = site.server.one(Kind.RAY_CLUSTER, first)["metadata"]["uid"]
    site.helm(more)
    await site.looks()
    live = site.server.one(Kind.RAY_CLUSTER, first)
    assert (live["metadata"]["uid"], live["spec"]["workerGroupSpecs"][0]["maxReplicas"]) == (uid, 3)
    pod = site.server.one(Kind.DEPLOYMENT, f"{first}-dispatcher")["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "cogmill:2"

    site.helm(new)
    await site.looks()
    assert site.clusters() == sorted([first, second])
    await site.ready(new)
    await site.looks()
    assert await site.rows() == {first: RETIRING, second: SERVING}
    await site.obeys(first)
    await site.looks()
    assert site.clusters() == [second]

    site.helm(old)  # a rollback
    await site.looks()
    assert await site.rows() == {first: COMING, second: SERVING}
    await site.ready(old)
    await site.looks()
    await site.obeys(second)
    await site.looks()
    assert await site.rows() == {first: SERVING}
    assert site.server.names(Kind.DEPLOYMENT) == [f"{first}-dispatcher"]

    used = {(plural, VERBS.get(method) or ("get" if name else "list")) for method, plural, name, _ in site.server.log}
    assert used <= allowed
    assert allowed - used <= {("pods", "list")}  # where a cluster makes way in place
    assert {kind.plural: kind.api_version for kind in Kind} == {
        kind: "/".join(filter(None, [group, "v1"]))
        for rule in old.find("Role", TEMPLATE)["rules"]
        for group in rule["apiGroups"]
        for kind in rule["resources"]
    }

    for kind in (Kind.RAY_CLUSTER, Kind.DEPLOYMENT):
        [made] = [site.server.one(kind, name) for name in site.server.names(kind)]
        assert "app.kubernetes.io/instance" not in made["metadata"]["labels"]  # or Argo CD would take it for its own
        assert [owner["name"] for owner in made["metadata"]["ownerReferences"]] == ["cogmill-clusters-owner"]

    for name in ("cogmill-clusters-owner", "cogmill-clusters"):  # an uninstall
        site.server.remove(Kind.CONFIG_MAP, name)
    assert site.server.objects == {}
    site.helm(old)  # and another install on the same database
    await site.looks()
    assert site.clusters() == [first]


async def test_what_its_account_may_not_do_is_named(helm: Helm, site: Site) -> None:
    rendered = helm.render()
    allowed = may(rendered) - {("rayclusters", "list")}
    site.server.allows = lambda verb, plural: (plural, verb) in allowed
    site.helm(rendered)

    with pytest.raises(KubernetesRefused, match='403 rayclusters is forbidden: cannot list resource "rayclusters"'):
        await site.looks(1)
    assert site.clusters() == []


async def test_generations_grow_with_specs_alone_and_an_update_leaves_the_status(helm: Helm, site: Site) -> None:
    """As the API server has it: an operator that has seen a generation says so in the status, which is its own."""
    rendered = helm.render()
    site.helm(rendered)
    await site.looks()
    name = rendered.wanted.name
    dispatcher = f"{name}-dispatcher"
    site.server.observe(Kind.RAY_CLUSTER, name, state="ready")
    site.server.observe(Kind.DEPLOYMENT, dispatcher, readyReplicas=1)
    more = helm.render(least({"config": {"pools": {"main": {"workers": 3}}}, "image": {"tag": "2"}}))
    site.helm(more)
    await site.looks()

    for kind, it in ((Kind.RAY_CLUSTER, name), (Kind.DEPLOYMENT, dispatcher)):
        live = site.server.one(kind, it)
        assert (live["metadata"]["generation"], live["status"]["observedGeneration"]) == (2, 1)
    labels = [{"op": "add", "path": "/metadata/labels/team", "value": "video"}]
    assert await site.api.patch(Kind.RAY_CLUSTER, name, labels)
    assert site.server.one(Kind.RAY_CLUSTER, name)["metadata"]["generation"] == 2


async def test_a_failed_upgrade_is_rolled_back_and_leaves_the_one_cluster_that_there_was(
    helm: Helm, site: Site
) -> None:
    """Helm left a second one with GPUs, and could neither roll back nor uninstall it."""
    old, new = helm.render(), helm.render(least({"workerImage": {"tag": "broken"}}))
    site.helm(old)
    await site.looks()
    await site.ready(old)
    await site.looks()
    uid = site.server.one(Kind.RAY_CLUSTER, old.wanted.name)["metadata"]["uid"]
    site.helm(new)
    await site.looks()
    site.helm(old)
    await site.looks()
    await site.obeys(new.wanted.name)
    await site.looks()

    assert site.clusters() == [old.wanted.name]
    assert site.server.one(Kind.RAY_CLUSTER, old.wanted.name)["metadata"]["uid"] == uid
    assert await site.rows() == {old.wanted.name: SERVING}


async def test_clusters_of_the_chart_before_are_taken_over_and_make_way(helm: Helm, site: Site) -> None:
    """As OPERATIONS.md says, which keeps them from Helm and labels them."""
    rendered, theirs = helm.render(), "cogmill-0123abcd"
    labels = {RELEASE_LABEL: "cogmill-clusters-owner", CLUSTER_LABEL: theirs}
    for kind, name, body in (
        (Kind.RAY_CLUSTER, theirs, rendered.wanted.ray_cluster),
        (Kind.DEPLOYMENT, "cogmill-dispatcher", rendered.wanted.dispatcher),
    ):
        kept = copy.deepcopy(dict(body)) | {"metadata": {"name": name, "labels": labels}}
        assert await site.api.create(kind, kept)
    site.helm(rendered)
    await site.looks()
    assert await site.rows() == {theirs: SERVING, rendered.wanted.name: COMING}
    await site.ready(rendered)
    await site.looks()
    await site.obeys(theirs)
    await site.looks()

    assert await site.rows() == {rendered.wanted.name: SERVING}
    assert site.clusters() == [rendered.wanted.name]
    assert site.server.names(Kind.DEPLOYMENT) == [f"{rendered.wanted.name}-dispatcher"]


def pod_of(rendered: Rendered) -> dict[str, Any]:
    return dict(rendered.find("Deployment", TEMPLATE)["spec"]["template"]["spec"])


def test_the_controller_alone_has_a_token_and_neither_master_key_nor_configuration(helm: Helm) -> None:
    rendered = helm.render(EVERYTHING)
    controller = pod_of(rendered)
    [container] = controller["containers"]
    [token] = [volume["name"] for volume in controller["volumes"] if "projected" in volume]

    [mount] = [mount for mount in container["volumeMounts"] if mount["name"] == token]
    assert mount["mountPath"] == str(ACCOUNT)
    with_token = [name for name, pod in rendered.pods() if any("projected" in each for each in pod.get("volumes", ()))]
    assert with_token == ["cogmill-clusters"]
    assert {each["name"] for each in container["env"]} & {"COGMILL_MASTER_KEY", "COGMILL_S3__SECRET_KEY"} == set()
    assert not any("configMap" in each and each["name"] == "config" for each in controller["volumes"])
    [subject] = rendered.find("RoleBinding", TEMPLATE)["subjects"]
    assert subject == {"kind": "ServiceAccount", "name": controller["serviceAccountName"], "namespace": NAMESPACE}
    accounts = [pod["serviceAccountName"] for _, pod in rendered.pods()]
    assert accounts.count(subject["name"]) == 1


@pytest.mark.parametrize(
    ("values", "secret"),
    [
        (LEAST, {"name": "cogmill-db", "key": "url"}),
        (EVERYTHING, {"name": "cogmill-clusters-db", "key": "narrow"}),
        (least({"clusters": {"database": {"urlKey": "narrow"}}}), {"name": "cogmill-db", "key": "narrow"}),
    ],
    ids=["the common role", "its own", "another key"],
)
def test_its_database_role_may_be_its_own(helm: Helm, values: dict[str, Any], secret: dict[str, str]) -> None:
    [container] = pod_of(helm.render(values))["containers"]
    env = {each["name"]: each for each in container["env"]}

    assert env["COGMILL_DATABASE_URL"]["valueFrom"]["secretKeyRef"] == secret


def test_it_is_told_of_the_pooler_and_of_how_to_log(helm: Helm, monkeypatch: pytest.MonkeyPatch) -> None:
    said = told(helm.render(EVERYTHING), monkeypatch)

    assert (said.database.transaction_pooling, said.log.level) == (True, "warning")
    assert (said.clusters.host, said.clusters.port) == ("0.0.0.0", 9103)


def test_what_its_own_environment_says_is_not_said_twice_and_the_others_does_not_count(helm: Helm) -> None:
    level = {"name": "COGMILL_LOG__LEVEL", "value": "debug"}
    for components, level_told in ((["api", "clusters"], "debug"), (["api"], "info")):
        values = {"extraEnv": [{**level, "components": components}], "config": {"log": {"level": "info"}}}
        [container] = pod_of(helm.render(least(values)))["containers"]
        assert [each["value"] for each in container["env"] if each["name"] == level["name"]] == [level_told]


# Numbers, dates and booleans to some readers of YAML, and not to others; and what YAML itself is made of.
PLAIN = """on off yes no y null ~ {x} [x] ' " % @ -a 1 012 0o17 0x1F 1_000 1e3 12e34567 .5 1. 12:30:45 2026-12-01"""
SPACED = ["", " ", "a: b # c", "- a", "{{ x }}", "one\ntwo\n", "\n  spaces\n\n\tand tabs \n", "---\n...\n", "ü€"]


def test_what_a_value_says_reaches_the_pods_as_it_was_said(helm: Helm) -> None:
    """Helm writes YAML into YAML, and another library reads it."""
    env = [{"name": f"WORD_{place}", "value": word} for place, word in enumerate([*PLAIN.split(), *SPACED])]
    labels = {f"word-{place}": word for place, word in enumerate(("on", "1e3", "012", "2026-12-01"))}
    values = least({"ray": {"worker": {"env": env, "pod": {"labels": labels}}}, "extraEnv": env})
    made = helm.render(values).wanted
    worker = made.ray_cluster["spec"]["workerGroupSpecs"][0]["template"]

    told = [each for each in worker["spec"]["containers"][0]["env"] if each["name"].startswith("WORD_")]
    assert told == env
    assert labels.items() <= worker["metadata"]["labels"].items()
    [container] = made.dispatcher["spec"]["template"]["spec"]["containers"]
    assert [each for each in container["env"] if each["name"].startswith("WORD_")] == env


def test_how_it_rolls_is_what_the_values_say(helm: Helm) -> None:
    usual, other = helm.render().wanted.roll, helm.render(PLAIN_JOB).wanted.roll

    assert (usual.strategy, usual.deadline_s, usual.grace_s) == ("surge", 14400, 300)
    assert other.strategy == "in_place"

"""extraEnv and extraVolumes go to the components that they are for; kinds differ from workers in what they say."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.helm import Helm, Rendered, least, merged

ALL = {"api", "clusters", "dispatcher", "maintainer", "migrate", "prefetch", "ray-worker"}
FETCHED = {
    "config": {"models": {"cogvideox-2b": {"family": "cogvideox-2b", "source": "hf://org/tiny"}}},
    "modelsCache": {"claim": {"create": True}, "prefetch": {"enabled": True}},
}


def rendered(helm: Helm, **said: Any) -> Rendered:
    more = {
        "extraEnv": [{"name": "SAID", "value": "so", **{k: v for k, v in said.items() if k == "components"}}],
        "extraVolumes": [{"name": "key", "mountPath": "/key", "volume": {"emptyDir": {}}, **said}],
    }
    for each in said.get("components", ()):
        if each in ("prefetch", "ray-worker"):
            more["extraEnv"] = []
    return helm.render(least(merged(FETCHED, more)))


def holders(found: Rendered) -> tuple[set[str], set[str]]:
    """By the name of their container: who has the variable, and who the volume."""
    env, volumes = set(), set()
    for _, pod in found.pods():
        [container] = pod["containers"]
        if {"name": "SAID", "value": "so"} in container.get("env", ()):
            env.add(container["name"])
        mounted = {"name": "extra-key", "mountPath": "/key", "readOnly": True} in container.get("volumeMounts", ())
        assert mounted == ("extra-key" in {each["name"] for each in pod.get("volumes", ())})
        if mounted:
            volumes.add(container["name"])
    return env, volumes


def test_the_controller_the_migration_and_the_prefetch_job_get_neither_unless_that_is_said(helm: Helm) -> None:
    env, volumes = holders(rendered(helm))

    assert env == {"api", "dispatcher", "maintainer"}
    assert volumes == env | {"ray-worker"}


@pytest.mark.parametrize("component", sorted(ALL))
def test_an_entry_goes_to_its_components_alone(helm: Helm, component: str) -> None:
    env, volumes = holders(rendered(helm, components=[component]))

    assert volumes == {component}
    assert env == {component} - {"prefetch", "ray-worker"}


def test_an_entry_for_all_reaches_all(helm: Helm) -> None:
    everybody = sorted(ALL - {"prefetch", "ray-worker"})
    env, volumes = holders(rendered(helm, components=everybody))

    assert env == volumes == set(everybody)


def test_a_kind_has_its_own_environment_beside_the_workers_and_its_own_sizes(helm: Helm) -> None:
    def variables(**said: str) -> list[dict[str, str]]:
        return [{"name": name, "value": value} for name, value in said.items()]

    said = {"env": variables(A="kind", C="kind"), "shmSize": "3Gi", "tmpSize": "4Gi", "spillSize": "5Gi"}
    pool = {"model": "cogvideox-2b", "kinds": {"spot": {"max": 1, "resource": "spot"}}}
    ray = {"worker": {"env": variables(A="all", B="all")}, "kinds": {"spot": said}}
    pods = dict(helm.render(least({"config": {"pools": {"more": pool}}, "ray": ray})).pods())

    def of(group: str) -> tuple[dict[str, str], dict[str, str]]:
        [pod] = [pod for name, pod in pods.items() if name.endswith(f" {group}")]
        env = [(each["name"], each["value"]) for each in pod["containers"][0]["env"] if len(each["name"]) == 1]
        assert len(env) == len(dict(env))
        sizes = {each["name"]: each["emptyDir"]["sizeLimit"] for each in pod["volumes"] if "emptyDir" in each}
        return dict(env), {name: sizes[name] for name in ("shm", "tmp", "spill")}

    assert of("more-spot") == ({"A": "kind", "B": "all", "C": "kind"}, {"shm": "3Gi", "tmp": "4Gi", "spill": "5Gi"})
    assert of("gpu") == ({"A": "all", "B": "all"}, {"shm": "2Gi", "tmp": "20Gi", "spill": "10Gi"})


@pytest.mark.parametrize(
    ("api", "says"),
    [
        (
            {"httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}], "hostnames": ["v.example"]}},
            "API          v.example by the Gateway public\n",
        ),
        (
            {"httpRoute": {"enabled": True, "parentRefs": [{"name": "a"}, {"name": "b"}]}},
            "API          every host by the Gateway a, b\n",
        ),
        ({"ingress": {"enabled": True, "host": "v.example", "tlsSecret": "tls"}}, "API          https://v.example\n"),
        ({}, "API          kubectl -n default port-forward svc/cogmill-api 8000:80\n"),
    ],
    ids=["route", "route of every host", "ingress", "neither"],
)
def test_the_notes_say_where_the_api_is(helm: Helm, api: dict[str, Any], says: str) -> None:
    run = helm.run("install", least({"api": api}), "--dry-run=client", release="cogmill")

    assert says in run.stdout, run.stderr

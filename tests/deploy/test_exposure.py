"""What the world reaches of an installation, and what only the cluster does."""

from __future__ import annotations

import tomllib
from itertools import permutations
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts

from api.app import create_app
from tests.support.api import api_settings
from tests.support.chart_values import EVERYTHING
from tests.support.helm import LEAST, Helm, Rendered, least, selects


@pytest.mark.parametrize("base", ["", "/video"])
def test_the_ingress_publishes_what_callers_need_and_neither_metrics_nor_health(helm: Helm, base: str) -> None:
    config = EVERYTHING["config"] | ({"api": {"base_path": base}} if base else {})
    rendered = helm.render(EVERYTHING | {"config": config})
    [rule] = rendered.find("Ingress", "-api")["spec"]["rules"]
    kinds = {each["path"]: each["pathType"] for each in rule["http"]["paths"]}

    def published(path: str) -> bool:
        """As the Ingress API defines its path types: `Prefix` goes by whole elements."""
        return path in kinds or any(
            kind == "Prefix" and path.startswith(f"{prefix}/") for prefix, kind in kinds.items()
        )

    kept = {"/healthz", "/readyz", "/metrics"}
    routes = {
        route.original_route.path for route in iter_route_contexts(create_app(api_settings("postgresql://h/d")).routes)
    }
    assert routes >= kept
    assert {path for path in routes if not published(base + path)} - {"/"} == kept
    assert published(base or "/")
    assert not any(published(base + path) for path in ("/v11", "/openapi.json/x", "/x"))
    [route] = rendered.find("HTTPRoute", "-api")["spec"]["rules"]
    matches = {each["path"]["value"]: each["path"]["type"].removeprefix("Path") for each in route["matches"]}
    assert matches == kinds


def test_who_reaches_the_api_and_the_metrics_can_be_narrowed_and_the_chart_test_always_does(helm: Helm) -> None:
    def rules(values: dict[str, Any], component: str) -> list[dict[str, Any]]:
        policy = helm.render(values).find("NetworkPolicy", f"-{component}")
        found: list[dict[str, Any]] = policy["spec"]["ingress"]
        return found

    def let_in(values: dict[str, Any], component: str) -> dict[str, list[dict[str, Any]] | None]:
        """By port, who may; None is anybody."""
        found = [rule for rule in rules(values, component) if "ports" in rule]
        return {rule["ports"][0]["port"]: rule.get("from") for rule in found}

    test = {"app.kubernetes.io/component": "test"}
    open_to: dict[str, dict[str, Any]] = {"http": {"namespaceSelector": {}}, "metrics": {"podSelector": {}}}
    for component in ("api", "clusters", "maintainer", "dispatcher"):
        ports = {"http", "metrics"} if component == "api" else {"metrics"}
        assert let_in(LEAST, component) == dict.fromkeys(ports)
        narrow = let_in(EVERYTHING, component)
        assert set(narrow) == ports
        for port, peers in narrow.items():
            assert peers
            assert peers[0] == open_to[port]
            assert len(peers) == 2
            assert test.items() <= peers[-1]["podSelector"]["matchLabels"].items()
    callers = least({"networkPolicy": {"from": {"api": [{"podSelector": {}}]}}})
    assert let_in(callers, "api")["metrics"] is None, "whoever reads metrics is not shut out with other callers"


def test_callers_find_no_metrics_at_the_port_that_they_reach(helm: Helm) -> None:
    """A Service of type LoadBalancer publishes all paths of its port."""
    rendered = helm.render(least({"api": {"service": {"type": "LoadBalancer"}}}))
    [container] = rendered.find("Deployment", "-api")["spec"]["template"]["spec"]["containers"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    toml = tomllib.loads(rendered.find("ConfigMap", "cogmill")["data"]["cogmill.toml"])

    assert ports == {"http": toml["api"]["port"], "metrics": toml["metrics"]["api_port"]}
    assert [each["targetPort"] for each in rendered.find("Service", "-api")["spec"]["ports"]] == ["http"]


def reached(rendered: Rendered, source: dict[str, str], target: dict[str, str]) -> bool:
    """Whether the NetworkPolicies let a pod reach another one of its namespace on any port."""
    policies = [each["spec"] for each in rendered.objects if each["kind"] == "NetworkPolicy"]
    theirs = [policy for policy in policies if selects(policy["podSelector"], target)]
    assert theirs, "nothing limits who reaches it"
    return any(
        selects(peer["podSelector"], source)
        for policy in theirs
        for rule in policy["ingress"]
        if "ports" not in rule
        for peer in rule["from"]
    )


def ray_pods(rendered: Rendered) -> tuple[dict[str, str], ...]:
    """The labels of the dispatcher, the head and a worker of the cluster that the controller makes."""
    cluster, dispatcher = rendered.wanted.ray_cluster["spec"], rendered.wanted.dispatcher["spec"]
    parts = (dispatcher, cluster["headGroupSpec"], cluster["workerGroupSpecs"][0])
    return tuple(part["template"]["metadata"]["labels"] for part in parts)


def test_in_a_roll_each_cluster_is_reached_by_its_own_and_by_nobody_of_another_component_or_release(helm: Helm) -> None:
    now, before = helm.render(least({"workerImage": {"tag": "2"}})), helm.render()
    assert now.wanted.name != before.wanted.name

    for cluster in (ray_pods(now), ray_pods(before)):
        dispatcher, _, worker = cluster
        assert all(reached(now, source, target) for source, target in permutations(cluster, 2))
        strangers = (
            dispatcher | {"app.kubernetes.io/component": "api"},
            worker | {"app.kubernetes.io/instance": "another"},
        )
        assert not any(reached(now, source, target) for source in strangers for target in cluster)

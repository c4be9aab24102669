"""With networkPolicy.egress each component reaches what it needs, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
import yaml

from orchestrator.domain.addresses import is_public
from tests.support.chart_values import SCALED
from tests.support.egress import Egress, Labels, Target
from tests.support.helm import CHART, Helm, Rendered, merged


def at(cidr: str) -> dict[str, Any]:
    return {"to": [{"ipBlock": {"cidr": cidr}}]}


NAMED = {
    "postgres": at("10.1.0.5/32"),
    "redis": at("10.1.0.6/32"),
    "kubernetesApi": at("10.2.0.0/24"),
    "identity": at("169.254.170.23/32"),
}
LIMITED = merged(SCALED, {"networkPolicy": {"egress": {"enabled": True, **NAMED}}})


def of(component: str, release: str = "cogmill") -> Labels:
    """A pod's labels."""
    labels = {"name": "cogmill", "instance": release, "component": component}
    return {f"app.kubernetes.io/{key}": value for key, value in labels.items()}


KUBE_SYSTEM = {"kubernetes.io/metadata.name": "kube-system"}
WORLD = {
    "dns": Target(53, namespace=KUBE_SYSTEM, labels={"k8s-app": "kube-dns"}, protocol="UDP"),
    "dns by tcp": Target(53, namespace=KUBE_SYSTEM),
    "postgres": Target(5432, "10.1.0.5"),
    "redis": Target(6379, "10.1.0.6"),
    "kubernetes": Target(6443, "10.2.0.7"),
    "https": Target(443, "52.216.0.1"),
    "https by ipv6": Target(443, "2600:1f00::1"),
    "http": Target(80, "151.101.0.1"),
    "ray head": Target(6379, labels=of("ray-head")),
    "ray worker": Target(34567, labels=of("ray-worker")),
    "dispatcher": Target(9101, labels=of("dispatcher")),
    "api": Target(8000, labels=of("api")),
    "controller": Target(9103, labels=of("clusters")),
    "pod identity": Target(80, "169.254.170.23"),
    # Nobody calls these.
    "another database": Target(5432, "10.1.0.4"),
    "a private web server": Target(443, "10.1.0.5"),
    "a private one by ipv6": Target(443, "fd00:ec2::254"),
    "metadata": Target(80, "169.254.169.254"),
    "azure's metadata": Target(80, "168.63.129.16"),
    "mail": Target(25, "52.216.0.1"),
    "a public database": Target(5432, "52.216.0.1"),
    "another namespace": Target(443, namespace={"kubernetes.io/metadata.name": "default-2"}),
    "another release's dispatcher": Target(9101, labels=of("dispatcher", release="other")),
    "the maintainer": Target(9102, labels=of("maintainer")),
}
DNS = {"dns", "dns by tcp"}
HTTPS = {"https", "https by ipv6"}
# Without a Secret of S3's keys.
S3 = HTTPS | {"pod identity"}
RAY = {"ray head", "ray worker", "dispatcher"}
NEEDS = {
    "api": DNS | S3 | {"http", "postgres", "redis"},
    "dispatcher": DNS | S3 | RAY | {"postgres"},
    "maintainer": DNS | S3 | {"http", "postgres"},
    "migrate": DNS | {"postgres"},
    "clusters": DNS | {"postgres", "kubernetes"},
    "ray-head": DNS | RAY | {"kubernetes"},
    "ray-worker": DNS | S3 | RAY,
    "test": DNS | {"api", "controller", "dispatcher"},
}


def reached(rendered: Rendered) -> dict[str, set[str]]:
    """By component, whom it may call."""
    egress = Egress(rendered.objects)
    return {each: {name for name, target in WORLD.items() if egress.lets(of(each), target)} for each in NEEDS}


def test_each_component_reaches_what_it_needs_and_nothing_else(helm: Helm) -> None:
    assert reached(helm.render(LIMITED)) == NEEDS


def test_a_collector_is_reached_by_those_who_trace(helm: Helm) -> None:
    tracing = {"config": {"tracing": {"endpoint": "http://otel-collector.observability:4318"}}}
    collector = {"networkPolicy": {"egress": {"collector": at("10.1.0.4/32")}}}
    egress = Egress(helm.render(merged(LIMITED, tracing | collector)).objects)
    target = Target(4318, "10.1.0.4")
    assert {each for each in NEEDS if egress.lets(of(each), target)} == {"api", "dispatcher", "maintainer"}


def labels_of_pods(rendered: Rendered) -> Iterator[Labels]:
    for found in rendered.objects:
        spec = found.get("spec", {})
        if found["kind"] == "Pod":
            yield found["metadata"]["labels"]
        templates = [spec.get("template"), spec.get("headGroupSpec", {}).get("template")]
        templates += [group["template"] for group in spec.get("workerGroupSpecs", ())]
        yield from (template["metadata"]["labels"] for template in templates if template)


def test_every_pod_of_the_chart_is_limited_and_none_where_that_is_not_asked_for(helm: Helm) -> None:
    cache = {"claim": {"create": True}, "prefetch": {"enabled": True}}
    model = {"config": {"models": {"cogvideox-2b": {"family": "cogvideox-2b", "source": "hf://org/name"}}}}
    values = merged(LIMITED, {"modelsCache": cache} | model)
    rendered = helm.render(values)
    pods, egress = list(labels_of_pods(rendered)), Egress(rendered.objects)

    assert len(pods) == 11
    assert {each["app.kubernetes.io/component"] for each in pods} == {*NEEDS, "prefetch"}
    assert all(len(egress.of(labels)) == 1 for labels in pods)
    free = helm.render(merged(values, {"networkPolicy": {"egress": {"enabled": False}}}))
    assert not any(Egress(free.objects).of(labels) for labels in labels_of_pods(free))


@pytest.mark.parametrize(
    ("more", "component", "reaches"),
    [
        ({"config": {"limits": {"storage": "memory://"}}, "api": {"autoscaling": {"enabled": False}}}, "api", "-redis"),
        ({"ray": {"gcsFaultTolerance": {"backend": "redis", "redis": {"address": "r:6379"}}}}, "ray-head", "+redis"),
        ({"config": {"moderation": {"url": "https://m", "video": True}}}, "ray-worker", "+http"),
        ({"networkPolicy": {"egress": {"s3": at("10.1.0.5/32")}}}, "dispatcher", "-https"),
        ({"networkPolicy": {"egress": {"s3": at("10.1.0.5/32")}}}, "ray-worker", "+a private web server"),
        ({"networkPolicy": {"egress": {"more": {"api": [{"ports": [{"port": 25}]}]}}}}, "api", "+mail"),
        ({"networkPolicy": {"egress": {"web": {"ports": [443]}}}}, "maintainer", "-http"),
        *(({"s3": {"existingSecret": "keys"}}, each, "-pod identity") for each in ("api", "dispatcher", "ray-worker")),
    ],
    ids=lambda it: str(it)[:60],
)
def test_what_is_configured_opens_and_closes_the_way_to_it(
    helm: Helm, more: dict[str, Any], component: str, reaches: str
) -> None:
    now = reached(helm.render(merged(LIMITED, more)))[component]
    sign, name = reaches[0], reaches[1:]

    assert (name in NEEDS[component], name in now) == (sign == "-", sign == "+")


def test_workers_reach_a_hub_only_for_models_that_are_there(helm: Helm) -> None:
    own = {"egress": {"s3": at("10.1.0.5/32")}}
    hub = {"models": {"cogvideox-2b": {"family": "cogvideox-2b", "source": "hf://org/name"}}}

    assert not HTTPS & reached(helm.render(merged(LIMITED, {"networkPolicy": own})))["ray-worker"]
    assert reached(helm.render(merged(LIMITED, {"networkPolicy": own, "config": hub})))["ray-worker"] >= HTTPS


def test_the_internet_of_the_values_is_what_the_product_itself_calls_public() -> None:
    """`orchestrator/domain/addresses.py` judges each address that a user's URL leads to."""
    egress = yaml.safe_load((CHART / "values.yaml").read_text())["networkPolicy"]["egress"]
    assert egress["web"]["to"] == egress["s3"]["to"] == egress["models"]["to"]
    policy = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": egress["web"]["to"]}]}
    internet = Egress([{"kind": "NetworkPolicy", "spec": policy}])
    excepted = [ip_network(each) for peer in egress["web"]["to"] for each in peer["ipBlock"]["except"]]
    edges = [edge for each in excepted for edge in (each[0], each[-1])]
    near = [ip_address(int(edge) + step) for edge in edges for step in (-1, 1) if 0 <= int(edge) + step < 2**32]
    other = [ip_address(each) for each in ("fd00::1", "fe80::1", "::1", "ff02::1", "64:ff9b::a00:1", "255.255.255.255")]

    assert not any(internet.lets({}, Target(443, str(edge))) for edge in edges)
    for address in (*near, *other):
        if internet.lets({}, Target(443, str(address))):
            assert is_public(address), address
    for open_to in ("8.8.8.8", "2001:4860:4860::8888"):
        assert internet.lets({}, Target(443, open_to))

"""What NetworkPolicies let out, by the rules of their API: pods and addresses, ports and protocols."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

Labels = Mapping[str, str]


@dataclass(frozen=True)
class Target:
    """Where a connection goes: an address outside of the cluster, or a pod."""

    port: int
    address: str = ""
    labels: Labels = field(default_factory=dict)
    # Of a pod in another namespace, that namespace's.
    namespace: Labels | None = None
    protocol: str = "TCP"


def selects(selector: Mapping[str, Any] | None, labels: Labels) -> bool:
    """An empty selector selects everything."""
    assert selector is None or not selector.keys() - {"matchLabels"}, "matchExpressions are not understood here"
    return dict(labels) == {**labels, **(selector or {}).get("matchLabels", {})}


class Egress:
    """All policies of a chart that limit what pods call."""

    def __init__(self, objects: Iterable[Mapping[str, Any]]) -> None:
        specs = [found["spec"] for found in objects if found["kind"] == "NetworkPolicy"]
        self._specs = [spec for spec in specs if "Egress" in spec["policyTypes"]]

    def of(self, labels: Labels) -> list[dict[str, Any]]:
        """Those for a pod with these labels."""
        return [spec for spec in self._specs if selects(spec["podSelector"], labels)]

    def lets(self, labels: Labels, target: Target) -> bool:
        policies = self.of(labels)
        rules = [rule for spec in policies for rule in spec.get("egress", ())]
        return not policies or any(_peer(rule, target) and _port(rule, target) for rule in rules)


def _peer(rule: Mapping[str, Any], target: Target) -> bool:
    return "to" not in rule or any(_is(peer, target) for peer in rule["to"])


def _is(peer: Mapping[str, Any], target: Target) -> bool:
    if "ipBlock" in peer:
        if not target.address:
            return False  # as most network plugins have it: addresses are those of no pod
        address = ip_address(target.address)
        block = peer["ipBlock"]
        return address in ip_network(block["cidr"]) and not any(
            address in ip_network(n) for n in block.get("except", ())
        )
    if target.address:
        return False
    if "namespaceSelector" in peer:
        here = {"kubernetes.io/metadata.name": "default"} if target.namespace is None else target.namespace
        return selects(peer["namespaceSelector"], here) and selects(peer.get("podSelector"), target.labels)
    return target.namespace is None and selects(peer["podSelector"], target.labels)


def _port(rule: Mapping[str, Any], target: Target) -> bool:
    said = rule.get("ports")
    return not said or any(
        each.get("protocol", "TCP") == target.protocol and each.get("port", target.port) == target.port for each in said
    )

"""Cloud identities: the values that the page shows for each cloud reach its accounts and pods, and their way out."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.support.egress import Egress, Target
from tests.support.helm import CHART, Helm, Rendered, least, merged
from tests.support.places import section, values_of

TEXT = section("Cloud identities")
SHOWN: dict[str, dict[str, Any]] = {
    cloud: yaml.safe_load(block)
    for cloud, block in re.findall(r"```yaml\n# identity: (\w+).*?\n(.*?)```", TEXT, re.DOTALL)
}
# What each cloud's own webhook, or metadata server, looks at.
ANNOTATIONS = {
    "AWS": "eks.amazonaws.com/role-arn",
    "GKE": "iam.gke.io/gcp-service-account",
    "Azure": "azure.workload.identity/client-id",
}
AGENT = Target(80, "169.254.170.23")  # EKS Pod Identity's


def labels_of(rendered: Rendered) -> dict[str, dict[str, str]]:
    """Of each component's pods."""
    cluster = rendered.find("RayCluster", "")["spec"]
    templates = [each["spec"]["template"] for each in rendered.objects if each["kind"] in ("Deployment", "Job")]
    templates += [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
    found = [template["metadata"]["labels"] for template in templates]
    return {labels["app.kubernetes.io/component"]: labels for labels in found}


@pytest.mark.parametrize("cloud", ANNOTATIONS)
def test_the_values_of_each_cloud_annotate_every_account(helm: Helm, cloud: str) -> None:
    assert SHOWN.keys() == ANNOTATIONS.keys()
    rendered = helm.render(least(SHOWN[cloud]))
    accounts = [each for each in rendered.objects if each["kind"] == "ServiceAccount"]

    assert len(accounts) >= 7
    assert all(each["metadata"]["annotations"].get(ANNOTATIONS[cloud]) for each in accounts)
    labelled = {
        component
        for component, labels in labels_of(rendered).items()
        if labels.get("azure.workload.identity/use") == "true"
    }
    assert labelled == ({"api", "maintainer", "ray-worker"} if cloud == "Azure" else set())


def test_pod_identity_is_given_to_those_who_use_the_bucket_and_they_reach_its_agent(helm: Helm) -> None:
    comment = re.search(
        r"^#\s+(networkPolicy: .*)$", (CHART / "values" / "eks-karpenter.yaml").read_text(), re.MULTILINE
    )
    assert comment
    there = {"to": [{"ipBlock": {"cidr": "10.1.0.0/24"}}]}
    limits = {"networkPolicy": {"egress": {"enabled": True, "postgres": there, "kubernetesApi": there}}}
    cache = {"modelsCache": {"claim": {"create": True}, "prefetch": {"enabled": True}}}
    values = merged(merged(values_of("eks-karpenter"), limits), cache)
    rendered = helm.render(merged(values, yaml.safe_load(comment[1])))
    egress = Egress(rendered.objects)
    reaches = {name for name, labels in labels_of(rendered).items() if egress.lets(labels, AGENT)}

    loop = re.search(r"^for part in ([\w -]+); do", section("EKS with Karpenter"), re.MULTILINE)
    assert loop
    assert reaches == set(loop[1].split()) == {"api", "dispatcher", "maintainer", "ray-worker", "prefetch"}
    assert "networkPolicy.egress.identity.to is needed" in helm.refuse(values)

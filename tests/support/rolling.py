"""What tests of rolls are made of: a template as the chart prints it, and the settings of a controller."""

from __future__ import annotations

from typing import Any

import yaml

from orchestrator.config.clusters import ControllerSettings

OWNER, TEMPLATE, NAMESPACE = "cogmill-release", "cogmill-clusters", "video"
SETTINGS = ControllerSettings(owner=OWNER, template=TEMPLATE, namespace=NAMESPACE)
RELEASE = f"{NAMESPACE}/{OWNER}"


def template(
    *,
    worker: str = "registry/cogmill-worker:1",
    control: str = "registry/cogmill:1",
    bounds: tuple[int, int] = (0, 4),
    chart: str = "cogmill-0.1.0",
    config: str = '[pools.small]\nmodel = "tiny-2b"\n',
    roll: dict[str, Any] | None = None,
    autoscaled: bool = True,
    groups: tuple[str, ...] = ("spot", "on-demand"),
) -> dict[str, str]:
    """The data of the template's ConfigMap."""
    labels = {"app.kubernetes.io/instance": "cogmill", "helm.sh/chart": chart}

    def pod(name: str, image: str) -> dict[str, Any]:
        spec = {"containers": [{"name": name, "image": image}]}
        return {"metadata": {"labels": dict(labels)}, "spec": spec}

    ray_cluster = {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": "cogmill", "labels": dict(labels)},
        "spec": {
            "rayVersion": "2.60.0",
            "enableInTreeAutoscaling": autoscaled,
            "headGroupSpec": {"rayStartParams": {}, "template": pod("ray-head", "registry/cogmill:pinned")},
            "workerGroupSpecs": [
                {
                    "groupName": name,
                    "minReplicas": bounds[0],
                    "maxReplicas": bounds[1],
                    "rayStartParams": {},
                    "template": pod("ray-worker", worker),
                }
                for name in groups
            ],
        },
    }
    env = [
        {"name": "COGMILL_RAY__CLUSTER", "value": "@CLUSTER@"},
        {"name": "COGMILL_RAY__ADDRESS", "value": "@CLUSTER@-head-svc:6379"},
    ]
    dispatcher = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "cogmill-dispatcher", "labels": dict(labels)},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"app.kubernetes.io/component": "dispatcher"}},
            "template": {
                "metadata": {"labels": {"app.kubernetes.io/component": "dispatcher"}},
                "spec": {
                    "containers": [{"name": "dispatcher", "image": control, "env": env}],
                    "volumes": [{"name": "config", "configMap": {"name": "@CONFIG@"}}],
                },
            },
        },
    }
    return {
        "raycluster.yaml": yaml.safe_dump(ray_cluster),
        "dispatcher.yaml": yaml.safe_dump(dispatcher),
        "cogmill.toml": config,
        "roll.yaml": yaml.safe_dump({"deadline_s": 600, "grace_s": 0} | (roll or {})),
    }


def owner() -> dict[str, Any]:
    return {"metadata": {"name": OWNER, "uid": "uid-of-the-owner"}}

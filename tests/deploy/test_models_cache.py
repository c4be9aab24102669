"""The cache of models on Kubernetes: a claim that the chart makes, and a Job that fills it by itself."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.helm import LEAST, Helm, Rendered, least, merged
from tests.support.hub import hub

HUB = {"models": {"cogvideox-2b": {"family": "cogvideox-2b", "source": "hf://org/tiny"}}}
CLAIMED = least({"config": HUB, "modelsCache": {"claim": {"create": True}, "prefetch": {"enabled": True}}})


def job_of(rendered: Rendered) -> dict[str, Any]:
    [job] = [each for each in rendered.objects if each["kind"] == "Job" and "-prefetch-" in each["metadata"]["name"]]
    return job


def test_the_claim_is_kept_and_everybody_who_fetches_has_it(helm: Helm) -> None:
    rendered = helm.render(CLAIMED)
    claim = rendered.find("PersistentVolumeClaim", "")

    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert claim["spec"] == {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "100Gi"}}}
    source = {"name": "models-cache", "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}}
    pods = {name: pod for name, pod in rendered.pods() if name.endswith(" gpu") or "-prefetch-" in name}
    assert len(pods) == 2
    for pod in pods.values():
        assert source in pod["volumes"]
        assert {"name": "models-cache", "mountPath": "/models-cache"} in pod["containers"][0]["volumeMounts"]


def test_a_claim_is_as_it_is_said(helm: Helm) -> None:
    claim = {"create": True, "storageClassName": "efs", "accessModes": ["ReadWriteOnce"]}
    values = merged(CLAIMED, {"modelsCache": {"size": "300Gi", "claim": claim}})

    spec = helm.render(values).find("PersistentVolumeClaim", "")["spec"]

    assert spec["storageClassName"] == "efs"
    assert spec["accessModes"] == ["ReadWriteOnce"]
    assert spec["resources"]["requests"]["storage"] == "300Gi"


def test_nothing_of_it_is_there_unless_it_is_asked_for(helm: Helm) -> None:
    kinds = {(each["kind"], each["metadata"]["name"].split("-")[1:2] == ["prefetch"]) for each in helm.render().objects}

    assert "PersistentVolumeClaim" not in {kind for kind, _ in kinds}
    assert not any(prefetch for _, prefetch in kinds)


@pytest.mark.parametrize(
    ("changed", "is_another"),
    [
        ({"config": {"models": {"cogvideox-2b": {"source": "hf://org/other"}}}}, True),
        ({"workerImage": {"tag": "2"}}, True),
        ({"ray": {"worker": {"env": [{"name": "HF_TOKEN", "value": "x"}]}}}, True),
        ({"config": {"log": {"level": "debug"}}}, False),
        ({"image": {"tag": "2"}, "masterKey": {"key": "other"}}, False),
    ],
    ids=str,
)
def test_it_runs_anew_when_what_it_fetches_changes_and_then_alone(
    helm: Helm, changed: dict[str, Any], is_another: bool
) -> None:
    """A Job cannot be changed, so what makes another one must make another name."""
    before, after = job_of(helm.render(CLAIMED)), job_of(helm.render(merged(CLAIMED, changed)))

    assert (before["spec"] != after["spec"]) is is_another
    assert (before["metadata"]["name"] != after["metadata"]["name"]) is is_another


def test_it_holds_the_keys_of_s3_and_neither_the_database_nor_the_master_key(helm: Helm) -> None:
    rendered = helm.render(merged(CLAIMED, {"s3": {"existingSecret": "cogmill-s3"}, "secretsAsFiles": True}))
    [container] = job_of(rendered)["spec"]["template"]["spec"]["containers"]
    refs = [each["valueFrom"]["secretKeyRef"]["name"] for each in container["env"] if "valueFrom" in each]

    assert set(refs) == {"cogmill-s3"}
    assert "secrets" not in {mount["name"] for mount in container["volumeMounts"]}


def test_what_the_job_runs_brings_what_is_remote_with_nothing_but_what_it_is_given(helm: Helm, tmp_path: Path) -> None:
    """The container's own command and environment, at a hub on this machine."""
    (tmp_path / "model").mkdir()  # as the worker image, or a volume, has it
    config = {
        "models": {"cogvideox-2b": {"source": str(tmp_path / "model")}},
        "adapters": {"ink": {"source": "hf://org/ink/ink.safetensors", "models": ["cogvideox-2b"]}},
    }
    cache = tmp_path / "cache"
    rendered = helm.render(merged(CLAIMED, {"config": config, "modelsCache": {"mountPath": str(cache)}}))
    [container] = job_of(rendered)["spec"]["template"]["spec"]["containers"]
    toml = tmp_path / "cogmill.toml"
    toml.write_text(rendered.find("ConfigMap", "cogmill")["data"]["cogmill.toml"])
    env = {each["name"]: each["value"] for each in container["env"]} | {"COGMILL_CONFIG": str(toml)}
    env |= {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    assert container["command"][0] == "cogmill"
    command = [sys.executable, "-m", "orchestrator.cli", *container["command"][1:]]
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    weights = struct.pack("<Q", len(header)) + header + b"abcd"

    with hub("org/ink", {"ink.safetensors": weights}) as (url, asked):
        env |= {"HF_ENDPOINT": url, "HOME": str(tmp_path)}
        run = subprocess.run(command, env=env, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr + run.stdout

    assert asked == ["ink.safetensors"]
    [fetched] = [each for each in cache.iterdir() if not each.name.startswith(".")]
    assert (fetched / "ink.safetensors").read_bytes() == weights


def test_a_model_that_is_in_the_image_or_a_volume_is_no_reason_for_one(helm: Helm) -> None:
    adapters = {"config": {"adapters": {"ink": {"source": "s3://models/ink", "models": ["cogvideox-2b"]}}}}
    values = LEAST | {"modelsCache": CLAIMED["modelsCache"]}

    assert "there is nothing to fetch" in helm.refuse(values)
    assert job_of(helm.render(merged(values, adapters)))

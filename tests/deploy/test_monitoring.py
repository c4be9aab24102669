"""What is scraped and alerted of on Kubernetes belongs to one release."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.test_alerts import TROUBLE, WELL
from tests.support.helm import CHART, LEAST, Helm, Rendered, least, selects
from tests.support.tools import need

MONITORED = least({"monitoring": {"enabled": True, "labels": {"release": "prometheus"}}})
FILES = [yaml.safe_load((CHART / "files" / name).read_text()) for name in ("alerts.yaml", "slos.yaml")]


def rules_of(rendered: Rendered) -> dict[str, Any]:
    spec: dict[str, Any] = rendered.find("PrometheusRule", "")["spec"]
    return spec


def of(release: str, series: dict[str, str]) -> dict[str, str]:
    """The same series as that release's monitors label them."""
    found = {}
    for name, values in series.items():
        bare, _, labels = name.partition("{")
        found[f'{bare}{{release="{release}"{", " + labels if labels else "}"}'] = values
    return found


def test_the_chart_holds_the_alert_rules_but_for_whose_they_are(helm: Helm) -> None:
    rendered = rules_of(helm.render(MONITORED))

    def bare(rule: dict[str, Any]) -> dict[str, Any]:
        expr = rule["expr"].replace('{release="default/cogmill"}', "").replace('release="default/cogmill", ', "")
        labels = {key: value for key, value in rule["labels"].items() if key != "release"}
        return rule | {"expr": expr, "labels": labels}

    wanted = [group for file in FILES for group in file["groups"]]
    names = [group["name"] for group in rendered["groups"]]
    assert names == ["default/cogmill", *(f"default/cogmill {group['name']}" for group in wanted[1:])]
    for group, file in zip(rendered["groups"], wanted, strict=True):
        assert [bare(rule) for rule in group["rules"]] == file["rules"]
        assert all(rule["labels"]["release"] == "default/cogmill" for rule in group["rules"])


def test_every_selector_of_a_rule_is_narrowed_to_the_release(helm: Helm) -> None:
    rendered = rules_of(helm.render(MONITORED))

    for rule in (rule for group in rendered["groups"] for rule in group["rules"]):
        selectors = re.findall(r"\b(?:up|cogmill[_:][a-z0-9_:]+)\b(?![\w-]*\")(\{[^}]*)?", rule["expr"])
        assert selectors, rule
        assert all(selector.startswith('{release="default/cogmill"') for selector in selectors), rule["expr"]


def test_a_runbook_is_where_the_values_say(helm: Helm) -> None:
    place = "https://git.example/cogmill/blob/main/"
    rendered = rules_of(helm.render(least({"monitoring": {"enabled": True, "runbooks": place}})))
    alerts = [rule for group in rendered["groups"] for rule in group["rules"] if "alert" in rule]

    assert [rule["annotations"]["runbook_url"] for rule in alerts] == [
        f"{place}OPERATIONS.md#{rule['alert'].lower()}" for rule in alerts
    ]


def test_a_releases_alerts_fire_for_its_own_trouble_and_not_for_anothers(helm: Helm, tmp_path: Path) -> None:
    files = []
    for release in ("blue", "green"):
        path = tmp_path / f"{release}.yaml"
        groups = rules_of(helm.render(MONITORED | {"fullnameOverride": release}))["groups"]
        path.write_text(yaml.safe_dump({"groups": groups[:1]}))  # the next test has those of objectives
        files.append(str(path))
    tests = [
        {
            "interval": "1m",
            "input_series": [
                {"series": name, "values": values}
                for name, values in (of("default/blue", WELL | series) | of("default/green", WELL)).items()
            ],
            "promql_expr_test": [
                {
                    "expr": 'count by (alertname, release) (ALERTS{alertstate="firing"})',
                    "eval_time": "90m",
                    "exp_samples": [{"labels": f'{{alertname="{alert}", release="default/blue"}}', "value": 1}],
                }
            ],
        }
        for alert, series in TROUBLE.items()
    ]
    path = tmp_path / "case.yaml"
    path.write_text(yaml.safe_dump({"rule_files": files, "evaluation_interval": "1m", "tests": tests}))

    run = subprocess.run([need("promtool"), "test", "rules", path], capture_output=True, text=True)

    assert run.returncode == 0, run.stdout + run.stderr


JOBS = {"cogmill-api", "cogmill-clusters", "cogmill-dispatcher", "cogmill-maintainer"}
SCALED = LEAST["config"] | {"pools": {"main": {"model": "cogvideox-2b", "kinds": {"spot": {"max": 2}}}}}


@pytest.mark.parametrize(
    ("config", "jobs"),
    [
        (LEAST["config"], JOBS),
        (SCALED, JOBS | {"cogmill-autoscaler"}),
    ],
    ids=["fixed", "scaled"],
)
def test_every_process_with_metrics_is_scraped_at_a_port_that_its_pods_have_and_let_through(
    helm: Helm, config: dict[str, Any], jobs: set[str]
) -> None:
    rendered = helm.render(MONITORED | {"config": config})
    pods = [(labels, spec) for labels, spec in labelled(rendered)]
    found = set()
    for monitor in (each for each in rendered.objects if each["kind"] == "PodMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"]
        [spec] = [spec for labels, spec in pods if wanted.items() <= labels.items()]
        [endpoint] = monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["port"] in {port["name"] for port in spec["containers"][0]["ports"]}
        labels = {each["targetLabel"]: each["replacement"] for each in endpoint["relabelings"]}
        assert labels["release"] == "default/cogmill"
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
        found.add(labels["job"])
        assert endpoint["port"] in open_to_all(rendered, wanted)
    assert found == jobs


def labelled(rendered: Rendered) -> list[tuple[dict[str, str], dict[str, Any]]]:
    found = []
    for each in rendered.objects:
        if each["kind"] == "Deployment":
            template = each["spec"]["template"]
            found.append((template["metadata"]["labels"], template["spec"]))
        if each["kind"] == "RayCluster":
            template = each["spec"]["headGroupSpec"]["template"]
            found.append((template["metadata"]["labels"], template["spec"]))
    return found


def open_to_all(rendered: Rendered, labels: dict[str, str]) -> set[str]:
    """The ports at which the NetworkPolicies let anybody reach pods with these labels."""
    return {
        port["port"]
        for each in rendered.objects
        if each["kind"] == "NetworkPolicy" and selects(each["spec"]["podSelector"], labels)
        for rule in each["spec"]["ingress"]
        if "from" not in rule
        for port in rule["ports"]
    }


@pytest.mark.parametrize("as_files", [False, True])
def test_the_token_of_metrics_is_known_to_all_that_ask_for_it_and_to_all_that_read_them(
    helm: Helm, as_files: bool
) -> None:
    wanted = {"name": "our-token", "key": "bearer"}
    token = {"metricsToken": {"existingSecret": "our-token", "key": "bearer"}, "secretsAsFiles": as_files}
    rendered = helm.render(MONITORED | {"config": SCALED} | token)
    endpoints = {
        monitor["metadata"]["name"]: monitor["spec"]["podMetricsEndpoints"][0]
        for monitor in rendered.objects
        if monitor["kind"] == "PodMonitor"
    }
    assert "authorization" not in endpoints.pop("cogmill-autoscaler"), "Ray's own asks for none"
    assert len(endpoints) == 4
    assert all(endpoint["authorization"] == {"credentials": wanted} for endpoint in endpoints.values())

    def knows(pod: dict[str, Any]) -> bool:
        variables = {each["name"]: each.get("valueFrom") for each in pod["containers"][0].get("env", ())}
        sources = [
            source for volume in pod.get("volumes", ()) for source in volume.get("projected", {}).get("sources", ())
        ]
        secrets = [source["secret"] for source in sources if "secret" in source]
        files = {item["path"]: secret["name"] for secret in secrets for item in secret["items"]}
        said = variables.get("COGMILL_METRICS__TOKEN") or {}
        return wanted.items() <= said.get("secretKeyRef", {}).items() or files.get("metrics__token") == "our-token"

    pods = dict(rendered.pods())
    known = {name for name in pods if knows(pods[name])}
    assert {"cogmill-api", "cogmill-clusters", "cogmill-maintainer", "cogmill-test"} < known
    assert sorted(name for name in known if "dispatcher" in name or "migrate" in name) == sorted(
        name for name in pods if "dispatcher" in name or "migrate" in name
    )
    assert not [name for name in known if "ray" in name or " " in name]

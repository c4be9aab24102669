"""The migration can come again and again and names what is missing; `helm test` sees whether workers are ready."""

from __future__ import annotations

import http.server
import importlib.util
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from orchestrator.domain.clusters import ClusterState
from tests.support.helm import CHART, LEAST, Helm, Rendered, least, merged

SECRETS = least(
    {
        "database": {"listenUrlKey": "direct"},
        "s3": {"existingSecret": "cogmill-s3"},
        "ray": {"authSecret": "ray-token"},
        "extraEnv": [
            {"name": "HTTPS_PROXY", "valueFrom": {"secretKeyRef": {"name": "proxy", "key": "url"}}},
            {"name": "NO_PROXY", "value": "localhost"},
        ],
    }
)
GIVEN = {
    "COGMILL_DATABASE_URL": "Secret cogmill-db has no key url",
    "COGMILL_LISTEN_URL": "Secret cogmill-db has no key direct",
    "COGMILL_MASTER_KEY": "Secret cogmill-key has no key master-key",
    "COGMILL_S3__ACCESS_KEY": "Secret cogmill-s3 has no key access-key",
    "COGMILL_S3__SECRET_KEY": "Secret cogmill-s3 has no key secret-key",
    "RAY_AUTH_TOKEN": "Secret ray-token has no key auth_token",
    "HTTPS_PROXY": "Secret proxy has no key url",
}


def job_of(rendered: Rendered) -> dict[str, Any]:
    [job] = [found for found in rendered.objects if found["kind"] == "Job"]
    return job


def migrate(rendered: Rendered, folder: Path, given: list[str]) -> subprocess.CompletedProcess[str]:
    """Run what the Job runs, with these variables and a `cogmill` that tells its arguments."""
    program = folder / "cogmill"
    program.write_text('#!/bin/sh\necho "cogmill $*"\n')
    program.chmod(0o755)
    [container] = job_of(rendered)["spec"]["template"]["spec"]["containers"]
    env = {"PATH": f"{folder}:{os.environ['PATH']}"} | dict.fromkeys(given, "given")
    return subprocess.run(container["command"], env=env, capture_output=True, text=True)


def test_a_migration_with_all_its_secrets_migrates(helm: Helm, tmp_path: Path) -> None:
    run = migrate(helm.render(SECRETS), tmp_path, list(GIVEN))

    assert (run.returncode, run.stdout, run.stderr) == (0, "cogmill migrate\n", "")


def test_a_migration_names_each_secret_that_is_missing(helm: Helm, tmp_path: Path) -> None:
    rendered = helm.render(SECRETS)
    for missing, says in GIVEN.items():
        run = migrate(rendered, tmp_path, [name for name in GIVEN if name != missing])
        assert run.returncode == 2
        assert [words for words in GIVEN.values() if words.removeprefix("Secret ") in run.stderr] == [says]


@pytest.mark.parametrize(
    ("own", "says"),
    [
        ({"existingSecret": "cogmill-clusters-db"}, "cogmill-clusters-db has no key url"),
        ({"urlKey": "narrow"}, "cogmill-db has no key narrow"),
    ],
)
def test_it_names_the_controllers_own_url_too_where_that_is_missing(
    helm: Helm, tmp_path: Path, own: dict[str, str], says: str
) -> None:
    rendered = helm.render(merged(SECRETS, {"clusters": {"database": own}}))
    run = migrate(rendered, tmp_path, list(GIVEN))

    assert (run.returncode, says in run.stderr) == (2, True)
    assert migrate(rendered, tmp_path, [*GIVEN, "CLUSTERS_DATABASE_URL"]).returncode == 0


def test_a_migration_without_its_secrets_starts_and_ends_at_once(helm: Helm) -> None:
    """A pod whose Secret is not there would wait until Helm's time-out, which says nothing."""
    spec = job_of(helm.render(SECRETS))["spec"]
    [container] = spec["template"]["spec"]["containers"]
    secrets = {each["name"]: each["valueFrom"]["secretKeyRef"] for each in container["env"] if "valueFrom" in each}

    assert set(secrets) == set(GIVEN)
    assert all(ref["optional"] for ref in secrets.values())
    [rule] = spec["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob"
    assert rule["onExitCodes"] == {"containerName": container["name"], "operator": "In", "values": [2]}
    assert spec["activeDeadlineSeconds"] < 300, "Helm gives up after five minutes"


def test_other_processes_wait_for_their_secrets(helm: Helm) -> None:
    for name, pod in helm.render(SECRETS).pods():
        if "migrate" not in name:
            refs = [
                env["valueFrom"]["secretKeyRef"] for env in pod["containers"][0].get("env", ()) if "valueFrom" in env
            ]
            assert not any("optional" in ref for ref in refs)


def test_the_hook_leaves_nothing_behind(helm: Helm) -> None:
    """Helm's uninstall leaves hooks where they are."""
    hooks = [found for found in helm.render().objects if "helm.sh/hook" in found["metadata"].get("annotations", {})]

    assert {found["kind"] for found in hooks} == {"ConfigMap", "ServiceAccount", "Job", "Pod"}
    for found in hooks:
        assert "hook-succeeded" in found["metadata"]["annotations"]["helm.sh/hook-delete-policy"]
    assert job_of(helm.render())["spec"]["ttlSecondsAfterFinished"] > 0  # one that failed


PLAIN = least({"migration": {"hook": False}})


@pytest.mark.parametrize(
    ("changed", "is_another"),
    [
        ({"image": {"tag": "2"}}, True),
        ({"config": {"log": {"level": "debug"}}}, True),
        ({"migration": {"activeDeadlineSeconds": 100}}, True),
        ({"masterKey": {"key": "other"}}, True),
        ({"api": {"replicas": 5}}, False),
        ({}, False),
    ],
    ids=str,
)
def test_a_plain_job_has_another_name_whenever_it_is_another_one(
    helm: Helm, changed: dict[str, Any], is_another: bool
) -> None:
    """A Job cannot be changed: `kubectl apply` of the same name must bring the same Job."""
    values = PLAIN | {key: {**PLAIN.get(key, {}), **value} for key, value in changed.items()}
    before, after = job_of(helm.render(PLAIN)), job_of(helm.render(values))

    assert (before["metadata"]["name"] != after["metadata"]["name"]) == is_another
    assert (before["spec"] != after["spec"]) == is_another
    assert "annotations" not in after["metadata"]


@contextmanager
def answering(pages: dict[str, str]) -> Iterator[str]:
    """A web server with these pages; 404 for all others."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path)
            self.send_response(404 if page is None else 200)
            self.end_headers()
            self.wfile.write((page or "").encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def smoke(pages: dict[str, str], wanted: int) -> subprocess.CompletedProcess[str]:
    with answering(pages) as url:
        argv = [sys.executable, CHART / "files" / "smoke.py", url, url, url, str(wanted), "0", "video"]
        return subprocess.run(argv, capture_output=True, text=True)


WELL = {"/healthz": "", "/readyz": ""}
METRICS = """# TYPE cogmill_workers gauge
cogmill_workers{pool="main",state="ready"} 2.0
cogmill_workers{pool="main",state="loading"} 1.0
cogmill_workers{pool="other",state="ready"} 1.0
"""


def clusters(**states: int) -> str:
    """The controller's metrics, with so many Ray clusters in each state."""
    known = dict.fromkeys(map(str, ClusterState), 0) | states
    return "".join(f'cogmill_ray_clusters{{state="{state}"}} {count}.0\n' for state, count in known.items())


SERVED = METRICS + clusters(serving=1)


@pytest.mark.parametrize(
    ("pages", "wanted", "code", "says"),
    [
        (WELL | {"/metrics": SERVED}, 3, 0, "1 loading, 3 ready"),
        (WELL | {"/metrics": SERVED}, 4, 1, "1 loading, 3 ready; 4 must be ready"),
        (WELL | {"/metrics": clusters(serving=1)}, 1, 1, "none; 1 must be ready"),
        (WELL | {"/metrics": clusters(coming=1)}, 0, 0, "none"),
        (WELL, 1, 1, "no dispatcher answers"),
        (WELL, 1, 1, "the controller does not answer"),
        ({"/healthz": "", "/metrics": SERVED}, 1, 1, "404"),
    ],
    ids=["ready", "pending", "no worker", "from zero", "no dispatcher", "no controller", "no database"],
)
def test_the_chart_test_passes_only_when_the_workers_are_ready(
    pages: dict[str, str], wanted: int, code: int, says: str
) -> None:
    run = smoke(pages, wanted)

    assert run.returncode == code
    assert says in run.stdout + run.stderr


@pytest.mark.parametrize(
    ("standing", "code"),
    [
        ({"serving": 1}, 0),
        ({"serving": 1, "retiring": 1, "ending": 1}, 0),
        ({"serving": 1, "coming": 1}, 1),
        ({"serving": 2}, 1),
        ({"serving": 1, "yielding": 1}, 1),
        ({"serving": 1, "kept": 1}, 1),
        ({"coming": 1, "retiring": 1}, 1),
    ],
    ids=str,
)
def test_workers_of_an_old_cluster_do_not_stand_for_those_of_one_that_has_not_taken_over(
    standing: dict[str, int], code: int
) -> None:
    run = smoke(WELL | {"/metrics": METRICS + clusters(**standing)}, 3)

    assert run.returncode == code, run.stdout
    assert all(f"{count} {state}" in run.stdout for state, count in standing.items())
    assert ("-- cogmill clusters" in run.stdout) == bool(code)


@pytest.fixture
def script() -> ModuleType:
    """What the pod runs, as a module."""
    spec = importlib.util.spec_from_file_location("smoke", CHART / "files" / "smoke.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("coming_after_s", "code"), [(4, 1), (1000, 0)])
def test_a_controller_that_has_not_looked_since_the_upgrade_is_not_believed(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, coming_after_s: int, code: int
) -> None:
    passed: list[float] = []
    monkeypatch.setattr(script.time, "monotonic", lambda: sum(passed))
    monkeypatch.setattr(script.time, "sleep", passed.append)
    monkeypatch.setattr(script, "each_of", lambda url: [url])

    def read(url: str) -> str:
        return METRICS + clusters(serving=1, coming=int(sum(passed) >= coming_after_s))

    monkeypatch.setattr(script, "read", read)

    assert script.main("http://api", "http://dispatchers", "http://controller", 3, 60, "video") == code


def test_in_a_roll_every_dispatcher_is_asked(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, 0, 0, "", ("10.0.0.1", 9101)), (socket.AF_INET6, 0, 0, "", ("fd00::2", 9101, 0, 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port, **_: found)
    pages = {"http://10.0.0.1:9101/metrics": METRICS, "http://[fd00::2]:9101/metrics": METRICS}
    pages["http://controller:9103/metrics"] = clusters(serving=1, retiring=1)
    monkeypatch.setattr(script, "read", lambda url: pages.get(url, "") if "metrics" in url else "")
    places = ("http://api", "http://dispatchers:9101", "http://controller:9103")

    assert script.main(*places, 6, 0, "video") == 0
    assert script.main(*places, 7, 0, "video") == 1


def test_the_chart_test_asks_this_releases_processes(helm: Helm) -> None:
    rendered = helm.render(least({"config": {"pools": {"main": {"workers": 3}}}}))
    [pod] = [found for found in rendered.objects if found["kind"] == "Pod"]
    [container] = pod["spec"]["containers"]
    _, _, script, api, dispatcher, controller, wanted, _, release = container["command"]

    assert script.strip() == (CHART / "files" / "smoke.py").read_text().strip()
    services = {
        f"http://{found['metadata']['name']}:{found['spec']['ports'][0]['port']}"
        for found in rendered.objects
        if found["kind"] == "Service"
    }
    assert {api, dispatcher, controller} == services
    assert (wanted, release) == ("3", "cogmill")
    assert container["resources"]["limits"].keys() == {"cpu", "memory"}


def test_workers_of_kinds_and_shared_ones_are_waited_for_as_far_as_they_are_always_there(helm: Helm) -> None:
    pools = {
        "main": {"model": "cogvideox-2b", "kinds": {"firm": {"min": 2, "max": 9, "resource": "firm"}}},
        "a": {"model": "cogvideox-2b"},
        "b": {"model": "cogvideox-2b", "workers": 1},
    }
    config = LEAST["config"] | {"pools": pools, "shared": {"set": {"pools": ["a", "b"], "workers": 4}}}
    [pod] = [found for found in helm.render(LEAST | {"config": config}).objects if found["kind"] == "Pod"]

    assert pod["spec"]["containers"][0]["command"][6] == str(2 + 4 + 1)

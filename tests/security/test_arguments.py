"""What stands in a process's arguments everybody on its machine can read: no secret does, as far as files say.

Of the running local stack `tests/acceptance/test_stack.py` asks the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from tests.support.helm import Helm, pods_of
from tests.support.places import ROOT, manifests

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
SECRET = re.compile(r"KEY|SECRET|PASSWORD|TOKEN|DATABASE_URL", re.IGNORECASE)
# One that has everything: several Secrets as variables, and Jobs.
VALUES: dict[str, Any] = yaml.safe_load((ROOT / "helm" / "cogmill" / "values" / "eks-karpenter.yaml").read_text())


def words(*of: Any) -> str:
    return " ".join(str(word) for each in of for word in ([each] if isinstance(each, str) else each or ()))


def test_compose_puts_no_secret_into_arguments() -> None:
    declared = {*COMPOSE["secrets"]}
    for name, service in COMPOSE["services"].items():
        said = words(service.get("entrypoint"), service.get("command"), (service.get("healthcheck") or {}).get("test"))
        interpolated = re.findall(r"(?<!\$)\$\{?(\w+)", said)
        assert not [each for each in interpolated if SECRET.search(each)], name
        # `$$(cat FILE)` is the container's shell's, and goes into a variable, never into a program's arguments.
        for found in re.finditer(r"\$\$\(cat /run/secrets/(\w+)\)", said):
            assert found[1] in declared
            assert re.search(r"(?:^|&& )export \w+=[^&]*$", said[: found.start()]), name


def _containers(objects: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, spec in pods_of(objects):
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            yield f"{name} {container['name']}", container


def test_no_container_of_the_chart_or_of_a_trial_has_one_in_its_arguments(helm: Helm) -> None:
    """Kubernetes itself puts the value of `$(NAME)` there (its documentation of `args`)."""
    named = 0
    for where, container in _containers([*helm.render(VALUES).objects, *manifests()]):
        env = container.get("env", ())
        secret = {each["name"] for each in env if "secretKeyRef" in each.get("valueFrom", {})}
        secret |= {each["name"] for each in env if set(re.findall(r"\$\((\w+)\)", each.get("value", ""))) & secret}
        named += len(secret)
        said = words(container.get("command"), container.get("args"))
        assert not set(re.findall(r"\$\((\w+)\)", said)) & secret, where
        assert not [name for name in secret if re.search(rf"rclone.*\$\{{?{name}\b", said)], where
    assert named > 10

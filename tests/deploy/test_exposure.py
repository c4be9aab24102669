"""What the world reaches of an installation, and what only the cluster does."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.routing import iter_route_contexts

from api.app import create_app
from tests.support.api import api_settings
from tests.support.chart_values import EVERYTHING
from tests.support.helm import LEAST, Helm


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

    test = {"app.kubernetes.io/component": "test"}
    for component in ("api", "maintainer", "dispatcher"):
        assert "from" not in rules(LEAST, component)[-1]
        peers = rules(EVERYTHING, component)[-1]["from"]
        assert {"podSelector": {}} in peers
        assert ({"namespaceSelector": {}} in peers) == (component == "api")
        assert test.items() <= peers[-1]["podSelector"]["matchLabels"].items()

"""The API of Kubernetes over HTTP, from inside a pod, with its service account."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import httpx

from orchestrator.domain.errors import ConfigError, KubernetesRefused, KubernetesUnavailable
from orchestrator.ports.kubernetes import Kind, KubeObject

# How many objects one page of a listing has.
_PAGE = 100
_TIMEOUT_S = 10.0
_MANAGER = "cogmill-clusters"
_MAX_CHARS = 500


class KubernetesApi:
    """Implements `ports.kubernetes.Kubernetes`. The token is read for each request: kubelets replace its file."""

    def __init__(
        self, url: str, namespace: str, *, token: Path | None = None, verify: ssl.SSLContext | bool = True
    ) -> None:
        self._namespace = namespace
        self._token = token
        self._http = httpx.AsyncClient(base_url=url, timeout=_TIMEOUT_S, verify=verify, trust_env=False)

    @classmethod
    def in_pod(cls, account: Path, namespace: str | None) -> KubernetesApi:
        """The API that this pod's service account may use. Raises `ConfigError` outside of a pod."""
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        if not host or not (account / "token").is_file():
            raise ConfigError(
                "clusters: this runs in a pod of Kubernetes, with the token of its service account mounted:"
                " automountServiceAccountToken"
            )
        verify = ssl.create_default_context(cafile=str(account / "ca.crt"))
        bracketed = f"[{host}]" if ":" in host else host
        found = (account / "namespace").read_text().strip() if namespace is None else namespace
        return cls(f"https://{bracketed}:{port}", found, token=account / "token", verify=verify)

    @property
    def namespace(self) -> str:
        return self._namespace

    async def close(self) -> None:
        await self._http.aclose()

    async def get(self, kind: Kind, name: str) -> KubeObject | None:
        answer = await self._ask("GET", self._path(kind, name), known=(404,))
        return None if answer.status_code == 404 else self._read(answer)

    async def list(self, kind: Kind, label: str, value: str) -> list[KubeObject]:
        found: list[KubeObject] = []
        following = ""
        while True:
            asked = {"labelSelector": f"{label}={value}", "limit": str(_PAGE)}
            # A listing whose next page comes too late is answered 410 and is begun anew at the next look.
            page = self._read(
                await self._ask("GET", self._path(kind), asked | ({"continue": following} if following else {}))
            )
            found += page.get("items") or []
            following = page.get("metadata", {}).get("continue") or ""
            if not following:
                return found

    async def create(self, kind: Kind, body: KubeObject) -> bool:
        asked = {"fieldManager": _MANAGER}
        return (await self._ask("POST", self._path(kind), asked, body=body, known=(409,))).status_code != 409

    async def replace(self, kind: Kind, body: KubeObject) -> bool:
        path = self._path(kind, body["metadata"]["name"])
        answer = await self._ask("PUT", path, {"fieldManager": _MANAGER}, body=body, known=(404, 409))
        return answer.status_code not in (404, 409)

    async def patch(self, kind: Kind, name: str, operations: Sequence[Mapping[str, Any]]) -> bool:
        # A `test` that fails is answered 422, as is all else that is wrong about a patch (apimachinery,
        # endpoints/handlers/patch.go: applyJSPatch -> NewGenericServerResponse(StatusUnprocessableEntity)).
        answer = await self._ask(
            "PATCH", self._path(kind, name), {"fieldManager": _MANAGER}, body=list(operations), known=(404, 409, 422),
            content_type="application/json-patch+json",
        )  # fmt: skip
        return answer.status_code not in (404, 409, 422)

    async def delete(self, kind: Kind, name: str, *, uid: str) -> None:
        # In the background: the object goes at once, and the garbage collector takes what it owns.
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Background",
        }
        await self._ask("DELETE", self._path(kind, name), body=body, known=(404, 409))

    def _path(self, kind: Kind, name: str | None = None) -> str:
        root = "/api/v1" if kind.api_version == "v1" else f"/apis/{kind.api_version}"
        path = f"{root}/namespaces/{self._namespace}/{kind.plural}"
        return path if name is None else f"{path}/{name}"

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: object = None,
        known: Sequence[int] = (),
        content_type: str = "application/json",
    ) -> httpx.Response:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = content_type
        try:
            if self._token is not None:
                headers["Authorization"] = f"Bearer {self._token.read_text().strip()}"
            answer = await self._http.request(
                method, path, params=query, headers=headers, json=body if body is not None else None
            )
        except (httpx.HTTPError, OSError) as error:
            raise KubernetesUnavailable(f"Kubernetes: {type(error).__name__}: {error}") from error
        status = answer.status_code
        if status < 300 or status in known:
            return answer
        told = f"Kubernetes: {method} {path}: {status} {_message(answer)}"
        if status in (400, 403, 404, 405, 422):
            raise KubernetesRefused(told)
        raise KubernetesUnavailable(told)

    @staticmethod
    def _read(answer: httpx.Response) -> KubeObject:
        try:
            return cast(KubeObject, answer.json())
        except ValueError as error:
            raise KubernetesUnavailable("Kubernetes: the answer is no JSON") from error


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json().get("message", ""))[:_MAX_CHARS]
    except (ValueError, AttributeError):
        return answer.text[:_MAX_CHARS]

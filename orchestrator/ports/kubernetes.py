"""The API of Kubernetes, as far as whoever makes and ends clusters needs it: one namespace, four kinds of objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Protocol

# As the API tells and takes it, in JSON.
KubeObject = Mapping[str, Any]


class Kind(Enum):
    """A kind of objects: its `apiVersion`, its `kind`, and how it is called in paths."""

    CONFIG_MAP = ("v1", "ConfigMap", "configmaps")
    DEPLOYMENT = ("apps/v1", "Deployment", "deployments")
    RAY_CLUSTER = ("ray.io/v1", "RayCluster", "rayclusters")
    # Only listed: KubeRay makes and deletes them.
    POD = ("v1", "Pod", "pods")

    @property
    def api_version(self) -> str:
        return self.value[0]

    @property
    def word(self) -> str:
        return self.value[1]

    @property
    def plural(self) -> str:
        return self.value[2]


class Kubernetes(Protocol):
    """One namespace. Every method may raise `KubernetesUnavailable`, after which what was asked may be done or not."""

    async def get(self, kind: Kind, name: str) -> KubeObject | None: ...

    async def list(self, kind: Kind, label: str, value: str) -> list[KubeObject]:
        """All of a kind that have this label, also those that are being deleted."""
        ...

    async def create(self, kind: Kind, body: KubeObject) -> bool:
        """Make it; False when there is one of its name."""
        ...

    async def replace(self, kind: Kind, body: KubeObject) -> bool:
        """Put this in its place; False when it is gone, or another than the one whose `resourceVersion` this names."""
        ...

    async def patch(self, kind: Kind, name: str, operations: Sequence[Mapping[str, Any]]) -> bool:
        """Change it by JSON patch (RFC 6902); False when it is gone, or a `test` fails: nothing is changed then."""
        ...

    async def delete(self, kind: Kind, name: str, *, uid: str) -> None:
        """Delete the object of this uid, with all that it owns. Another of its name stays, and none is no error."""
        ...

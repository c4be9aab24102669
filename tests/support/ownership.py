"""A model of server-side apply: which manager owns which field of an object, and when two of them conflict.

As the API server's structured merge does it (sigs.k8s.io/structured-merge-diff, merge/update.go): an apply owns each
leaf that it states; where a leaf that another manager owns has another value it conflicts, unless it is forced; a leaf
that it stated before and states no more goes, unless somebody else owns it. Maps merge. Lists are replaced as a whole;
of those that Kubernetes merges by a key the chart shares none with anybody. What an object owns goes with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

Path = tuple[str, ...]


class Conflict(Exception):
    """An apply states what belongs to another, by manager and path."""

    def __init__(self, of: str, path: Path) -> None:
        self.of, self.path = of, path
        super().__init__(f"conflict with {of}: .{'.'.join(path)}")


class Immutable(Exception):
    """A field that the API server never changes."""


# Pod templates of Jobs, what selects a Deployment's pods, and where a Service is.
IMMUTABLE = {
    "Job": [("spec", "template"), ("spec", "backoffLimit")],
    "Deployment": [("spec", "selector")],
    "Service": [("spec", "clusterIP")],
}
# Helm leaves an object with this alone when its chart does not have it any more (helm v4, pkg/kube/client.go: update).
KEEP = ("metadata", "annotations", "helm.sh/resource-policy")


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every leaf of an object; a list is one."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif value is not None:
        yield path, value


class Cluster:
    """Objects by kind and name, as leaves, each with the managers that own it."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[Path, Any]] = {}
        self._owners: dict[tuple[str, str], dict[Path, set[str]]] = {}
        self.uids: dict[tuple[str, str], str] = {}

    def apply(self, manager: str, found: Mapping[str, Any], *, force: bool = False) -> None:
        """Server-side apply; raises `Conflict` or `Immutable`, and then changes nothing."""
        key = (found["kind"], found["metadata"]["name"])
        stated = dict(leaves({name: part for name, part in found.items() if name not in ("kind", "apiVersion")}))
        live, owners = self.objects.get(key, {}), self._owners.get(key, {})
        for path, value in stated.items():
            if path in live and live[path] != value:
                if any(path[: len(never)] == never for never in IMMUTABLE.get(key[0], ())):
                    raise Immutable(f"{key[0]}/{key[1]}: {'.'.join(path)}")
                others = owners.get(path, set()) - {manager}
                if others and not force:
                    raise Conflict(min(others), path)
        live, owners = dict(live), {path: set(who) for path, who in owners.items()}
        for path in [path for path, who in owners.items() if manager in who and path not in stated]:
            owners[path].discard(manager)
            if not owners[path]:
                del owners[path], live[path]
        for path, value in stated.items():
            others = set() if live.get(path, value) != value else owners.get(path, set())
            live[path], owners[path] = value, others | {manager}
        self.objects[key], self._owners[key] = live, owners
        self.uids.setdefault(key, uuid4().hex)

    def create(self, manager: str, found: Mapping[str, Any]) -> None:
        """A POST: of an object that is there already nothing is changed."""
        if (found["kind"], found["metadata"]["name"]) not in self.objects:
            self.apply(manager, found)

    def write(self, manager: str, kind: str, name: str, path: Path, value: Any) -> None:
        """An update or a patch, as controllers and autoscalers write: it takes the field."""
        key = (kind, name)
        if self.objects[key].get(path) != value:
            self.objects[key][path], self._owners[key][path] = value, {manager}

    def delete(self, kind: str, name: str) -> None:
        """Delete it, and what belongs to it, as the garbage collector does."""
        self.objects.pop((kind, name), None)
        self._owners.pop((kind, name), None)
        gone = self.uids.pop((kind, name), None)
        for key, found in list(self.objects.items()):
            if gone in {owner["uid"] for owner in found.get(("metadata", "ownerReferences"), ())}:
                self.delete(*key)

    def value(self, kind: str, name: str, *path: str) -> Any:
        return self.objects[kind, name].get(path)


class Release:
    """What Helm 4 does with a release's manifests: applies each in turn, and deletes what is no longer there."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.history: list[list[dict[str, Any]]] = []

    def upgrade(self, objects: list[dict[str, Any]], *, force: bool = False) -> None:
        """Install or upgrade to these objects. A failure leaves what was applied before it."""
        for found in objects:
            self._cluster.apply("helm", found, force=force)
        names = {(found["kind"], found["metadata"]["name"]) for found in objects}
        for found in self.history[-1] if self.history else ():
            key = (found["kind"], found["metadata"]["name"])
            if key not in names and self._cluster.objects.get(key, {}).get(KEEP) != "keep":
                self._cluster.delete(found["kind"], found["metadata"]["name"])
        self.history.append(objects)

    def rollback(self, *, force: bool = False) -> None:
        """Back to the revision before the last one, as a new revision."""
        self.upgrade(self.history[-2], force=force)

    def uninstall(self) -> None:
        for found in self.history[-1]:
            self._cluster.delete(found["kind"], found["metadata"]["name"])

"""A stand-in for the API server of Kubernetes: resource versions, uids, owners, preconditions, patches, and faults.

What it does as the real one, and where that says so: names are unique while an object with finalizers is being deleted
(API conventions, "Metadata"); a PUT with an old `resourceVersion` is 409; a DELETE with another uid is 409
(meta/v1 Preconditions); a JSON patch whose `test` fails is 422; a page after a compaction is 410; owned objects go with
their owner in the background; a Deployment's selector and an immutable ConfigMap cannot be changed (422); `generation`
grows with each change of a spec and of nothing else, and whoever writes an object leaves its `status` (API conventions,
"Spec and Status"); a verb that an account's Role does not have is 403. tests/support/kubectl.py has what kubectl asks.
"""

from __future__ import annotations

import asyncio
import copy
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from orchestrator.ports.kubernetes import Kind
from tests.support.kube_patches import TestFailed, patched
from tests.support.kube_requests import Object, given_in, given_name, place_of, refused, selected

# Version and kind of each resource: those that the controller knows, and those that operators' commands touch.
KINDS = {kind.plural: (kind.api_version, kind.word) for kind in Kind} | {
    "secrets": ("v1", "Secret"),
    "nodes": ("v1", "Node"),
}
VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Lost(Exception):
    """The connection ends without an answer."""


class Refusal(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class KubeServer:
    """One namespace in memory. `fault` is asked about every request, and may say how it goes wrong."""

    objects: dict[tuple[str, str], Object] = field(default_factory=dict)
    # Every request that was carried out or refused, in order: method, plural, name and status.
    log: list[tuple[str, str, str, int]] = field(default_factory=list)
    # None: well. A number: that status, and nothing is done. "lost": it is done, and no answer comes.
    fault: Callable[[str, str], int | str | None] = lambda method, plural: None
    # Which verbs the one who asks may use on which resources, as a Role's rules say it.
    allows: Callable[[str, str], bool] = lambda verb, plural: True
    page: int = 2
    version: int = 100
    port: int = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield f"http://127.0.0.1:{self.port}"
        finally:
            server.close()

    # ------------------------------------------------------------ for tests
    def names(self, kind: Kind) -> list[str]:
        return sorted(name for plural, name in self.objects if plural == kind.plural)

    def one(self, kind: Kind, name: str) -> Object:
        return self.objects[kind.plural, name]

    def put(self, kind: Kind, name: str, data: Any) -> Object:
        """A ConfigMap, as somebody else makes or changes it."""
        known = self.objects.get((kind.plural, name))
        if known is None:
            body = {"apiVersion": kind.api_version, "kind": kind.word, "metadata": {"name": name}, "data": data}
            return self._create(kind.plural, body)
        known["data"] = data
        return self._touch(known)

    def make(self, kind: Kind, body: Object) -> Object:
        """An object, as somebody else makes it."""
        return self._create(kind.plural, body)

    def observe(self, kind: Kind, name: str, **status: Any) -> Object:
        """What its operator writes below `status` once it has seen the object."""
        known = self.one(kind, name)
        known["status"] = status | {"observedGeneration": known["metadata"]["generation"]}
        return self._touch(known)

    def remove(self, kind: Kind, name: str) -> None:
        """Delete it, and with it what it owns, as the garbage collector does."""
        self._drop(kind.plural, name)

    # ------------------------------------------------------------ HTTP
    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().split("\r\n")
                method, target, _ = first.split(" ")
                headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines if line)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                status, answer = self._answer(method, target, headers, body)
                told = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
                media = b"text/plain" if isinstance(answer, str) else b"application/json"
                writer.write(
                    b"HTTP/1.1 %d X\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s"
                    % (status, media, len(told), told)
                )
                await writer.drain()
        except (Lost, asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # cancelled: the test is over
        finally:
            writer.close()

    def _answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, Object | str]:
        url = urlsplit(target)
        plural, name = place_of(url.path)
        answer: Object | str
        goes_wrong = self.fault(method, plural)
        if isinstance(goes_wrong, int):
            status, answer = goes_wrong, refused(goes_wrong, "a fault")
        else:
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            given = given_in(body)
            try:
                self._check_allowed(method, plural, name)
                status, answer = 200, self._do(method, plural, name, query, given, headers.get("content-type", ""))
            except Refusal as refusal:
                status, answer = refusal.status, refused(refusal.status, str(refusal))
        self.log.append((method, plural, name or given_name(body), status))
        if goes_wrong == "lost":
            raise Lost
        return status, answer

    def _check_allowed(self, method: str, plural: str, name: str) -> None:
        verb = VERBS.get(method) or ("get" if name else "list")
        if not self.allows(verb, plural):
            raise Refusal(403, f'{plural} is forbidden: cannot {verb} resource "{plural}"')

    def _do(self, method: str, plural: str, name: str, query: dict[str, str], body: Any, media: str) -> Object | str:
        assert plural in KINDS, plural
        if method == "GET" and not name:
            return self._list(plural, query)
        if method == "POST":
            return self._create(plural, body)
        known = self.objects.get((plural, name))
        if known is None:
            raise Refusal(404, f"{plural} {name!r} not found")
        if method == "GET":
            return known
        if method == "PUT":
            return self._replace(plural, known, body)
        if method == "PATCH":
            return self._patch(plural, known, body, media)
        assert method == "DELETE"
        return self._delete(plural, name, known, body or {})

    def _list(self, plural: str, query: dict[str, str]) -> Object:
        found = [it for (of, _), it in sorted(self.objects.items()) if of == plural and selected(it, query)]
        begin = int(query.get("continue", 0))
        end = begin + min(self.page, int(query.get("limit", self.page)))
        metadata = {"resourceVersion": str(self.version)} | ({"continue": str(end)} if end < len(found) else {})
        version, word = KINDS[plural]
        return {"apiVersion": version, "kind": f"{word}List", "metadata": metadata, "items": found[begin:end]}

    def _create(self, plural: str, body: Object) -> Object:
        made = copy.deepcopy(body)
        metadata = made["metadata"]
        if "resourceVersion" in metadata or "uid" in metadata:
            raise Refusal(400, "resourceVersion must not be set on objects to be created")
        if (plural, metadata["name"]) in self.objects:
            raise Refusal(409, f"{plural} {metadata['name']!r} already exists")
        for owner in metadata.get("ownerReferences", ()):
            assert owner.keys() >= {"apiVersion", "kind", "name", "uid"}
        metadata |= {"uid": uuid4().hex, "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"}
        made.setdefault("apiVersion", KINDS[plural][0])
        made.setdefault("kind", KINDS[plural][1])
        for group in made.get("spec", {}).get("workerGroupSpecs", ()):
            group.setdefault("replicas", 0)  # the CRD's default
        self.objects[plural, metadata["name"]] = made
        return self._touch(made)

    def _replace(self, plural: str, known: Object, body: Object) -> Object:
        sent, has = body["metadata"].get("resourceVersion"), known["metadata"]["resourceVersion"]
        if sent is not None and sent != has:
            raise Refusal(409, "the object has been modified")
        self._check_immutable(plural, known, body)
        kept = {key: known["metadata"][key] for key in ("uid", "creationTimestamp", "resourceVersion", "generation")}
        made = copy.deepcopy(body)
        made["metadata"] |= kept
        return self._change(plural, known, made)

    def _change(self, plural: str, known: Object, made: Object) -> Object:
        made.pop("status", None)
        if "status" in known:
            made["status"] = known["status"]
        made["metadata"]["generation"] = known["metadata"]["generation"] + (made.get("spec") != known.get("spec"))
        self.objects[plural, known["metadata"]["name"]] = made
        return self._touch(made)

    @staticmethod
    def _check_immutable(plural: str, known: Object, body: Object) -> None:
        if plural == Kind.DEPLOYMENT.plural and known["spec"]["selector"] != body["spec"]["selector"]:
            raise Refusal(422, "spec.selector: field is immutable")
        if known.get("immutable") and known.get("data") != body.get("data"):
            raise Refusal(422, "data: field is immutable when `immutable` is set")

    def _patch(self, plural: str, known: Object, patch: Any, media: str) -> Object:
        try:
            made = patched(known, patch, media)
        except TestFailed as failed:
            raise Refusal(422, str(failed)) from failed
        self._check_immutable(plural, known, made)
        return self._change(plural, known, made)

    def _delete(self, plural: str, name: str, known: Object, options: Object) -> Object:
        uid = options.get("preconditions", {}).get("uid")
        if uid is not None and uid != known["metadata"]["uid"]:
            raise Refusal(409, "the UID in the precondition does not match")
        if known["metadata"].get("finalizers"):
            known["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            return self._touch(known)
        self._drop(plural, name)
        return {"apiVersion": "v1", "kind": "Status", "status": "Success"}

    def _drop(self, plural: str, name: str) -> None:
        uid = self.objects.pop((plural, name))["metadata"]["uid"]
        for (of, each), it in list(self.objects.items()):
            if any(owner["uid"] == uid for owner in it["metadata"].get("ownerReferences", ())):
                self._drop(of, each)

    def _touch(self, it: Object) -> Object:
        self.version += 1
        it["metadata"]["resourceVersion"] = str(self.version)
        return it


def faulty(seed: int, share: float = 0.15) -> Callable[[str, str], int | str | None]:
    """Requests go wrong now and then, in every way that the real server has, the same for each seed."""
    dice = random.Random(seed)

    def fault(method: str, plural: str) -> int | str | None:
        if dice.random() >= share:
            return None
        return dice.choice([500, 503, 429, "lost", "lost", *([410] if method == "GET" else [409])])

    return fault

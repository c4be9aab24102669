"""A stand-in for the API server of Kubernetes: resource versions, uids, owners, preconditions, patches, and faults.

What it does as the real one, and where that says so: names are unique while an object with finalizers is being deleted
(API conventions, "Metadata"); a PUT with an old `resourceVersion` is 409; a DELETE with another uid is 409
(meta/v1 Preconditions); a JSON patch whose `test` fails is 422; a page after a compaction is 410; owned objects go with
their owner in the background; a Deployment's selector and an immutable ConfigMap cannot be changed (422).
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

Object = dict[str, Any]
KINDS = {kind.plural: kind for kind in Kind}


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

    def remove(self, kind: Kind, name: str) -> None:
        """Delete it, and with it what it owns, as the garbage collector does."""
        gone = self.objects.pop((kind.plural, name))
        self._collect(gone["metadata"]["uid"])

    # ------------------------------------------------------------ HTTP
    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().split("\r\n")
                method, target, _ = first.split(" ")
                headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines if line)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                status, answer = self._answer(method, target, headers, body)
                told = json.dumps(answer).encode()
                writer.write(
                    b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                    % (status, len(told), told)
                )
                await writer.drain()
        except (Lost, asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # cancelled: the test is over
        finally:
            writer.close()

    def _answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, Object]:
        url = urlsplit(target)
        parts = url.path.split("/")
        at = parts.index("namespaces")
        plural, name = parts[at + 2], parts[at + 3] if len(parts) > at + 3 else ""
        goes_wrong = self.fault(method, plural)
        if isinstance(goes_wrong, int):
            status, answer = goes_wrong, {"kind": "Status", "message": "a fault"}
        else:
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            given = json.loads(body) if body else None
            try:
                status, answer = 200, self._do(method, plural, name, query, given, headers.get("content-type", ""))
            except Refusal as refusal:
                status, answer = refusal.status, {"kind": "Status", "message": str(refusal)}
        self.log.append((method, plural, name or (given_name(body) if body else ""), status))
        if goes_wrong == "lost":
            raise Lost
        return status, answer

    def _do(self, method: str, plural: str, name: str, query: dict[str, str], body: Any, media: str) -> Object:
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
            assert media == "application/json-patch+json"
            return self._patch(plural, known, body)
        assert method == "DELETE"
        return self._delete(plural, name, known, body or {})

    def _list(self, plural: str, query: dict[str, str]) -> Object:
        label, _, value = query["labelSelector"].partition("=")
        found = [
            it
            for (of, _), it in sorted(self.objects.items())
            if of == plural and it["metadata"].get("labels", {}).get(label) == value
        ]
        begin = int(query.get("continue", 0))
        end = begin + min(self.page, int(query["limit"]))
        metadata = {"resourceVersion": str(self.version)} | ({"continue": str(end)} if end < len(found) else {})
        return {"kind": "List", "metadata": metadata, "items": found[begin:end]}

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
        self.objects[plural, body["metadata"]["name"]] = made
        return self._touch(made)

    @staticmethod
    def _check_immutable(plural: str, known: Object, body: Object) -> None:
        if plural == Kind.DEPLOYMENT.plural and known["spec"]["selector"] != body["spec"]["selector"]:
            raise Refusal(422, "spec.selector: field is immutable")
        if known.get("immutable") and known.get("data") != body.get("data"):
            raise Refusal(422, "data: field is immutable when `immutable` is set")

    def _patch(self, plural: str, known: Object, operations: list[Object]) -> Object:
        made = copy.deepcopy(known)
        for operation in operations:
            *parts, last = operation["path"].removeprefix("/").split("/")
            place: Any = made
            for part in parts:
                place = place[int(part)] if isinstance(place, list) else place[part]
            key: Any = int(last) if isinstance(place, list) else last
            if operation["op"] == "test":
                if place[key] != operation["value"]:
                    raise Refusal(422, f"testing path {operation['path']} failed")
            elif operation["op"] == "remove":
                del place[key]
            else:
                assert operation["op"] in ("add", "replace")
                place[key] = operation["value"]
        self._check_immutable(plural, known, made)
        self.objects[plural, known["metadata"]["name"]] = made
        return self._touch(made)

    def _delete(self, plural: str, name: str, known: Object, options: Object) -> Object:
        uid = options.get("preconditions", {}).get("uid")
        if uid is not None and uid != known["metadata"]["uid"]:
            raise Refusal(409, "the UID in the precondition does not match")
        if known["metadata"].get("finalizers"):
            known["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            return self._touch(known)
        self.remove(KINDS[plural], name)
        return {"kind": "Status", "status": "Success"}

    def _collect(self, uid: str) -> None:
        for (plural, name), it in list(self.objects.items()):
            if any(owner["uid"] == uid for owner in it["metadata"].get("ownerReferences", ())):
                self.remove(KINDS[plural], name)

    def _touch(self, it: Object) -> Object:
        self.version += 1
        it["metadata"]["resourceVersion"] = str(self.version)
        return it


def given_name(body: bytes) -> str:
    given = json.loads(body)
    return str(given.get("metadata", {}).get("name", "")) if isinstance(given, dict) else ""


def faulty(seed: int, share: float = 0.15) -> Callable[[str, str], int | str | None]:
    """Requests go wrong now and then, in every way that the real server has, the same for each seed."""
    dice = random.Random(seed)

    def fault(method: str, plural: str) -> int | str | None:
        if dice.random() >= share:
            return None
        return dice.choice([500, 503, 429, "lost", "lost", *([410] if method == "GET" else [409])])

    return fault

"""Requests to the API of Kubernetes: what a path is about, what a listing takes, and how a refusal reads."""

from __future__ import annotations

import base64
import json
from typing import Any

Object = dict[str, Any]
_PROTOBUF = b"k8s\0"


def place_of(path: str) -> tuple[str, str]:
    """The resource and the name that a path is about; whatever follows these is `_do`'s, after a slash."""
    _, root, *parts = path.split("/")
    parts = parts[1:] if root == "api" else parts[2:]
    parts = parts[2:] if parts[0] == "namespaces" else parts
    return parts[0], "/".join(parts[1:])


def selected(it: Object, query: dict[str, str]) -> bool:
    """Whether a listing's selectors take an object; they know equality only."""
    labels = it["metadata"].get("labels", {})
    fields = {"metadata.name": it["metadata"]["name"], "spec.nodeName": it.get("spec", {}).get("nodeName")}
    return all(
        of.get(key) == value
        for selector, of in (("labelSelector", labels), ("fieldSelector", fields))
        for key, _, value in (each.partition("=") for each in query.get(selector, "").split(",") if each)
    )


def refused(status: int, message: str) -> Object:
    """What the real one says, in the form in which clients know it."""
    return {"apiVersion": "v1", "kind": "Status", "status": "Failure", "message": message, "code": status}


def given_in(body: bytes) -> Any:
    """What a body says: JSON, or of a Secret, which kubectl sends so, the protobuf; of another only its kind."""
    if not body.startswith(_PROTOBUF):
        return json.loads(body) if body else None
    unknown = fields(body[len(_PROTOBUF) :])  # apimachinery, runtime/generated.proto: Unknown
    types = [each.decode() for part in (1, 2) for each in fields(unknown[1][0]).get(part, ())]
    made: Object = {"apiVersion": types[0], "kind": types[1]}
    if types[1] == "Secret":  # api/core/v1/generated.proto
        said = fields(unknown[2][0])
        pairs = [fields(each) for each in said.get(2, ())]
        data = {pair[1][0].decode(): base64.b64encode(pair[2][0]).decode() for pair in pairs}
        made |= {"metadata": {"name": fields(said[1][0])[1][0].decode()}, "data": data}
    return made


def fields(message: bytes) -> dict[int, list[bytes]]:
    """The values of a protobuf message that have a length, by their numbers."""
    found: dict[int, list[bytes]] = {}
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        value, at = _varint(message, at)
        if key & 7 == 2:
            found.setdefault(key >> 3, []).append(message[at : at + value])
            at += value
        else:
            assert key & 7 == 0, "only numbers, and what has a length"
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def given_name(body: bytes) -> str:
    given = given_in(body)
    return str(given.get("metadata", {}).get("name", "")) if isinstance(given, dict) else ""

"""Headers in the OpenAPI document: each described once, and which of them what status is answered with."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

_TEXT: Mapping[str, Any] = {"type": "string"}
_COUNT: Mapping[str, Any] = {"type": "integer", "minimum": 0}
_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def _header(description: str, example: object, schema: Mapping[str, Any] = _TEXT) -> dict[str, Any]:
    return {"description": description, "schema": schema, "example": example}


# What is answered. Those that HTTP itself needs to carry an answer (RFC 9110) are not among them.
ANSWERED: Mapping[str, dict[str, Any]] = {
    "x-request-id": _header("The request's id: its own, or a new one. Logs and the audit log have it.", "3f9c0d6e4b"),
    "www-authenticate": _header("How to authenticate; with a 403, the scope that the key lacks.", "Bearer"),
    "retry-after": _header("Seconds after which trying again helps.", 2, _COUNT),
    "x-should-retry": _header(
        "Whether a client should try again by itself, as the openai packages read it.",
        "true",
        {"type": "string", "enum": ["true", "false"]},
    ),
    "ratelimit": _header(
        "What is left of the limit (draft-ietf-httpapi-ratelimit-headers-10), where its value is known.",
        '"queued";r=0',
    ),
    "ratelimit-policy": _header("The limit and its value, from the same draft.", '"queued";q=100'),
    "etag": _header("The version of what is answered. `If-Match`, `If-Range` take it.", f'"{_SHA256}"'),
    "cache-control": _header("Whether the answer may be kept.", "no-store"),
    "location": _header(
        "A signed URL that opens without a key, for a while.", "https://s3.example/video.mp4?X-Amz-..."
    ),
    "accept-ranges": _header("Parts of it may be asked for by `Range`.", "bytes"),
    "content-range": _header("Which bytes these are, of how many.", "bytes 0-1023/4096"),
    "content-disposition": _header("A name for the file.", 'attachment; filename="video.mp4"'),
    "x-content-type-options": _header("A browser must not guess another type.", "nosniff"),
    "x-accel-buffering": _header("Tells nginx to pass events on as they come.", "no"),
    "openai-poll-after-ms": _header("When asking again is worth it; absent once the video has ended.", "2000"),
}

# Of an answer with this status, on any route. A stream may also begin without some of them: none is required.
OF_STATUS: Mapping[str, tuple[str, ...]] = {
    "302": ("location", "cache-control"),
    "401": ("www-authenticate",),
    "403": ("www-authenticate",),
    "416": ("content-range",),
    "429": ("retry-after", "x-should-retry", "ratelimit", "ratelimit-policy"),
    "500": ("x-should-retry",),
    "502": ("x-should-retry",),
    "503": ("retry-after", "x-should-retry"),
}

# What may be sent with every request.
SENT: Mapping[str, dict[str, Any]] = {
    "x-request-id": {
        "name": "x-request-id",
        "in": "header",
        "description": (
            "An id of yours for the request, of 1 to 128 letters, digits, `.`, `_`, `:` and `-`. "
            "Any other is passed over, and a new one takes its place."
        ),
        "schema": _TEXT,
    },
    "traceparent": {
        "name": "traceparent",
        "in": "header",
        "description": "The span that this request belongs to (W3C Trace Context). Jobs keep it, webhooks have it.",
        "schema": _TEXT,
    },
    "tracestate": {
        "name": "tracestate",
        "in": "header",
        "description": "What the tracing systems before this one add to `traceparent`.",
        "schema": _TEXT,
    },
}


def sent_with(answer: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """An answer that has these headers, beside what it has already."""
    known = answer.get("headers", {})
    added = {name: _reference("headers", name) for name in names if name not in known}
    return {**answer, "headers": {**known, **added}} if added else dict(answer)


def parameter(name: str, description: str) -> dict[str, Any]:
    """A header that a route reads by hand, for its `openapi_extra`."""
    return {"name": name, "in": "header", "description": description, "schema": _TEXT}


def add_headers(document: dict[str, Any]) -> None:
    """Give a document the headers that every route takes, and those that its answers have by their status."""
    components = document["components"]
    components["headers"], components["parameters"] = dict(ANSWERED), dict(SENT)
    for operation in _operations(document):
        operation.setdefault("parameters", []).extend(_reference("parameters", name) for name in SENT)
        for status, answer in operation["responses"].items():
            answer.update(sent_with(answer, ("x-request-id", *OF_STATUS.get(status, ()))))


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def _reference(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}
